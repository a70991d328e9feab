"""Charts as values: what a figure shows, once, for every way of drawing it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["STYLES", "Chart", "Level", "Line", "Style", "by_epoch"]

Epochs = Sequence[Mapping[str, float]]
Dash = Literal["solid", "dash", "dot", "dashdot"]


@dataclass(frozen=True)
class Style:
    """How a line looks: an sRGB colour "#rrggbb", a dash, a width in points; whether each point is marked."""

    color: str
    dash: Dash = "solid"
    width: float = 1.5
    marked: bool = False


# Colours that stay apart for colour-blind readers (Okabe and Ito), and dashes that stay apart in print.
BLUE, ORANGE, GREEN, SKY = "#0072B2", "#D55E00", "#009E73", "#56B4E9"
PINK, YELLOW, BLACK = "#CC79A7", "#E69F00", "#000000"
STYLES: Mapping[str, Style] = {
    "Adam": Style(BLUE),
    "SGD Nesterov": Style(ORANGE, "dash"),
    "AdaGrad": Style(GREEN, "dashdot"),
    "AdaGrad (α fixed)": Style(SKY, width=4),
    "RMSProp": Style(PINK, "dot"),
    "AdaDelta": Style(YELLOW, "dash"),
    "SFO": Style(BLACK, "dashdot"),
    "AMSGrad": Style(GREEN, "dash"),
}
"""Of the optimizers, in all figures."""


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
    """A horizontal line, as of a bound; "" is a level without an entry in the legend."""

    name: str
    value: float
    style: Style


@dataclass(frozen=True, eq=False)
class Chart:
    """One set of axes.

    Args:
        title: of the axes.
        note: what a reader must know of the data.
        x, y: the names of the axes.
        lines, levels: what is drawn.
        log_x, log_y: whether an axis is logarithmic at first.
        whole_x: whether x counts something, so that its ticks are integers.
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
    """A measure from the first recorded epoch on, or part of one, (seeds, epochs); the start is left out."""
    return np.array([[epoch[measure] for epoch in epochs[1:]] for epochs in seeds])
