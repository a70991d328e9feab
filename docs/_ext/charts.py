"""Figures of the site: one look, drawn by the build, readable on light and on dark."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

__all__ = ["COLOURS", "GREY", "figure"]

# Each has a contrast of 3 to 1 and more with white and with furo's dark background.
COLOURS = ("#2b7bba", "#d1603d", "#2f8f6b", "#a8559b")
GREY = "#808080"
_STYLE = {
    "svg.fonttype": "none", "svg.hashsalt": "adamas", "font.family": "sans-serif", "font.size": 10,
    "axes.edgecolor": GREY, "axes.labelcolor": GREY, "text.color": GREY, "axes.titlecolor": GREY,
    "xtick.color": GREY, "ytick.color": GREY, "axes.spines.top": False, "axes.spines.right": False,
    "axes.prop_cycle": mpl.cycler(color=COLOURS), "legend.frameon": False,
    "grid.color": GREY, "grid.alpha": 0.25,
}  # fmt: skip


@contextmanager
def figure(path: Path, columns: int = 1, size: tuple[float, float] = (5.4, 3.2)) -> Iterator[list[Axes]]:
    """The axes of a figure, which is written as SVG with a transparent ground."""
    with mpl.rc_context(_STYLE):
        made = Figure(figsize=size, layout="constrained")
        yield list(made.subplots(1, columns, squeeze=False)[0])
        path.parent.mkdir(parents=True, exist_ok=True)
        made.savefig(path, transparent=True, metadata={"Date": None})
