"""Charts as plotly data for the page's script."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import numpy as np
import plotly.graph_objects as go

from ... import scales
from ...charts import Chart, Level, Line, Style

SHORT = 8  # an axis shorter than this would get ticks at halves
PIXELS = 4 / 3  # a point, in pixels
LETTER = 7  # pixels: a letter of a label
ROW = 20  # pixels: of a list
FIRST = 0.97  # of the axis' height: where marks are


class Entry(NamedTuple):
    """A curve in the list beside the chart, and the group of traces that are shown and hidden with it."""

    name: str
    group: str
    style: Style


def entries(chart: Chart) -> list[Entry]:
    """Return the curves and levels of a chart that have a name."""
    return [Entry(each.name, str(place), each.style) for place, each in enumerate(chart.curves) if each.name]


def plain(chart: Chart) -> dict[str, Any]:
    """Return traces, layout and views.

    A trace has the group of its `Entry`, a nameless level that of the last. A view is what another y axis
    changes: the axis, and the annotations, each named by its group, with x as in the data.
    """
    traces: list[go.Scatter] = []
    across = scales.x_scale(chart, chart.log_x)
    groups = iter(entries(chart))
    group = ""
    for each in chart.curves:
        group = next(groups).group if each.name else group
        if isinstance(each, Level):
            traces.append(_level(each, group, [across.low, across.high]))
        else:
            traces += _line(each, group)
    figure = json.loads(go.Figure(traces, _layout(chart)).to_json())
    return {**figure, "views": _views(chart), "across": {str(log): _x(chart, log) for log in (False, True)}}


def _views(chart: Chart) -> dict[str, Any]:
    views = {"linear": _view(chart, False), "log": _view(chart, True)}
    if chart.other is not None:
        views["other"] = _view(chart.in_view(chart.other), False)
    return views


def _view(chart: Chart, log: bool) -> dict[str, Any]:
    scale = scales.y_scale(chart, log)
    return {"axis": _axis(scale), "annotations": _annotations(chart, scale)}


def _x(chart: Chart, log: bool) -> dict[str, Any]:
    axis = _axis(scales.x_scale(chart, log))
    if chart.whole_x and not log and axis["range"][1] - axis["range"][0] < SHORT:
        axis |= {"dtick": 1}
    return axis


def _axis(scale: scales.Scale) -> dict[str, Any]:
    ends = [scale.low, scale.high]
    ticks = {"tickmode": "array", "tickvals": list(scale.ticks), "ticktext": list(scale.texts)}
    if not scale.log:
        return {"type": "linear", "range": ends, **(ticks if scale.ticks else {"tickmode": "auto"})}
    return {"type": "log", "range": [float(end) for end in np.log10(ends)], **ticks}


def _annotations(chart: Chart, scale: scales.Scale) -> list[dict[str, Any]]:
    at_edge = [
        {
            "x": mark.x,
            "xref": "x",
            "y": FIRST - scales.GAP * mark.row,
            "xanchor": "left" if scales.CLIPPED in mark.text else "center",
            "hovertext": _said(chart, mark),
            "bgcolor": "rgba(255, 255, 255, 0.85)",
            **_text(mark.text, mark.curve, mark.style, "middle"),
        }
        for mark in scales.marks(chart, scale)
    ]
    at_end = [
        {
            "x": 1,
            "xref": "x domain",
            "y": label.y,
            "xanchor": "left",
            "xshift": 6,
            **_text(label.text, label.curve, label.style, "middle"),
        }
        for label in scales.labels(chart, scale)
    ]
    return [*at_edge, *at_end]


def _said(chart: Chart, mark: scales.Mark) -> str:
    name = chart.lines[mark.curve].name
    if mark.text == scales.FAILED:
        return f"{name}: failed at {chart.x} {mark.x:.3g}"
    return (
        f"{name}: {mark.text.removeprefix(scales.CLIPPED).strip()} at {chart.x} {mark.x:.3g}, beyond the axis"
    )


def _text(text: str, curve: int, style: Style, anchor: str) -> dict[str, Any]:
    font = {"color": style.color, "size": 16 if text == scales.FAILED else 12}
    fixed = {"yref": "y domain", "yanchor": anchor, "showarrow": False}
    return {"text": text, "name": str(curve), "font": font, **fixed}


def _line(line: Line, group: str) -> list[go.Scatter]:
    """Return the mean over seeds, on the band of their range."""
    if line.spans is not None:
        return [_points(line, group)]
    mean, low, high = line.mean, line.values.min(axis=0), line.values.max(axis=0)
    several = len(line.values) > 1
    drawn = go.Scatter(
        x=line.x.tolist(),
        y=mean.tolist(),
        customdata=np.stack([low, high], axis=1).tolist() if several else None,
        hoverinfo="none",  # the page's script writes the values beside the names: no box covers the curves
        **_stroke(line.name, group, line.style, line.marked),
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


def _points(line: Line, group: str) -> go.Scatter:
    """Return points with their intervals, which are told where they are pointed at."""
    assert line.spans is not None
    ends = {"array": line.spans[:, 1] - line.x, "arrayminus": line.x - line.spans[:, 0]}
    bars = {name: each.tolist() for name, each in ends.items()}
    look = {"color": line.style.color, "thickness": line.style.width * PIXELS, "width": 0}
    return go.Scatter(
        x=line.x.tolist(),
        y=line.mean.tolist(),
        error_x={"type": "data", "symmetric": False, **bars, **look},
        text=[f"{x:.3g} [{low:.3g}, {high:.3g}]" for x, (low, high) in zip(line.x, line.spans, strict=True)],
        hovertemplate="%{y}: %{text}<extra></extra>",
        **{**_stroke(line.name, group, line.style, True), "mode": "markers"},
        marker={"color": line.style.color, "size": 8},
    )


def _level(level: Level, group: str, ends: list[float]) -> go.Scatter:
    stroke = _stroke(level.name or "bound", group, level.style, level.style.marked)
    return go.Scatter(x=ends, y=[level.value] * 2, hoverinfo="none", **stroke)


def _stroke(name: str, group: str, style: Style, marked: bool) -> dict[str, Any]:
    line = {"color": style.color, "dash": style.dash, "width": style.width * PIXELS}
    mode = "lines+markers" if marked else "lines"
    return {"name": name, "legendgroup": group, "mode": mode, "line": line}


def _layout(chart: Chart) -> dict[str, Any]:
    axis = {"automargin": True, "gridcolor": "#e3e6ea", "linecolor": "#8a929c", "zeroline": False}
    ticks = {"showline": True, "ticks": "outside", "exponentformat": "power"}
    spike = {"showspikes": True, "spikemode": "across", "spikethickness": 1, "spikedash": "solid"}
    x = {
        "title": {"text": chart.x, "font": {"size": 12}},
        **_x(chart, chart.log_x),
        **spike,
        "spikecolor": "#8a929c",
    }
    view = _view(chart, chart.log_y)
    title = {"text": chart.y, "font": {"size": 12}}
    y = {"title": {**title, "standoff": 12} if chart.names else title, **view["axis"]}
    longest = max(
        (len(label.text) for label in scales.labels(chart, scales.y_scale(chart, chart.log_y))), default=0
    )
    return {
        "template": "none",
        "xaxis": {**axis, **ticks, **x},
        "yaxis": {**axis, **ticks, **y},
        "showlegend": False,  # the page has its own list, which the keyboard reaches
        "hovermode": "closest" if chart.names else "x",
        "font": {"family": "system-ui, sans-serif", "size": 13, "color": "#1d2430"},
        "margin": {"l": 10, "r": 10 + LETTER * longest, "t": 10, "b": 10},
        "height": max(340, ROW * len(chart.names) + 80),
    }
