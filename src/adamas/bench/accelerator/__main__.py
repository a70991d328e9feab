"""`python -m adamas.bench.accelerator`: the suite `device` where the packages of the command line are not."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ..progress import heard_by
from ..run import run
from .session import Place

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, say how far it is on standard error, and what came of it on standard output."""
    parser = argparse.ArgumentParser(prog="python -m adamas.bench.accelerator", description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--seconds", type=float, default=Place.seconds)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--workload", action="append")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--peers", action="store_true")
    asked = parser.parse_args(arguments)
    place = Place(asked.device, asked.seconds, asked.output)
    with heard_by(lambda line: print(line, file=sys.stderr, flush=True)):
        done = run("device", asked.workload, asked.rounds, asked.peers, place)
    for row in done.rows:
        print("  ".join(f"{value:.4g}" if isinstance(value, float) else str(value) for value in row.values()))
    for target in done.more["targets"]:
        print("  ".join(map(str, target.values())))


if __name__ == "__main__":
    main()
