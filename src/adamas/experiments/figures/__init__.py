"""The figures that can be reproduced: each public module here is one, its `FIGURE` a `Figure`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, cast, get_args

import matplotlib.figure

from .. import discovery
from ..run import Run
from ..store import Record

Preset = Literal["demo", "quick", "paper"]
PRESETS: tuple[Preset, ...] = get_args(Preset)
Verdict = Literal["holds", "holds in part", "does not hold", "not measured"]
Cell = str | float | None


@dataclass(frozen=True)
class Finding:
    """What the paper reports, and what the records say of it."""

    paper: str
    measured: str
    verdict: Verdict


@dataclass(frozen=True)
class Table:
    """Rows of plain values under one title, with the findings that follow from them."""

    title: str
    rows: Sequence[Mapping[str, Cell]]
    findings: Sequence[Finding]


class Figure(Protocol):
    """What a figure can do. `records` holds those that exist, by run."""

    @property
    def title(self) -> str: ...

    def runs(self, preset: Preset) -> Sequence[Run]:
        """Everything to be run for it."""
        ...

    def tables(self, preset: Preset, records: Mapping[Run, Record]) -> Sequence[Table]:
        """The numbers."""
        ...

    def draw(self, preset: Preset, records: Mapping[Run, Record]) -> matplotlib.figure.Figure:
        """The picture."""
        ...


def load(name: str) -> Figure:
    """The figure of that name.

    Raises:
        ExperimentError: there is none; the message lists those that exist.
    """
    return cast(Figure, discovery.load(__name__, name).FIGURE)
