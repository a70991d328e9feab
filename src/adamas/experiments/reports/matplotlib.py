"""Charts as pictures for print, PNG and SVG, by matplotlib."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib.axes
import matplotlib.figure
from matplotlib.ticker import MaxNLocator, NullLocator

from adamas._tools.files import write_atomically

from .. import scales
from ..charts import Chart, Line, Style, said_once

__all__ = ["draw", "write"]

WIDTH, HEIGHT = 5.6, 4.4  # a chart's, in inches
ROW = 0.2  # of a list, in inches
WIDE = 62  # characters of a title
EDGE = 0.97  # of the axis' height: where marks are
_DASHES = {"solid": "-", "dash": "--", "dot": ":", "dashdot": "-."}


def write(title: str, rows: Sequence[Sequence[Chart]], stem: Path) -> list[Path]:
    """Write the picture beside `stem` as PNG and SVG, and one more on other axes that the charts offer.

    Returns:
        the files.
    """
    drawn = {stem.name: rows}
    if any(chart.other for row in rows for chart in row):
        drawn[f"{stem.name}-linear"] = [
            [chart.in_view(chart.other) for chart in row if chart.other] for row in rows if row[0].other
        ]
    files = []
    for name, charts in drawn.items():
        picture = draw(title, charts)
        for kind in ("png", "svg"):
            content = io.BytesIO()
            picture.savefig(content, format=kind, dpi=150)
            files.append(stem.with_name(f"{name}.{kind}"))
            write_atomically(files[-1], content.getvalue())
    return files


def draw(title: str, rows: Sequence[Sequence[Chart]]) -> matplotlib.figure.Figure:
    """Draw the charts in rows; what all of them have in common is written once."""
    columns = max(map(len, rows))
    heights = [max(HEIGHT, *(ROW * len(chart.names) for chart in row)) for row in rows]
    size = (WIDTH * columns, sum(heights) + 0.7)
    figure = matplotlib.figure.Figure(figsize=size, layout="constrained")
    once = said_once(rows)
    figure.suptitle("\n".join(each for each in (title, _one_line(once.note)) if each))
    cells = figure.add_gridspec(len(rows), columns, height_ratios=heights)
    first = None
    for at, row in enumerate(rows):
        for column, chart in enumerate(row):
            wide = len(row) == 1 and bool(chart.names)  # a list has the row to itself
            axes = figure.add_subplot(cells[at, :] if wide else cells[at, column])
            first = first or axes
            _draw(axes, chart)
            above = rows[at - 1][column] if at and column < len(rows[at - 1]) else None
            same = column > 0 and chart.span is not None and chart.span == row[column - 1].span
            _write(axes, chart, above, same, bool(once.note), WIDE * columns if wide else WIDE)
            if once.legend is None:
                _legend(axes, chart)
    if once.legend is not None and first is not None:
        figure.legend(*first.get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _write(
    axes: matplotlib.axes.Axes, chart: Chart, above: Chart | None, same: bool, noted: bool, letters: int
) -> None:
    """Write the title and the name of the y axis, unless the chart above or that to the left has them."""
    facts = (chart.title if chart.finding else "") if noted else chart.facts
    lines = [] if above and above.headline == chart.headline else [chart.headline, _one_line(facts)]
    if chart.row:
        lines.insert(0, chart.row)
    wrapped = [textwrap.fill(line, letters) for line in lines if line]
    axes.set_title("\n".join(wrapped), fontsize="medium", loc="left")
    axes.set_xlabel(chart.x)
    if same:
        axes.tick_params(labelleft=False)
    else:
        axes.set_ylabel(chart.y)


def _draw(axes: matplotlib.axes.Axes, chart: Chart) -> None:
    for line in chart.lines:
        _draw_line(axes, line)
    for level in chart.levels:
        axes.axhline(level.value, label=level.name or "_", color=level.style.color, **_stroke(level.style))
    axes.tick_params(labelsize="small")
    axes.grid(alpha=0.3)
    across, up = scales.x_scale(chart, chart.log_x), scales.y_scale(chart, chart.log_y)
    if chart.whole_x and not chart.log_x:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _set(axes, "x", across)
    _set(axes, "y", up)
    for mark in scales.marks(chart, up):
        place = (mark.x, EDGE - scales.GAP * mark.row)
        axes.annotate(
            mark.text,
            place,
            xycoords=("data", "axes fraction"),
            color=mark.style.color,
            bbox={"facecolor": "white", "alpha": 0.85, "edgecolor": "none", "pad": 1},
            ha="left" if scales.CLIPPED in mark.text else "center",
            va="center",
            fontsize="small",
        )
    for label in scales.labels(chart, up):
        where = (1.015, label.y)
        axes.annotate(
            chart.curves[label.curve].name,
            where,
            xycoords="axes fraction",
            color=label.style.color,
            va="center",
            fontsize="x-small",
        )


def _set(axes: matplotlib.axes.Axes, name: str, scale: scales.Scale) -> None:
    axis = axes.xaxis if name == "x" else axes.yaxis
    if scale.log:
        (axes.set_xscale if name == "x" else axes.set_yscale)("log")
        axis.set_minor_locator(NullLocator())
    if scale.ticks:
        axis.set_ticks(list(scale.ticks), list(scale.texts))
    (axes.set_xlim if name == "x" else axes.set_ylim)(scale.low, scale.high)


def _legend(axes: matplotlib.axes.Axes, chart: Chart) -> None:
    """Name the curves that have no label at their end."""
    handles, names = axes.get_legend_handles_labels()
    written = scales.labels(chart, scales.y_scale(chart, chart.log_y))
    labelled = {chart.curves[label.curve].name for label in written}
    rest = [(handle, name) for handle, name in zip(handles, names, strict=True) if name not in labelled]
    if rest:
        axes.legend(*zip(*rest, strict=True), fontsize="small")


def _draw_line(axes: matplotlib.axes.Axes, line: Line) -> None:
    stroke, color = _stroke(line.style, line.marked), line.style.color
    if line.spans is not None:
        stroke["linestyle"] = ""
        axes.hlines(line.mean, line.spans[:, 0], line.spans[:, 1], color=color, linewidth=line.style.width)
    axes.plot(line.x, line.mean, label=line.name, color=color, **stroke)
    if len(line.values) > 1:
        low, high = line.values.min(axis=0), line.values.max(axis=0)
        axes.fill_between(line.x, low, high, color=color, alpha=0.2, linewidth=0)


def _stroke(style: Style, marked: bool = False) -> dict[str, Any]:
    marker = "o" if marked or style.marked else ""
    return {"linestyle": _DASHES[style.dash], "linewidth": style.width, "marker": marker, "markersize": 4}
