"""`adamas results`: stored runs, as a list or as a table for other programs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from adamas.experiments import ExperimentError

from ._app import RESULTS, Json, app
from ._output import FAILED, console, ending, progress_console, say, show_json
from ._table import show_facts, show_table, show_text

COLOURS = {"diverged": "yellow", "failed": "bold red"}


@app.command()
def results(
    runs: Annotated[
        list[str] | None,
        typer.Argument(
            help="Keep to the runs whose names begin so, and show all of them.", show_default="all"
        ),
    ] = None,
    results: Annotated[Path, typer.Option(metavar="FOLDER", help="Folder that has the records.")] = RESULTS,
    form: Annotated[
        Literal["table", "csv", "parquet"],
        typer.Option("--format", help="table: a row a run. csv, parquet: a row for every number measured."),
    ] = "table",
    output: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="File for csv or parquet.", show_default="standard output"),
    ] = None,
    as_json: Json = False,
) -> None:
    """List the recorded runs, including those that failed; or export all their numbers, for other programs.

    Runs of one problem and configuration are one table, below what they share; each begins with the first
    characters of its name. Give these (`adamas results cb5ab231`) to see the whole run and its file.

    The table of csv and parquet is a tidy one. Its columns: run (the name of the record), the
    configuration (problem, rule.name, rule.lr, seed, ...), versions, status (done, diverged, failed), error,
    seconds; and epoch, clock (seconds of training until then), measure, value. A value that was not finite is
    empty, and a run that failed has one row with none. Parquet needs the extra 'parquet'.

    Exit status: 0 all is shown; 1 a file is no record (it is named, the others are shown); 2 bad input: no
    such folder or run, a file that cannot be written.
    """
    from adamas._tools.files import write_atomically
    from adamas.experiments.records import tables
    from adamas.experiments.records.store import Store

    progress = progress_console()
    with ending(progress, ExperimentError, OSError):
        _check(form, output, as_json)
        store = Store(results)
        records, errors = store.every()
        records = tables.named(records, runs) if runs else records
        if form != "table":
            tidy = tables.tidy(records)
            content = tables.csv(tidy) if form == "csv" else tables.parquet(tidy)
            if output is None:
                sys.stdout.buffer.write(content)
            else:
                write_atomically(output, content)
        elif as_json:
            show_json([tables.summary(record) for record in records])
        elif runs:
            for record in records:
                show_facts(console(), tables.facts(record), COLOURS)
                say(console(), f"{store.file(record)}\n")
        elif records:
            out = console()
            for heading, rows in tables.listed(records):
                show_table(out, heading, rows, COLOURS)
            for line in tables.versions(records):
                show_text(out, line, "dim")
        else:
            say(progress, f"no run is recorded in {results}")
    for error in errors:
        say(progress, f"adamas: {error}")
    if errors:
        raise typer.Exit(FAILED)


def _check(form: str, output: Path | None, as_json: bool) -> None:
    if as_json and form != "table":
        raise ExperimentError(f"--json is a form of its own: leave out --format {form}")
    if output is not None and form == "table":
        raise ExperimentError("--output is for --format csv or parquet")
    if output is None and form == "parquet" and sys.stdout.isatty():
        raise ExperimentError("Parquet is not for a terminal: name a file (--output)")
