"""The command line: `adamas`, or `python -m adamas`. Commands import what they need when they run."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from adamas.experiments import ExperimentError
from adamas.experiments.discovery import names

if TYPE_CHECKING:
    from adamas.experiments.reproduce import Reproduction

__all__ = ["app"]

SUITES = "adamas.bench.suites"
FAILED, BAD_INPUT, INTERRUPTED = 1, 2, 130
FIGURES = "adamas.experiments.figures"

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="Adam and its family: the paper's experiments, run again.",
)

Json = Annotated[bool, typer.Option("--json", help="Print JSON to standard output instead of tables.")]


def version(asked: bool) -> None:
    """Prints the version and ends."""
    if asked:
        from adamas.experiments.store import versions

        print(f"adamas {versions()['adamas']}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Options of the program itself."""


@app.command(no_args_is_help=True)
def reproduce(
    figure: Annotated[str, typer.Argument(help=f"One of: {', '.join(names(FIGURES))}.", show_default=False)],
    preset: Annotated[
        Literal["demo", "quick", "paper"],
        typer.Option(
            help="demo: bundled and synthetic data. quick: real data, few epochs. paper: all of it."
        ),
    ] = "demo",
    results: Annotated[
        Path, typer.Option(help="Folder for records and pictures; runs recorded there are not run again.")
    ] = Path("adamas-results"),
    jobs: Annotated[
        int, typer.Option(min=1, help="Processes; each may need 1 GB of memory.", show_default="one a CPU")
    ] = os.cpu_count() or 1,
    as_json: Json = False,
) -> None:
    """Run a figure of the paper again: a table, the paper's finding beside the measured one, PNG and SVG.

    Real data come from the folder that ADAMAS_DATA names, else they are downloaded once; either way their
    checksums are verified. Every run is stored the moment it ends: interrupt or kill the command, and give it
    again to go on.

    Exit status: 0 all is done; 1 a run raised (its traceback is shown, the rest is done); 2 bad input: an
    unknown figure, an unwritable folder, missing or corrupt data, an unreadable record; 130 interrupted.
    """
    from adamas.experiments.reproduce import reproduce as run

    progress = Console(stderr=True)
    try:
        done = run(figure, preset, results, jobs, progress)
    except ExperimentError as error:
        progress.print(f"adamas: {error}", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(BAD_INPUT) from None
    except KeyboardInterrupt:
        message = f"interrupted; what is done is in {results}: give the same command again to go on"
        progress.print(message, markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(INTERRUPTED) from None
    if as_json:
        print(json.dumps(_plain(figure, preset, done), indent=1, allow_nan=False, ensure_ascii=False))
    else:
        _print(done)
    if done.failures:
        progress.print(f"{done.failures} runs raised, see above; give the same command again to repeat them")
        raise typer.Exit(FAILED)


def _plain(figure: str, preset: str, done: Reproduction) -> dict[str, Any]:
    plain = dataclasses.asdict(done)
    return {"figure": figure, "preset": preset, **plain, "files": [str(path) for path in done.files]}


def _print(done: Reproduction) -> None:
    console = _console()
    console.print(f"\n{done.title}\n", style="bold", markup=False)
    for table in done.tables:
        console.print(_table(table.title, [dict(row) for row in table.rows]))
        for finding in table.findings:
            console.print(
                f"[bold]{finding.verdict}[/]: {escape(finding.claim)}\n  measured: {escape(finding.measured)}"
            )
        console.print()
    for path in done.files:
        console.print(str(path), markup=False, highlight=False, soft_wrap=True)


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
    """Speed and memory beside torch and other libraries: contenders take turns, A B A B, in one run.

    A ratio is their time over ours, the median over neighbouring turns, with its quartiles, low and high.
    Workloads beyond the caches tell the share of the bandwidth of a triad (a = b + s c) in the same run.

    Exit status: 0 measured; 2 bad input: an unknown suite or workload.
    """
    from adamas.bench.pairs import check_workloads
    from adamas.bench.roofline import draw
    from adamas.experiments.discovery import load

    progress = Console(stderr=True)
    try:
        chosen = load(SUITES, suite)
        workloads = workload or list(chosen.WORKLOADS)
        check_workloads(workloads)
        with progress.status(f"measuring {suite}: other work on this machine spoils the figures"):
            done = chosen.run(workloads, rounds, peers)
        if plot is not None:
            draw(done, plot)
    except (ExperimentError, ValueError, OSError) as error:
        progress.print(f"adamas: {error}", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(BAD_INPUT) from None
    if as_json:
        print(json.dumps(done.plain(), indent=1))
        return
    console = _console()
    console.print(_table(done.title, done.rows))
    console.print(", ".join(f"{name} {_cell(value)}" for name, value in done.machine.items()), style="dim")
    for note in done.notes:
        console.print(f"note: {note}", markup=False)


@app.command()
def info(as_json: Json = False) -> None:
    """Versions, the number of CPUs, and the folder of downloads and preprocessed data."""
    from adamas.experiments.data import cache_folder
    from adamas.experiments.store import versions

    facts = {**versions(), "cpus": os.cpu_count(), "cache": str(cache_folder())}
    if as_json:
        print(json.dumps(facts, indent=1))
    else:
        _console().print(_table(None, [{"what": name, "value": str(value)} for name, value in facts.items()]))


def _console() -> Console:
    # Where there is no terminal there is no width to keep to: rich would cut at 80 columns.
    return Console(width=None if sys.stdout.isatty() else 140)


def _table(title: str | None, rows: list[dict[str, Any]]) -> Table:
    """Rows of one form as a table; numbers to four digits, an absent value as a dash."""
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    for name in rows[0]:
        numbers = any(isinstance(row[name], float) for row in rows)
        table.add_column(name.replace("_", " "), justify="right" if numbers else "left")
    for row in rows:
        table.add_row(*(escape(_cell(value)) for value in row.values()))
    return table


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
