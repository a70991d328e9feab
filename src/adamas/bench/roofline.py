"""The roofline: bytes a parameter against time a parameter, and the line of the measured bandwidth."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

from .pairs import Bench

__all__ = ["check_plot", "draw"]


def check_plot(path: Path) -> None:
    """Refuse a plot that could not be written after the measurement either.

    Raises:
        ValueError: its folder is missing, or the ending of its name is no format of a picture.
        ModuleNotFoundError: Matplotlib is not installed.
    """
    from matplotlib.backend_bases import FigureCanvasBase

    if not path.parent.is_dir():
        raise ValueError(f"--plot {path}: there is no folder {path.parent}")
    known = sorted(FigureCanvasBase.get_supported_filetypes())
    if path.suffix.removeprefix(".").lower() not in known:
        raise ValueError(f"--plot {path}: the name must end with one of .{', .'.join(known)}")


def draw(bench: Bench, path: Path) -> None:
    """Write the plot; the ending of `path` says its format.

    Raises:
        ValueError: no row of the bench has bytes on a workload beyond the caches.
    """
    from matplotlib.figure import Figure

    rows: dict[str, dict[str, Any]] = {
        row["ours"]: row for row in bench.rows if row.get("bytes") and row.get("of triad") is not None
    }
    if not rows:
        raise ValueError(
            "nothing to plot: choose a suite and a workload with a share of the triad's bandwidth"
        )
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.add_subplot()
    most = 1.4 * max(row["bytes"] for row in rows.values())  # room for the names
    # The triad that took turns with these rows: the machine may have been faster or slower before and after.
    bandwidth = statistics.median(row["GB/s"] / row["of triad"] for row in rows.values())
    axes.plot([0, most], [0, most / bandwidth], color="0.5", label=f"triad, {bandwidth:.0f} GB/s")
    for name, row in rows.items():
        nanoseconds = row["ours µs"] * 1e3 / row["parameters"]
        axes.plot(row["bytes"], nanoseconds, "o")
        axes.annotate(name, (row["bytes"], nanoseconds), textcoords="offset points", xytext=(6, -4))
    axes.set(xlabel="bytes read and written a parameter", ylabel="nanoseconds a parameter", title=bench.title)
    axes.set_xlim(0, most)
    axes.set_ylim(0)
    axes.legend()
    figure.savefig(path, dpi=160)
