"""Costs by epoch, as figures read them from records and draw them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.axes
import matplotlib.figure
import numpy as np
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator, StrMethodFormatter
from numpy.typing import NDArray

Epochs = Sequence[Mapping[str, float]]


def by_epoch(seeds: Sequence[Epochs], measure: str) -> NDArray[np.float64]:
    """A measure from the first recorded epoch on, or part of one, (seeds, epochs); the start is left out."""
    return np.array([[epoch[measure] for epoch in epochs[1:]] for epochs in seeds])


def picture(
    title: str, panels: int, heights: Sequence[float] = (4.8,)
) -> tuple[matplotlib.figure.Figure, Any]:
    """A figure, and its axes (rows, panels), the rows of these heights in inches."""
    figure = matplotlib.figure.Figure(figsize=(5.6 * panels, sum(heights)), layout="constrained")
    figure.suptitle(title)
    return figure, figure.subplots(len(heights), panels, squeeze=False, sharex="col", height_ratios=heights)


def plot(
    axes: matplotlib.axes.Axes,
    epochs: NDArray[np.float64],
    values: NDArray[np.float64],
    label: str,
    style: Mapping[str, Any],
) -> None:
    """The mean over seeds of `values` (seeds, epochs), and their range."""
    axes.plot(epochs, values.mean(axis=0), label=label, **style)
    if len(values) > 1:
        axes.fill_between(
            epochs, values.min(axis=0), values.max(axis=0), color=style["color"], alpha=0.2, linewidth=0
        )


def finish(axes: matplotlib.axes.Axes, values: str, **legend: Any) -> None:
    """Names the axes, and the curves if there are any in a legend of these options."""
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylabel(values)
    axes.tick_params(axis="y", labelsize="small")
    axes.grid(alpha=0.3)
    if axes.lines:
        axes.legend(**legend)


def log_scale(axes: matplotlib.axes.Axes) -> None:
    """For costs: they fall by factors in the first epochs and by hundredths later, and here both are seen."""
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 1.2, 1.5, 2, 2.5, 3, 3.5, 4, 5, 6, 8)))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.yaxis.set_minor_locator(NullLocator())
