"""`adamas claims`: the claims of the paper, or those that were made after it, and their measurements."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ._app import RESULTS, Address, Device, Engine, Jobs, Json, Preset, Results, app
from ._output import FAILED, VERDICTS, console, ending, progress_console, say, show_finding, show_json
from ._table import show_table, show_text

if TYPE_CHECKING:
    from rich.console import Console

    from adamas.experiments.reports.collect import FindingRow, LearnedRow


class Asked(StrEnum):
    """The verdicts as they are asked for, and shown in a line."""

    HOLDS = "holds"
    PARTLY = "partly"
    UNDECIDED = "undecided"
    FAILS = "fails"
    UNMEASURED = "unmeasured"


# In the words of findings.
WORDS = {
    Asked.HOLDS: "holds",
    Asked.PARTLY: "holds here only partly",
    Asked.UNDECIDED: "undecided",
    Asked.FAILS: "fails",
    Asked.UNMEASURED: "not measured",
}


@app.command()
def claims(
    only: Annotated[
        list[str] | None,
        typer.Argument(help="Figures and claims to keep to.", show_default="all"),
    ] = None,
    after: Annotated[
        bool,
        typer.Option("--after", help="Those that were made after the paper, each with a formula, instead."),
    ] = False,
    preset: Preset = "demo",
    results: Results = RESULTS,
    jobs: Jobs = None,
    engine: Engine = "local",
    address: Address = None,
    device: Device = "cpu",
    verdict: Annotated[
        list[Asked] | None,
        typer.Option(
            metavar="VERDICT",
            help="Show those that are: holds, partly, undecided, fails or unmeasured; may be given again.",
            show_default="all",
        ),
    ] = None,
    long: Annotated[
        bool, typer.Option("--long", help="With the source and the measurement of each.")
    ] = False,
    as_json: Json = False,
) -> None:
    """List the claims of the paper and whether they hold; with --long, source and measurement of each.

    Runs that are not stored yet are executed first, as by `adamas reproduce all`; then the claims that need
    no runs are measured.

    With --after they are claims that were made after the paper, by others or here: --long shows the formula,
    and what it predicts beside what is measured. They have no runs and store nothing, whatever other options
    say; their charts are on the page of `adamas reproduce all`.

    Exit status: 0 all is measured, whatever the verdicts; 1 a run or a claim raised (the rest is done); 2 bad
    input: an unknown name, engine or device, a cluster that does not answer, an unwritable folder, missing or
    corrupt data, an unreadable record; 130 interrupted.
    """
    from adamas.experiments import ExperimentError
    from adamas.experiments.execution.engines import Workers
    from adamas.experiments.records.store import Store
    from adamas.experiments.reproduce import measure, measure_after, names_in_paper, split

    progress = progress_console()
    found: Sequence[FindingRow] | Sequence[LearnedRow]
    with ending(progress, ExperimentError, results=None if after else results):
        if after:
            found, failures = measure_after(only or [], progress)
        else:
            chosen = split(only) if only else names_in_paper()
            workers = Workers(engine, jobs, address, device)
            measured = measure(*chosen, preset, Store(results), workers, progress)
            found, failures = measured.findings, measured.failures
    wanted = {WORDS[each] for each in verdict or WORDS}
    rows = [row for row in found if row.finding.verdict in wanted]
    if as_json:
        show_json([_plain(row, preset) for row in rows])
    else:
        _show(found, rows, long)
    if failures:
        say(progress, f"{failures} runs or claims raised, see above")
        raise typer.Exit(FAILED)


def _plain(row: FindingRow | LearnedRow, preset: str) -> dict[str, Any]:
    from adamas.experiments.reports.collect import LearnedRow

    if isinstance(row, LearnedRow):
        return row.plain()
    return {"name": row.name, "table": row.table, "preset": preset, **asdict(row.finding)}


def _show(
    found: Sequence[FindingRow | LearnedRow], rows: Sequence[FindingRow | LearnedRow], long: bool
) -> None:
    """Show the rows that were asked for, and count all."""
    from adamas.experiments.reports.collect import count_verdicts

    out = console()
    (_show_long if long else _show_short)(out, rows)
    show_text(out, count_verdicts(found), "bold")
    if rows and not long:
        show_text(out, "How each was measured: --long, also with names or --verdict fails.", "dim")


def _show_short(out: Console, rows: Sequence[FindingRow | LearnedRow]) -> None:
    """A line a claim, or as many as it needs; a claim that several tables judge has one for each verdict."""
    short = {verdict: name.value for name, verdict in WORDS.items()}
    lines = [(short[row.finding.verdict], row.name, row.finding.claim) for row in rows]
    counted = Counter(lines)
    shown = [
        {"verdict": verdict, "of": name, "claim": claim + (f" ({n} times)" if n > 1 else "")}
        for (verdict, name, claim), n in counted.items()
    ]
    show_table(out, None, shown, {short[verdict]: style for verdict, style in VERDICTS.items()})


def _show_long(out: Console, rows: Sequence[FindingRow | LearnedRow]) -> None:
    from adamas.experiments.reports.collect import LearnedRow

    for row in rows:
        finding = row.finding
        details = {"source": finding.source, "measured": finding.measured}
        if isinstance(row, LearnedRow):
            details = {"of": row.name, "formula": row.learned.formula, **details}
        else:
            details = {"of": ", ".join(filter(None, [row.name, row.table])), **details}
        show_finding(out, finding.verdict, finding.claim, details)
        out.print()
        if isinstance(row, LearnedRow):
            show_table(out, None, row.rows)
