"""A figure with its records, and rows of findings."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, get_args

from ..after import Comparison, Learned
from ..charts import Chart
from ..figures import Figure
from ..findings import Cell, Finding, Preset, Table, Verdict
from ..records import Records
from ..runs import Run

__all__ = ["PLURAL", "FindingRow", "LearnedRow", "Report", "by_verdict", "count_verdicts"]

PLURAL = {"holds": "hold", "holds here only partly": "hold here only partly", "fails": "fail"}


class FindingRow(NamedTuple):
    """A finding, the name of its figure or claim, and the title of its table."""

    name: str
    finding: Finding
    table: str = ""


class LearnedRow(NamedTuple):
    """A claim that was made after the paper, its name, and its measurement."""

    name: str
    learned: Learned
    comparison: Comparison

    @property
    def finding(self) -> Finding:
        """The same as a finding, which has no formula and no numbers apart from its text."""
        learned, comparison = self.learned, self.comparison
        return Finding(learned.said, learned.source, comparison.text, comparison.verdict)

    @property
    def rows(self) -> list[dict[str, Cell]]:
        """The table of predicted and measured values."""
        return [{"case": name, "predicted": p, "measured": m} for name, p, m in self.comparison.values]

    def plain(self) -> dict[str, Any]:
        """Return all but the charts, as plain values."""
        learned, comparison = self.learned, self.comparison
        return {
            "name": self.name,
            "claim": learned.claim,
            "source": learned.source,
            "formula": learned.formula,
            "read": learned.read,
            "verdict": comparison.verdict,
            "text": comparison.text,
            "values": [value._asdict() for value in comparison.values],
        }


class _Judged(Protocol):
    @property
    def finding(self) -> Finding: ...


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
        """The figure's title."""
        return self.figure.title

    @functools.cached_property
    def tables(self) -> Sequence[Table]:
        """The numbers and findings."""
        return self.figure.tables(self.preset, self.records)

    @functools.cached_property
    def charts(self) -> Sequence[Sequence[Chart]]:
        """The charts, in rows."""
        return self.figure.charts(self.preset, self.records)

    @property
    def seconds(self) -> float:
        """The wall time over all runs; what a run went on from is counted once."""
        total = sum(float(record["seconds"]) for record in self.records.values())
        for run in self.records:
            before = next((each for each in run.beginnings() if each in self.records), None)
            total -= self.records[before]["seconds"] if before else 0.0
        return total

    def findings(self) -> list[FindingRow]:
        """Return the findings of all tables."""
        return [FindingRow(self.name, each, table.title) for table in self.tables for each in table.findings]


def by_verdict(rows: Iterable[_Judged]) -> dict[Verdict, int]:
    """Return the number of claims with each verdict, those without any too."""
    found = Counter(row.finding.verdict for row in rows)
    return {verdict: found[verdict] for verdict in get_args(Verdict)}


def count_verdicts(rows: Iterable[_Judged]) -> str:
    """Return the number of claims with each verdict, in words."""
    found = by_verdict(rows)
    parts = [f"{count} {PLURAL.get(verdict, verdict)}" for verdict, count in found.items()]
    return f"{sum(found.values())} claims: {', '.join(parts)}"
