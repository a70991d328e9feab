"""`adamas results`: stored runs, as a list or as a table for other programs."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from adamas.experiments import ExperimentError

from ._app import RESULTS, Json, app
from ._output import FAILED, console, ending, progress_console, say, table


@app.command()
def results(
    results: Annotated[Path, typer.Option(help="Folder that has the records.")] = RESULTS,
    form: Annotated[
        Literal["table", "csv", "parquet"],
        typer.Option("--format", help="table: a row a run. csv, parquet: a row for every number measured."),
    ] = "table",
    output: Annotated[
        Path | None, typer.Option(help="File for csv or parquet.", show_default="standard output")
    ] = None,
    as_json: Json = False,
) -> None:
    """List the recorded runs, including those that failed; or export all their numbers, for other programs.

    The table of csv and parquet is a tidy one. Its columns: run (the name of the record), the
    configuration (problem, rule.name, rule.lr, seed, ...), versions, status (done, diverged, failed), error,
    seconds; and epoch, clock (seconds of training until then), measure, value. A value that was not finite is
    empty, and a run that failed has one row with none. Parquet needs the extra 'parquet'.

    Exit status: 0 all is shown; 1 a file is no record (it is named, the others are shown); 2 bad input: no
    such folder, a file that cannot be written.
    """
    from adamas._tools.files import write_atomically
    from adamas.experiments.records import tables
    from adamas.experiments.records.store import Store

    progress = progress_console()
    with ending(progress, ExperimentError, OSError):
        _check(form, output, as_json)
        records, errors = Store(results).every()
        if form != "table":
            tidy = tables.tidy(records)
            content = tables.csv(tidy) if form == "csv" else tables.parquet(tidy)
            if output is None:
                sys.stdout.buffer.write(content)
            else:
                write_atomically(output, content)
        elif as_json:
            print(json.dumps([tables.summary(record) for record in records], indent=1, ensure_ascii=False))
        elif records:
            out = console()
            out.print(table(None, tables.listed(records)))
            for line in tables.versions(records):
                say(out, line)
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
