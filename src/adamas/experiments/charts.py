"""Charts as values, described once for every way of drawing them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import cycle, product
from typing import Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["Chart", "Level", "Line", "Once", "Style", "View", "by_epoch", "said_once", "styles"]

Epochs = Sequence[Mapping[str, float]]
Dash = Literal["solid", "dash", "dot", "dashdot"]
FEW_POINTS = 8  # a curve from so few is drawn with marks, as its straight pieces say more than was measured


@dataclass(frozen=True)
class Style:
    """The look of a line: an sRGB colour "#rrggbb", a dash, a width in points, and marks at the points."""

    color: str
    dash: Dash = "solid"
    width: float = 1.5
    marked: bool = False


# Colours that stay apart for colour-blind readers (Okabe and Ito), and dashes that stay apart in print.
BLUE, ORANGE, GREEN, SKY = "#0072B2", "#D55E00", "#009E73", "#56B4E9"
PINK, YELLOW, BLACK = "#CC79A7", "#E69F00", "#000000"
_HOUSE: Mapping[str, Style] = {
    "Adam": Style(BLUE),
    "SGD Nesterov": Style(ORANGE, "dash"),
    "AdaGrad": Style(GREEN, "dashdot"),
    "AdaGrad (α fixed)": Style(SKY, width=1.0),
    "RMSProp": Style(PINK, "dot"),
    "AdaDelta": Style(YELLOW, "dash"),
    "SFO": Style(BLACK, "dashdot"),
    "AMSGrad": Style(GREEN, "dash"),
}
_DASHES: Sequence[Dash] = ("dot", "dashdot", "dash")
_TAKEN = {(style.color, style.dash) for style in _HOUSE.values()}
_SPARE = [
    Style(color, dash, width=2.5)
    for dash, color in product(_DASHES, (BLUE, ORANGE, GREEN, PINK, SKY, YELLOW, BLACK))
    if (color, dash) not in _TAKEN
]


def styles(names: Iterable[str]) -> dict[str, Style]:
    """Choose a style for each optimizer: the same in all figures if it is well known, else a spare one."""
    spare = cycle(_SPARE)
    return {name: _HOUSE[name] if name in _HOUSE else next(spare) for name in dict.fromkeys(names)}


@dataclass(frozen=True, eq=False)
class Line:
    """A curve: `values`, (seeds, n), at `x`, (n,), ascending; NaN where there is none.

    Drawn as the mean over seeds with their range.

    Args:
        name: the name in the legend.
        x, values, style: the points, and their look.
        label: a short name to write at the end of the curve; "" for none.
        failed: the x at which runs failed: they have no value, and are marked at the upper edge.
        spans: the interval of each x, (n, 2): the points then stand for themselves, and are not joined.
    """

    name: str
    x: NDArray[np.float64]
    values: NDArray[np.float64]
    style: Style
    label: str = ""
    failed: Sequence[float] = ()
    spans: NDArray[np.float64] | None = None

    @property
    def mean(self) -> NDArray[np.float64]:
        """The mean over seeds, (n,)."""
        return np.asarray(self.values.mean(axis=0))

    @property
    def marked(self) -> bool:
        """Whether its points are marked."""
        return self.style.marked or len(self.x) <= FEW_POINTS


@dataclass(frozen=True)
class Level:
    """A horizontal line, for instance a bound; the name "" keeps it out of the legend."""

    name: str
    value: float
    style: Style


@dataclass(frozen=True)
class View:
    """Other axes for the same curves: a linear y from `low` to `high`, from the data where these are None."""

    name: str
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, eq=False)
class Chart:
    """One set of axes.

    Args:
        title: the subject of the axes.
        note: facts about the data that a reader must know.
        x, y: the names of the axes.
        lines, levels: the curves and horizontal lines.
        log_x, log_y: whether an axis is logarithmic at first.
        whole_x: whether x is a count, with integer ticks.
        finding: what the curves show, computed from them: the headline, where there is one.
        row: the name of the row that this chart begins.
        clip: whether a few points may lie beyond the upper edge, marked there, so that the others fill the
            axes.
        span: the lowest and highest y to show, the same for charts to compare; None: those of the data.
        other: other axes to offer.
        names: the names of the rows 1, 2, ... of a y axis that is a list, from the bottom up.
    """

    title: str
    note: str
    x: str
    y: str
    lines: Sequence[Line]
    levels: Sequence[Level] = field(default=())
    log_x: bool = False
    log_y: bool = False
    whole_x: bool = False
    finding: str = ""
    row: str = ""
    clip: bool = False
    span: tuple[float, float] | None = None
    other: View | None = None
    names: Sequence[str] = ()

    @property
    def headline(self) -> str:
        """What it shows, else its subject."""
        return self.finding or self.title

    @property
    def facts(self) -> str:
        """The rest that a reader must know: the subject, where the headline is a finding, and the note."""
        subject = self.title if self.finding else ""
        return ". ".join(each for each in (subject, self.note) if each)

    @property
    def curves(self) -> list[Line | Level]:
        """All that is drawn."""
        return [*self.lines, *self.levels]

    def in_view(self, view: View) -> Chart:
        """Return the chart on those axes."""
        span = None if view.low is None or view.high is None else (view.low, view.high)
        return replace(self, log_y=False, span=span, other=None)


@dataclass(frozen=True)
class Once:
    """What all charts of a figure have in common, and is said once.

    Args:
        note: their note; "" where they differ.
        legend: the chart whose curves, by name and look, all of them have; None where they differ.
    """

    note: str
    legend: Chart | None


def said_once(rows: Sequence[Sequence[Chart]]) -> Once:
    """Find what the charts of several rows or columns have in common."""
    every = [chart for row in rows for chart in row]
    if len(every) < 2:
        return Once("", None)
    first = every[0]
    notes = {chart.note for chart in every}
    looks = {tuple((curve.name, curve.style) for curve in chart.curves) for chart in every}
    return Once(first.note if len(notes) == 1 else "", first if len(looks) == 1 and first.curves else None)


def by_epoch(seeds: Sequence[Epochs], measure: str) -> NDArray[np.float64]:
    """Return a measure by seed and record, (seeds, records), without the record of the start."""
    return np.array([[epoch[measure] for epoch in epochs[1:]] for epochs in seeds])
