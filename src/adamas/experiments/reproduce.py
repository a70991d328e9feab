"""The one way from names to results: execute what is not stored yet, judge it, draw it."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from rich.console import Console

from adamas._tools import modules

from . import ExperimentError, after, claims, figures
from .after import Comparison
from .claims import Measurable
from .execution import progress
from .execution.engines import Workers
from .execution.grid import Grid
from .figures import Figure
from .findings import Finding, Preset
from .records import Records
from .records.store import Store
from .reports import html, markdown, matplotlib
from .reports.collect import FindingRow, LearnedRow, Report
from .runs import Run

__all__ = [
    "ALL",
    "Measurements",
    "Reproduction",
    "measure",
    "measure_after",
    "names_in_paper",
    "reproduce",
    "split",
]

ALL = "all"
Result = TypeVar("Result")


@dataclass(frozen=True)
class Measurements:
    """The results of figures and claims.

    Args:
        reports: the figures with their records.
        findings: the findings of all figures, then those of the claims.
        failures: the number of runs and claims that raised; they are missing from the rest.
    """

    reports: Sequence[Report]
    findings: Sequence[FindingRow]
    failures: int


@dataclass(frozen=True)
class Reproduction(Measurements):
    """Results that were drawn.

    Args:
        learned: the claims that were made after the paper, with everything of it alone.
        files: the pictures of each figure, PNG and SVG.
        page: the page that shows everything.
    """

    learned: Sequence[LearnedRow]
    files: Mapping[str, Sequence[Path]]
    page: Path


def names_in_paper() -> tuple[list[str], list[str]]:
    """Return the figures that reproduce the paper, the numbered ones first, and all claims."""
    found = [name for name in modules.names(figures.__name__) if figures.load(name).in_paper]
    return sorted(found, key=lambda name: (not name.startswith("fig"), name)), modules.names(claims.__name__)


def split(names: Sequence[str]) -> tuple[list[str], list[str]]:
    """Split names into those of figures and those of claims.

    Raises:
        ExperimentError: a name is neither; the message lists those that exist.
    """
    known = {"figures": modules.names(figures.__name__), "claims": modules.names(claims.__name__)}
    for name in names:
        if name not in known["figures"] + known["claims"]:
            listed = "; ".join(f"{kind}: {', '.join(there)}" for kind, there in known.items() if there)
            raise ExperimentError(f"unknown figure or claim {name!r}; {listed}")
    chosen = dict.fromkeys(names)
    of_figures, of_claims = ([name for name in chosen if name in there] for there in known.values())
    return of_figures, of_claims


def measure(
    figure_names: Sequence[str],
    claim_names: Sequence[str],
    preset: Preset,
    store: Store,
    workers: Workers,
    console: Console,
) -> Measurements:
    """Execute the runs of figures and claims that are not stored yet, in one grid; then judge all.

    Raises:
        ExperimentError: before any run: an unknown name, an unwritable folder, missing or corrupt data, an
            unreadable record, or no such workers; later: a record that cannot be written.
        KeyboardInterrupt: the user interrupted; finished runs are stored.
    """
    chosen = {name: figures.load(name) for name in figure_names}
    measurable = {name: claims.load(name) for name in claim_names}
    store.make()

    def wanted(records: Records, failed: Collection[Run]) -> Iterator[Run]:
        for figure in chosen.values():
            yield from figure.runs(preset, records, failed)
        for claim in measurable.values():  # which may share runs with figures
            yield from claim.runs(preset)

    records, lost = _execute(Grid(wanted, store, workers), workers, console)
    reports = [_report(name, figure, preset, records, lost) for name, figure in chosen.items()]
    failed = len(lost)
    findings = [row for report in reports for row in report.findings()]
    for name, claim in measurable.items():
        finding, raised = _judge(name, claim, preset, records, console)
        findings.append(FindingRow(name, finding))
        failed += raised
    return Measurements(reports, findings, failed)


def _report(name: str, figure: Figure, preset: Preset, records: Records, failed: Collection[Run]) -> Report:
    runs = list(dict.fromkeys(figure.runs(preset, records, failed)))
    return Report(name, preset, figure, runs, {run: records[run] for run in runs if run in records})


def _execute(grid: Grid, workers: Workers, console: Console) -> tuple[Records, Collection[Run]]:
    """Execute the runs that are not stored; return all records, and the runs that raised."""
    if not grid.missing:
        return grid.records, ()
    grid.prepare()
    with workers.connect() as execute:
        progress.show(grid.execute(execute), grid.missing, len(grid.records), console)
    return grid.records, grid.failed


def _judge(
    name: str, claim: Measurable, preset: Preset, records: Records, console: Console
) -> tuple[Finding, int]:
    """Measure a claim that no figure has; return the finding, and 1 where it raised, else 0."""
    found = _attempt(name, lambda: claim.finding(preset, records), console)
    if isinstance(found, Exception):
        return Finding(claim.claim, claim.source, f"it raised {found!r}", "not measured"), 1
    return found, 0


def measure_after(names: Sequence[str], console: Console) -> tuple[list[LearnedRow], int]:
    """Measure claims that were made after the paper, or all of them where no name is given.

    Returns:
        the claims, and the number of those that raised.

    Raises:
        ExperimentError: before any is measured: there is none of that name.
    """
    chosen = {name: after.load(name) for name in names} or after.all_learned()
    rows, failed = [], 0
    for name, claim in chosen.items():
        found = _attempt(name, claim.compare, console)
        if isinstance(found, Exception):
            found, failed = Comparison(f"it raised {found!r}", "not measured"), failed + 1
        rows.append(LearnedRow(name, claim, found))
    return rows, failed


def _attempt(name: str, measure: Callable[[], Result], console: Console) -> Result | Exception:
    """Return what a claim measures, or what it raised, which is shown."""
    with console.status(f"measuring {name}"):
        try:
            return measure()
        except ExperimentError:
            raise
        except Exception as error:  # one broken claim must not lose an hour of runs before it
            console.print(f"failed: {name}\n{traceback.format_exc()}", style="red", markup=False)
            return error


def reproduce(
    name: str,
    preset: Preset,
    folder: Path,
    workers: Workers,
    console: Console,
    summary: Path | None = None,
) -> Reproduction:
    """Measure a figure, or `ALL` of the paper, then draw its pictures and its page in `folder`.

    With `summary`, a folder, write that too (see `reports.markdown`).

    Raises:
        ExperimentError, KeyboardInterrupt: as `measure` does.
    """
    store = Store(folder)
    if summary is not None:
        markdown.make(summary)
    figure_names, claim_names = names_in_paper() if name == ALL else ([name], [])
    found = measure(figure_names, claim_names, preset, store, workers, console)
    learned, raised = measure_after([], console) if name == ALL else ([], 0)
    failures = found.failures + raised
    files = {
        report.name: matplotlib.write(
            f"{report.title} ({preset})", report.charts, folder / f"{report.name}-{preset}"
        )
        for report in found.reports
    }
    page = folder / f"{name}-{preset}.html"
    command = f"adamas reproduce {name} --preset {preset}"
    contents = html.Contents(command, preset, found.reports, found.findings, learned, files, failures)
    html.write(page, contents, store)
    if summary is not None:
        markdown.write(summary, command, found.reports, found.findings, learned)
    return Reproduction(found.reports, found.findings, failures, learned, files, page)
