"""`adamas reproduce`: a figure of the paper, run again."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.markup import escape

from adamas.experiments.discovery import names

from ._app import Json, app
from ._output import FAILED, console, ending, progress_console, table

if TYPE_CHECKING:
    from adamas.experiments.reproduce import Reproduction

FIGURES = "adamas.experiments.figures"


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

    progress = progress_console()
    with ending(progress, results):
        done = run(figure, preset, results, jobs, progress)
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
    out = console()
    out.print(f"\n{done.title}\n", style="bold", markup=False)
    for each in done.tables:
        out.print(table(each.title, each.rows))
        for finding in each.findings:
            out.print(
                f"[bold]{finding.verdict}[/]: {escape(finding.claim)}\n  measured: {escape(finding.measured)}"
            )
        out.print()
    for path in done.files:
        out.print(str(path), markup=False, highlight=False, soft_wrap=True)
