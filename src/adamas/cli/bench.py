"""`adamas bench`: speed and memory beside torch and other libraries."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from adamas._tools.modules import names
from adamas._tools.text import format_value

from ._app import Json, app
from ._output import console, ending, progress_console, say, table

SUITES = "adamas.bench.suites"


@app.command(no_args_is_help=True)
def bench(
    suite: Annotated[
        str, typer.Argument(help=f"What to measure: {', '.join(names(SUITES))}.", show_default=False)
    ],
    workload: Annotated[
        list[str] | None,
        typer.Option(help="Which model's shapes; may be given again.", show_default="the suite's"),
    ] = None,
    rounds: Annotated[int, typer.Option(min=3, help="Turns of each contender.")] = 20,
    peers: Annotated[
        bool, typer.Option(help="Beside other libraries too, those that are installed.")
    ] = False,
    plot: Annotated[Path | None, typer.Option(help="Write a roofline plot to this file.")] = None,
    as_json: Json = False,
) -> None:
    """Measure speed and memory beside torch and other libraries: contenders take turns, A B A B, in one run.

    A ratio is their time over ours, the median over neighbouring turns, with its quartiles, low and high.
    Workloads beyond the caches also show their share of the bandwidth of a triad (a = b + s c) in the same
    run.

    Exit status: 0 measured; 2 bad input: an unknown suite or workload.
    """
    from adamas._tools.modules import load
    from adamas.bench.pairs import check_workloads
    from adamas.bench.roofline import draw

    progress = progress_console()
    with ending(progress, ValueError, OSError):
        chosen = load(SUITES, suite)
        workloads = workload or list(chosen.WORKLOADS)
        check_workloads(workloads)
        with progress.status(f"measuring {suite}: other work on this machine spoils the figures"):
            done = chosen.run(workloads, rounds, peers)
        if plot is not None:
            draw(done, plot)
    if as_json:
        print(json.dumps(done.plain(), indent=1))
        return
    out = console()
    out.print(table(done.title, done.rows))
    out.print(", ".join(f"{name} {format_value(value)}" for name, value in done.machine.items()), style="dim")
    for note in done.notes:
        say(out, f"note: {note}")
