"""A suite from its name to its figures, and whether the machine was quiet meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from adamas._tools.machine import LoadMeter
from adamas._tools.modules import load

from .machine import load_facts
from .pairs import Bench, check_workloads

__all__ = ["SUITES", "demonstrate", "run"]

SUITES = "adamas.bench.suites"


def run(suite: str, workloads: Sequence[str] | None, rounds: int, peers: bool) -> Bench:
    """Measure a suite on these workloads, or its own.

    Raises:
        ValueError: there is no such suite or workload.
    """
    chosen = load(SUITES, suite)
    names = list(workloads or chosen.WORKLOADS)
    check_workloads(names)
    return _watched(lambda: chosen.run(names, rounds, peers))


def demonstrate(suite: str, size: str | None, processes: int = 1) -> Bench:
    """Run a suite's demonstration, in its largest size unless told otherwise.

    Raises:
        ValueError: there is no such suite, or it has no demonstration, or none of that size.
    """
    chosen = load(SUITES, suite)
    if not hasattr(chosen, "demo"):
        raise ValueError(f"the suite {suite!r} has no demonstration")
    return _watched(lambda: chosen.demo(size or chosen.SIZES[-1], processes))


def _watched(measure: Callable[[], Bench]) -> Bench:
    meter = LoadMeter()
    done = measure()
    return replace(done, machine={**done.machine, **load_facts(meter.read())})
