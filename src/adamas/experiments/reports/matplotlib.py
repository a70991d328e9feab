"""Charts as pictures for print, PNG and SVG, by matplotlib."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib.axes
import matplotlib.figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator, StrMethodFormatter

from adamas._tools.files import write_atomically

from ..charts import Chart, Line, Style

__all__ = ["draw", "write"]

WIDTH, HEIGHT = 5.6, 4.4  # a chart's, in inches
_DASHES = {"solid": "-", "dash": "--", "dot": ":", "dashdot": "-."}


def write(title: str, rows: Sequence[Sequence[Chart]], stem: Path) -> list[Path]:
    """Write the picture beside `stem` as PNG and SVG; return the files."""
    picture = draw(title, rows)
    files = []
    for kind in ("png", "svg"):
        content = io.BytesIO()
        picture.savefig(content, format=kind, dpi=150)
        files.append(stem.with_name(f"{stem.name}.{kind}"))
        write_atomically(files[-1], content.getvalue())
    return files


def draw(title: str, rows: Sequence[Sequence[Chart]]) -> matplotlib.figure.Figure:
    """Draw the charts in rows, all of one length."""
    columns = max(map(len, rows))
    size = (WIDTH * columns, HEIGHT * len(rows) + 0.5)
    figure = matplotlib.figure.Figure(figsize=size, layout="constrained")
    figure.suptitle(title)
    for places, row in zip(figure.subplots(len(rows), columns, squeeze=False), rows, strict=True):
        for axes, chart in zip(places, row, strict=True):
            _draw(axes, chart)
    return figure


def _draw(axes: matplotlib.axes.Axes, chart: Chart) -> None:
    for line in chart.lines:
        _draw_line(axes, line)
    for level in chart.levels:
        axes.axhline(level.value, label=level.name or "_", color=level.style.color, **_stroke(level.style))
    axes.set_title(f"{chart.title}\n{chart.note}".rstrip(), fontsize="medium")
    axes.set_xlabel(chart.x)
    axes.set_ylabel(chart.y)
    axes.tick_params(labelsize="small")
    axes.grid(alpha=0.3)
    if chart.log_x:
        axes.set_xscale("log")
    elif chart.whole_x:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if chart.log_y:
        axes.set_yscale("log")
        _label_a_short_scale(axes)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize="small")


def _draw_line(axes: matplotlib.axes.Axes, line: Line) -> None:
    stroke, color = _stroke(line.style), line.style.color
    axes.plot(line.x, line.values.mean(axis=0), label=line.name, color=color, **stroke)
    if len(line.values) > 1:
        low, high = line.values.min(axis=0), line.values.max(axis=0)
        axes.fill_between(line.x, low, high, color=color, alpha=0.2, linewidth=0)


def _stroke(style: Style) -> dict[str, Any]:
    marker = "o" if style.marked else ""
    return {"linestyle": _DASHES[style.dash], "linewidth": style.width, "marker": marker, "markersize": 4}


def _label_a_short_scale(axes: matplotlib.axes.Axes) -> None:
    """Label a logarithmic axis that spans less than two decades: powers of ten alone would leave it bare."""
    low, high = axes.get_ylim()
    if low > 0 and high / low < 50:
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 1.2, 1.5, 2, 2.5, 3, 3.5, 4, 5, 6, 8)))
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.yaxis.set_minor_locator(NullLocator())
