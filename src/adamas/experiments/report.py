"""Figures and claims with what is measured of them; what is stored is not run again."""

from __future__ import annotations

import functools
import traceback
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, get_args

from rich.console import Console

from adamas._tools import modules

from . import ExperimentError, claims, figures, grid, progress
from .charts import Chart
from .engines import Workers
from .figures import Figure, Finding, Preset, Records, Table, Verdict
from .runs import Run
from .store import Record, Store


class Judged(NamedTuple):
    """A finding, the name of the figure or the claim that it comes from, the title of its table."""

    name: str
    finding: Finding
    table: str = ""


@dataclass(frozen=True, eq=False)
class Report:
    """A figure with those records of its runs that exist."""

    name: str
    preset: Preset
    figure: Figure
    runs: Sequence[Run]
    records: Records

    @property
    def title(self) -> str:
        """Of the figure."""
        return self.figure.title

    @functools.cached_property
    def tables(self) -> Sequence[Table]:
        """The numbers and findings."""
        return self.figure.tables(self.preset, self.records)

    @functools.cached_property
    def charts(self) -> Sequence[Sequence[Chart]]:
        """What it shows, in rows."""
        return self.figure.charts(self.preset, self.records)

    def judged(self) -> list[Judged]:
        """The findings of all its tables."""
        return [Judged(self.name, each, table.title) for table in self.tables for each in table.findings]


def of_paper() -> list[str]:
    """The names of the figures that reproduce the paper, the numbered ones first."""
    names = [name for name in modules.names(figures.__name__) if figures.load(name).of_paper]
    return sorted(names, key=lambda name: (not name.startswith("fig"), name))


def execute(
    names: Sequence[str], preset: Preset, store: Store, workers: Workers, console: Console
) -> tuple[list[Report], int]:
    """Executes what these figures lack, all in one grid; returns how many runs raised.

    Raises:
        ExperimentError: before any run: no such figure, an unwritable folder, missing or corrupt data, an
            unreadable record, or no such workers; later: a record that cannot be written.
        KeyboardInterrupt: the user's; what has ended is stored.
    """
    loaded = {name: figures.load(name) for name in names}
    store.make()
    runs = {name: list(dict.fromkeys(figure.runs(preset))) for name, figure in loaded.items()}
    # Figures may share runs.
    every = list(dict.fromkeys(run for of_one in runs.values() for run in of_one))
    stored = _stored(every, store)
    missing = [run for run in every if run not in stored]
    failures = []
    if missing:
        with workers.connect() as execute:
            grid.prepare(missing)
            failures = progress.show(grid.execute(missing, store, execute), missing, len(stored), console)
        stored |= _stored(missing, store)
    reports = [
        Report(name, preset, figure, runs[name], {run: stored[run] for run in runs[name] if run in stored})
        for name, figure in loaded.items()
    ]
    return reports, len(failures)


def _stored(runs: Iterable[Run], store: Store) -> dict[Run, Record]:
    found = {run: store.read(run.configuration()) for run in runs}
    return {run: record for run, record in found.items() if record is not None}


def measure(names: Sequence[str], preset: Preset, console: Console) -> tuple[list[Judged], int]:
    """Measures these claims that are no figure's; returns how many raised, which are "not measured".

    Raises:
        ExperimentError: no such claim, or its data cannot be had.
    """
    judged, failures = [], 0
    for name in names:
        claim = claims.load(name)
        with console.status(f"measuring {name}"):
            try:
                finding = claim.finding(preset)
            except ExperimentError:
                raise
            except Exception as error:  # an hour of runs before it is not to be lost
                failures += 1
                console.print(f"failed: {name}\n{traceback.format_exc()}", style="red", markup=False)
                finding = Finding(claim.claim, claim.source, f"it raised {error!r}", "not measured")
        judged.append(Judged(name, finding))
    return judged, failures


def count(judged: Iterable[Judged]) -> str:
    """How many claims have each verdict, in words."""
    found = Counter(each.finding.verdict for each in judged)
    plural = {"holds": "hold", "holds here only partly": "hold here only partly", "fails": "fail"}
    parts = [f"{found[verdict]} {plural.get(verdict, verdict)}" for verdict in get_args(Verdict)]
    return f"{found.total()} claims: {', '.join(parts)}"
