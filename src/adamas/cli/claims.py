"""`adamas claims`: what the paper says, and what was measured of it."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from adamas._tools.modules import names
from adamas.experiments import ExperimentError

from ._app import RESULTS, Address, Engine, Jobs, Json, Preset, Results, app
from ._output import FAILED, console, ending, progress_console, say, table

if TYPE_CHECKING:
    from adamas.experiments.report import Judged

FIGURES, CLAIMS = "adamas.experiments.figures", "adamas.experiments.claims"


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
    """Each claim of the paper: where it is made, what was measured, and whether it holds.

    Runs that figures need and that are not stored yet are done first, as `adamas reproduce all` does them;
    then what has no figure is measured.

    Exit status: 0 all is measured, whatever the verdicts; 1 a run raised (the rest is done); 2 bad input: an
    unknown name or engine, a cluster that does not answer, an unwritable folder, missing or corrupt data, an
    unreadable record; 130 interrupted.
    """
    from adamas.experiments import report
    from adamas.experiments.engines import Workers
    from adamas.experiments.store import Store

    progress = progress_console()
    with ending(progress, results):
        figures, others = _split(only) if only else (report.of_paper(), names(CLAIMS))
        workers = Workers(engine, jobs, address)
        reports, failed = report.execute(figures, preset, Store(results), workers, progress)
        measured, raised = report.measure(others, preset, progress)
    judged = [*(each for one in reports for each in one.judged()), *measured]
    if as_json:
        rows = [{"name": j.name, "table": j.table, "preset": preset, **asdict(j.finding)} for j in judged]
        print(json.dumps(rows, indent=1, ensure_ascii=False))
    else:
        out = console()
        if judged:
            shown = table(None, [_row(each) for each in judged])
            shown.leading, shown.columns[0].max_width, shown.columns[2].max_width = 1, 12, 16
            out.print(shown)
        say(out, report.count(judged))
    if failed + raised:
        say(progress, f"{failed + raised} runs or claims raised, see above")
        raise typer.Exit(FAILED)


def _row(judged: Judged) -> dict[str, str]:
    finding, of = judged.finding, f"{judged.table}: " if judged.table else ""
    # The verdict first: the columns beside it are long.
    return {
        "verdict": finding.verdict,
        "claim": finding.claim,
        "source": finding.source,
        "measured": of + finding.measured,
    }


def _split(only: list[str]) -> tuple[list[str], list[str]]:
    """Figures and claims of these names."""
    known = {"figures": names(FIGURES), "claims": names(CLAIMS)}
    for name in only:
        if name not in known["figures"] + known["claims"]:
            listed = "; ".join(f"{kind}: {', '.join(there)}" for kind, there in known.items() if there)
            raise ExperimentError(f"unknown figure or claim {name!r}; {listed}")
    chosen = dict.fromkeys(only)
    figures, others = ([name for name in chosen if name in there] for there in known.values())
    return figures, others
