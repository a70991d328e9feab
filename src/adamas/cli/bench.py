"""`adamas bench`: speed and memory beside torch and other libraries."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from adamas._tools.modules import names

from ._app import Json, app
from ._output import FAILED, console, ending, fail, progress_console, say, show_json, spinner
from ._table import show_table, show_text

if TYPE_CHECKING:
    from adamas.bench.pairs import Bench

SUITES = "adamas.bench.suites"


@app.command(no_args_is_help=True)
def bench(
    suite: Annotated[
        str, typer.Argument(help=f"What to measure: {', '.join(names(SUITES))}.", show_default=False)
    ],
    workload: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="Which model's shapes; may be given again.", show_default="the suite's"
        ),
    ] = None,
    rounds: Annotated[int, typer.Option(metavar="N", min=3, help="Turns of each contender, each time.")] = 20,
    peers: Annotated[
        bool, typer.Option("--peers", help="Beside other libraries too; one that cannot be had is named.")
    ] = False,
    demo: Annotated[
        bool, typer.Option("--demo", help="The suite's demonstration (memory: a training step of a GPT-2).")
    ] = False,
    size: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Of the demonstration: tiny to xl.", show_default="the largest"),
    ] = None,
    processes: Annotated[
        int,
        typer.Option(
            metavar="N", min=1, help="Of the demonstration: that share the model (FSDP2), within 20 GiB."
        ),
    ] = 1,
    device: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Of the suite `device`: cuda or cpu.", show_default="cuda, if there"
        ),
    ] = None,
    seconds: Annotated[
        float,
        typer.Option(
            metavar="S", min=1, help="Of that suite: what no longer fits into them is left out, and named."
        ),
    ] = 480.0,
    output: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Of that suite: write all that is found to this JSON file as it comes."
        ),
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a roofline plot to this file.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Measure speed and memory beside torch and other libraries: contenders take turns, A B A B, in one run.

    A ratio is their time over ours, the median over neighbouring turns, with its quartiles; a pair is
    measured again, in longer turns, until they are within 5 % of the median, for at most a minute. Workloads
    beyond the caches also show their share of the bandwidth of a triad (a = a + s b) in the same run.

    `adamas bench device --device cuda --output device.json` is the one measurement of a GPU, under 8 minutes.

    Exit status: 0 measured; 1 measured and shown, but the plot cannot be drawn; 2 bad input: an unknown
    suite, workload or size, a plot that could never be written; 130 interrupted.
    """
    from adamas.bench.accelerator.session import Place
    from adamas.bench.progress import heard_by
    from adamas.bench.roofline import check_plot
    from adamas.bench.run import demonstrate, run

    progress = progress_console()
    with ending(progress, ValueError, OSError):
        if size is not None and not demo:
            raise ValueError(f"--size {size} is for --demo")
        if processes > 1 and not demo:
            raise ValueError(f"--processes {processes} is for --demo")
        if device is None and output is not None:
            raise ValueError(f"--output {output} is for --device")
        if plot is not None:
            check_plot(plot)
        place = None if device is None else Place(device, seconds, output)
        text = f"measuring {suite}: other work on this machine spoils the figures"
        waiting = progress.status(text, spinner=spinner(progress))

        def listen(line: str) -> None:
            if place is not None and not progress.is_terminal:
                say(progress, line)  # an interrupted log tells how far it came
            waiting.update(f"{suite}: {line}")

        with waiting, heard_by(listen):
            done = demonstrate(suite, size, processes) if demo else run(suite, workload, rounds, peers, place)
    if as_json:
        show_json(done.plain())
    else:
        _show(done)
    if plot is not None:
        _draw(done, plot)


def _draw(done: Bench, plot: Path) -> None:
    """Draw last: whatever happens, the figures have been shown."""
    from adamas.bench.roofline import draw

    try:
        draw(done, plot)
    except Exception as error:
        why = str(error) if isinstance(error, ValueError | OSError) else repr(error)
        fail(progress_console(), ValueError(f"{plot} cannot be drawn: {why}"), FAILED)


def _show(done: Bench) -> None:
    from adamas.bench.machine import described
    from adamas.bench.shown import tables

    out = console()
    show_text(out, done.title, "bold")
    for heading, rows in tables(done):
        show_table(out, heading or None, rows)
    for line in described(done.machine):
        show_text(out, line, "dim")
    for note in done.notes:
        show_text(out, f"note: {note}")
