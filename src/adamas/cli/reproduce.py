"""`adamas reproduce`: run a figure of the paper again."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from adamas._tools.modules import names

from ._app import RESULTS, Address, Device, Engine, Jobs, Json, Preset, Results, app
from ._output import FAILED, console, ending, progress_console, say, show_finding, show_json
from ._table import show_table, show_text

if TYPE_CHECKING:
    from adamas.experiments.reports.collect import Report
    from adamas.experiments.reproduce import Reproduction

FIGURES = "adamas.experiments.figures"


@app.command(no_args_is_help=True)
def reproduce(
    figure: Annotated[
        str, typer.Argument(help=f"One of: {', '.join(names(FIGURES))}; or all.", show_default=False)
    ],
    preset: Preset = "demo",
    results: Results = RESULTS,
    jobs: Jobs = None,
    engine: Engine = "local",
    address: Address = None,
    device: Device = "cpu",
    summary: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Write tables, findings and a small picture there too, as Markdown to be published.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Run a figure of the paper again: a table, the paper's finding beside the measured one, pictures, page.

    The page is one HTML file that needs no network: charts to look into, findings, configurations, records.
    `all` makes one page of every figure of the paper, with the claims that `adamas claims` lists.

    Real data come from the folder that ADAMAS_DATA names, else they are downloaded once; either way their
    checksums are verified. Every run is stored the moment it ends: interrupt or kill the command, and give it
    again to go on.

    Exit status: 0 all is done; 1 a run raised (its traceback is shown and kept, the rest is done); 2 bad
    input: an unknown figure, engine or device, a cluster that does not answer, an unwritable folder, missing
    or corrupt data, an unreadable record; 130 interrupted.
    """
    from adamas.experiments import ExperimentError
    from adamas.experiments.execution.engines import Workers
    from adamas.experiments.reproduce import reproduce as run

    progress = progress_console()
    with ending(progress, ExperimentError, results=results):
        done = run(figure, preset, results, Workers(engine, jobs, address, device), progress, summary)
    if as_json:
        show_json(_plain(figure, preset, done))
    else:
        _print(done)
    if done.failures:
        say(
            progress,
            f"{done.failures} runs or claims raised, see above; give the same command again to repeat them "
            f"(the tracebacks of runs are kept in {results / 'failures'})",
        )
        raise typer.Exit(FAILED)


def _plain(name: str, preset: str, done: Reproduction) -> dict[str, Any]:
    shown = [_figure(report, done) for report in done.reports]
    of_one = shown[0] if [report.name for report in done.reports] == [name] else {"figures": shown}
    findings = [{"name": each.name, **asdict(each.finding)} for each in done.findings]
    rest = {"claims": findings, "page": str(done.page), "failures": done.failures}
    return {"figure": name, "preset": preset, **of_one, **rest}


def _figure(report: Report, done: Reproduction) -> dict[str, Any]:
    tables, files = (
        [asdict(table) for table in report.tables],
        [str(path) for path in done.files[report.name]],
    )
    return {"figure": report.name, "title": report.title, "tables": tables, "files": files}


def _print(done: Reproduction) -> None:
    from adamas.experiments.reports.collect import count_verdicts

    out = console()
    for report in done.reports:
        show_text(out, f"\n{report.title}\n", "bold")
        for each in report.tables:
            if each.rows:
                show_table(out, each.title, each.rows)
            for finding in each.findings:
                show_finding(out, finding.verdict, finding.claim, {"measured": finding.measured})
            out.print()
        for path in done.files[report.name]:
            say(out, str(path))
    say(out, f"\n{count_verdicts(done.findings)}\n{done.page}")
