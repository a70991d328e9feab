"""`adamas claims`: the claims of the paper and their measurements."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from ._app import RESULTS, Address, Engine, Jobs, Json, Preset, Results, app
from ._output import FAILED, console, ending, progress_console, say, table

if TYPE_CHECKING:
    from adamas.experiments.reports.collect import FindingRow


@app.command()
def claims(
    only: Annotated[
        list[str] | None,
        typer.Argument(help="Figures and claims to keep to.", show_default="all of the paper"),
    ] = None,
    preset: Preset = "demo",
    results: Results = RESULTS,
    jobs: Jobs = None,
    engine: Engine = "local",
    address: Address = None,
    as_json: Json = False,
) -> None:
    """List each claim of the paper, its source, its measurement, and whether it holds.

    Runs that are not stored yet are executed first, as by `adamas reproduce all`; then the claims that need
    no runs are measured.

    Exit status: 0 all is measured, whatever the verdicts; 1 a run or a claim raised (the rest is done); 2 bad
    input: an unknown name or engine, a cluster that does not answer, an unwritable folder, missing or corrupt
    data, an unreadable record; 130 interrupted.
    """
    from adamas.experiments import ExperimentError
    from adamas.experiments.execution.engines import Workers
    from adamas.experiments.records.store import Store
    from adamas.experiments.reports.collect import count_verdicts
    from adamas.experiments.reproduce import measure, names_in_paper, split

    progress = progress_console()
    with ending(progress, ExperimentError, results=results):
        chosen = split(only) if only else names_in_paper()
        found = measure(*chosen, preset, Store(results), Workers(engine, jobs, address), progress)
    rows = found.findings
    if as_json:
        plain = [
            {"name": row.name, "table": row.table, "preset": preset, **asdict(row.finding)} for row in rows
        ]
        print(json.dumps(plain, indent=1, ensure_ascii=False))
    else:
        out = console()
        if rows:
            shown = table(None, [_row(each) for each in rows])
            shown.leading, shown.columns[0].max_width, shown.columns[2].max_width = 1, 12, 16
            out.print(shown)
        say(out, count_verdicts(rows))
    if found.failures:
        say(progress, f"{found.failures} runs or claims raised, see above")
        raise typer.Exit(FAILED)


def _row(row: FindingRow) -> dict[str, str]:
    finding, of = row.finding, f"{row.table}: " if row.table else ""
    # The verdict first: the columns beside it are long.
    return {
        "verdict": finding.verdict,
        "claim": finding.claim,
        "source": finding.source,
        "measured": of + finding.measured,
    }
