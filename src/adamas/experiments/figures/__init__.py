"""The figures that can be reproduced: each public module here is one, its `FIGURE` a `Figure`."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Protocol, cast

from adamas._tools import modules

from .. import ExperimentError
from ..charts import Chart
from ..findings import Preset, Table
from ..records import Records
from ..runs import Run

__all__ = ["NONE", "Figure", "Panel", "load"]

NONE: Records = {}


class Panel(Protocol):
    """A part of a figure: runs, and the tables and charts that follow from their records alone."""

    def runs(self, records: Records = NONE, failed: Collection[Run] = ()) -> Sequence[Run]:
        """Return the runs that the panel needs, as far as these records tell.

        A panel that searches hyperparameters needs more once those have ended, or `failed`.
        """
        ...

    def tables(self, records: Records) -> Sequence[Table]:
        """Return the numbers and findings."""
        ...

    def charts(self, records: Records) -> Sequence[Sequence[Chart]]:
        """Return the charts in rows; they are there even where records are missing."""
        ...


@dataclass(frozen=True)
class Figure:
    """Panels side by side, by preset.

    Args:
        title: the title.
        panels: the panels of each preset, from left to right.
        in_paper: whether it reproduces the paper, so that `all` includes it, or shows something of this
            library.
    """

    title: str
    panels: Mapping[Preset, Sequence[Panel]]
    in_paper: bool = True

    def runs(self, preset: Preset, records: Records = NONE, failed: Collection[Run] = ()) -> list[Run]:
        """Return the runs of all panels; see `Panel.runs`."""
        return [run for panel in self.panels[preset] for run in panel.runs(records, failed)]

    def tables(self, preset: Preset, records: Records) -> list[Table]:
        """Return the tables of all panels."""
        return [table for panel in self.panels[preset] for table in panel.tables(records)]

    def charts(self, preset: Preset, records: Records) -> list[list[Chart]]:
        """Return the charts in rows: each row of one panel is continued by that of the next panel."""
        rows = zip_longest(*(panel.charts(records) for panel in self.panels[preset]), fillvalue=())
        return [[chart for part in row for chart in part] for row in rows]


def load(name: str) -> Figure:
    """Return the figure of that name.

    Raises:
        ExperimentError: there is none; the message lists those that exist.
    """
    return cast(Figure, modules.load(__name__, name, ExperimentError).FIGURE)
