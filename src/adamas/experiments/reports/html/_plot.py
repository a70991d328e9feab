"""Charts as plotly data for the page's script."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import numpy as np
import plotly.graph_objects as go

from ...charts import Chart, Level, Line, Style

FEW = 8  # curves whose values fit into one box under the pointer
SHORT = 8  # an axis shorter than this would get ticks at halves
PIXELS = 4 / 3  # a point, in pixels


class Entry(NamedTuple):
    """A curve in the list beside the chart, and the group of traces that are shown and hidden with it."""

    name: str
    group: str
    style: Style


def entries(chart: Chart) -> list[Entry]:
    """Return the curves and levels of a chart that have a name."""
    return [Entry(each.name, str(place), each.style) for place, each in enumerate(_drawn(chart)) if each.name]


def _drawn(chart: Chart) -> list[Line | Level]:
    return [*chart.lines, *chart.levels]


def plain(chart: Chart) -> dict[str, Any]:
    """Return traces and layout. A trace has the group of its `Entry`, a nameless level that of the last."""
    traces: list[go.Scatter] = []
    ends = _ends(chart)
    groups = iter(entries(chart))
    group = ""
    for each in _drawn(chart):
        group = next(groups).group if each.name else group
        if isinstance(each, Level):
            traces.append(_level(each, group, ends))
        else:
            traces += _line(each, group)
    figure = go.Figure(traces, _layout(chart))
    return json.loads(figure.to_json())  # type: ignore[no-any-return]


def _ends(chart: Chart) -> list[float]:
    """Return the first and last x of all curves."""
    places = [float(x) for line in chart.lines for x in (line.x[0], line.x[-1])] or [0.0, 1.0]
    return [min(places), max(places)]


def _line(line: Line, group: str) -> list[go.Scatter]:
    """Return the mean over seeds, on the band of their range."""
    mean, low, high = line.values.mean(axis=0), line.values.min(axis=0), line.values.max(axis=0)
    several = len(line.values) > 1
    spread = " (seeds: %{customdata[0]:.4~g} to %{customdata[1]:.4~g})" if several else ""
    drawn = go.Scatter(
        x=line.x.tolist(),
        y=mean.tolist(),
        customdata=np.stack([low, high], axis=1).tolist() if several else None,
        hovertemplate="%{y:.4~g}" + spread,
        **_stroke(line.name, group, line.style),
    )
    there = np.isfinite(low) & np.isfinite(high)
    if not several or not there.any():
        return [drawn]
    # One outline, out along the lowest and back along the highest, so that no other trace comes between.
    band = go.Scatter(
        x=[*line.x[there].tolist(), *line.x[there][::-1].tolist()],
        y=[*low[there].tolist(), *high[there][::-1].tolist()],
        fill="toself",
        fillcolor=line.style.color,
        opacity=0.2,
        line={"width": 0},
        mode="lines",
        hoverinfo="skip",
        legendgroup=group,
    )
    return [band, drawn]


def _level(level: Level, group: str, ends: list[float]) -> go.Scatter:
    stroke = _stroke(level.name or "bound", group, level.style)
    return go.Scatter(x=ends, y=[level.value] * 2, hovertemplate="%{y:.4~g}", **stroke)


def _stroke(name: str, group: str, style: Style) -> dict[str, Any]:
    line = {"color": style.color, "dash": style.dash, "width": style.width * PIXELS}
    mode = "lines+markers" if style.marked else "lines"
    return {"name": name, "legendgroup": group, "mode": mode, "line": line}


def _layout(chart: Chart) -> dict[str, Any]:
    axis = {"automargin": True, "gridcolor": "#e3e6ea", "linecolor": "#8a929c", "zeroline": False}
    ticks = {"showline": True, "ticks": "outside", "exponentformat": "power"}
    x: dict[str, Any] = {"title": {"text": chart.x}}
    y = {"title": {"text": chart.y}}
    first, last = _ends(chart)
    if chart.whole_x and last - first < SHORT:
        x |= {"dtick": 1}
    return {
        "template": "none",
        "xaxis": {**axis, **ticks, **x, "type": "log" if chart.log_x else "linear"},
        "yaxis": {**axis, **ticks, **y, "type": "log" if chart.log_y else "linear"},
        "showlegend": False,  # the page has its own list, which the keyboard reaches
        "hovermode": "x unified" if len(chart.lines) <= FEW else "closest",
        "font": {"family": "system-ui, sans-serif", "size": 13, "color": "#1d2430"},
        "margin": {"l": 10, "r": 10, "t": 10, "b": 10},
        "height": 380,
    }
