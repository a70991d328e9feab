"""Charts as values, described once for every way of drawing them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import cycle, product
from typing import Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["Chart", "Level", "Line", "Style", "by_epoch", "styles"]

Epochs = Sequence[Mapping[str, float]]
Dash = Literal["solid", "dash", "dot", "dashdot"]


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
    "AdaGrad (α fixed)": Style(SKY, width=4),
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
    """

    name: str
    x: NDArray[np.float64]
    values: NDArray[np.float64]
    style: Style


@dataclass(frozen=True)
class Level:
    """A horizontal line, for instance a bound; the name "" keeps it out of the legend."""

    name: str
    value: float
    style: Style


@dataclass(frozen=True, eq=False)
class Chart:
    """One set of axes.

    Args:
        title: the title of the axes.
        note: facts about the data that a reader must know.
        x, y: the names of the axes.
        lines, levels: the curves and horizontal lines.
        log_x, log_y: whether an axis is logarithmic at first.
        whole_x: whether x is a count, with integer ticks.
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


def by_epoch(seeds: Sequence[Epochs], measure: str) -> NDArray[np.float64]:
    """Return a measure by seed and record, (seeds, records), without the record of the start."""
    return np.array([[epoch[measure] for epoch in epochs[1:]] for epochs in seeds])
