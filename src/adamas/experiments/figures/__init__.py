"""The figures that can be reproduced: each public module here is one, its `FIGURE` a `Figure`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol, cast, get_args

from adamas._tools import modules

from .. import ExperimentError
from ..charts import Chart
from ..runs import Run
from ..store import Record

Preset = Literal["demo", "quick", "paper"]
PRESETS: tuple[Preset, ...] = get_args(Preset)
Verdict = Literal["holds", "holds here only partly", "fails", "not measured"]
Cell = str | float | None
Records = Mapping[Run, Record]  # those that exist


@dataclass(frozen=True)
class Finding:
    """A claim of the paper, and what was measured of it.

    Args:
        claim: what the paper says, in a sentence.
        source: where it says so.
        measured: the measurement, with its numbers.
        verdict: what follows.
    """

    claim: str
    source: str
    measured: str
    verdict: Verdict

    def unless(self, reason: str) -> Finding:
        """This one; or, where there is a reason not to judge it, what was measured, without a verdict."""
        if not reason:
            return self
        return replace(self, measured=f"{reason}: {self.measured}", verdict="not measured")


def verdict(parts: Sequence[bool]) -> Verdict:
    """Of a claim whose parts hold or do not.

    Raises:
        ValueError: there are no parts, of which nothing follows.
    """
    if not parts:
        raise ValueError("a verdict needs a part at least; of none the claim is not measured")
    return "holds" if all(parts) else "holds here only partly" if any(parts) else "fails"


@dataclass(frozen=True)
class Table:
    """Rows of plain values under one title, with the findings that follow from them."""

    title: str
    rows: Sequence[Mapping[str, Cell]]
    findings: Sequence[Finding]


class Figure(Protocol):
    """What a figure can do."""

    @property
    def title(self) -> str: ...

    @property
    def of_paper(self) -> bool:
        """Whether it reproduces the paper, so that `all` has it, or shows something of this library."""
        ...

    def runs(self, preset: Preset) -> Sequence[Run]:
        """Everything to be run for it."""
        ...

    def tables(self, preset: Preset, records: Records) -> Sequence[Table]:
        """The numbers."""
        ...

    def charts(self, preset: Preset, records: Records) -> Sequence[Sequence[Chart]]:
        """What it shows, in rows of one length; charts are there even where records are missing."""
        ...


def load(name: str) -> Figure:
    """The figure of that name.

    Raises:
        ExperimentError: there is none; the message lists those that exist.
    """
    return cast(Figure, modules.load(__name__, name, ExperimentError).FIGURE)
