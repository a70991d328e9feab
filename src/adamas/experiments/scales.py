"""Axes as values: the range that is shown, its ticks, marks at the edge, and labels at the ends of curves."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .charts import Chart, Level, Line, Style

__all__ = ["Label", "Mark", "Scale", "labels", "marks", "spread", "x_scale", "y_scale"]

Values = NDArray[np.float64]
PADDING = 0.04  # of the axis, on both sides: no point sticks to it
HEADROOM = 0.12  # of the axis, for marks of failed runs, which curves must not cross
OUTLIERS = 0.02  # the share of points that may lie beyond the edge, one at least
WORTH = 0.7  # they are left out only where the others then span less than this of the axis
GAP = 0.055  # between labels, of the axis
CLIPPED, FAILED = "▲", "×"
_POWERS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_STEPS = ((1.0,), (1.0, 3.0), (1.0, 2.0, 5.0), (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0))
_FINE = tuple(1 + place / 10 for place in range(90))
MOST_X, MOST_Y, FEWEST = 5, 8, 4  # ticks


class Scale(NamedTuple):
    """An axis from `low` to `high`; where it is logarithmic or a list, with its ticks and their texts."""

    low: float
    high: float
    log: bool
    ticks: Sequence[float]
    texts: Sequence[str]

    def share(self, value: float) -> float:
        """Return where a value lies, 0 at the low end and 1 at the high end."""
        low, high, at = (_scaled(np.array([each]), self.log)[0] for each in (self.low, self.high, value))
        return float((at - low) / (high - low))


class Mark(NamedTuple):
    """A mark at the upper edge, so many rows below it: a point beyond it, or a run that failed."""

    text: str
    x: float
    row: int
    style: Style
    curve: int


class Label(NamedTuple):
    """The label of a curve at its end; `y` is a share of the axis."""

    text: str
    y: float
    style: Style
    curve: int


def x_scale(chart: Chart, log: bool) -> Scale:
    """Return the x axis: all points, their intervals and failed runs, with room on both sides."""
    every = [np.concatenate([line.x, np.asarray(line.failed, float)]) for line in chart.lines]
    every += [line.spans for line in chart.lines if line.spans is not None]
    return _scale(_finite(every, log), log, PADDING, MOST_X)


def y_scale(chart: Chart, log: bool) -> Scale:
    """Return the y axis: from the lowest to the highest value, or what the chart asks for."""
    if chart.names:
        rows = [float(row) for row in range(1, len(chart.names) + 1)]
        return Scale(0.0, len(rows) + 1.0, False, rows, chart.names)
    marked = chart.span is not None or any(len(line.failed) for line in chart.lines)
    top = HEADROOM if marked else PADDING
    if chart.span is not None and (chart.span[0] > 0 or not log):
        return _scale(np.array(chart.span), log, top)
    values = _finite([*(line.values for line in chart.lines), *_levels(chart.levels)], log)
    if chart.clip:
        values = _without_outliers(values, log)
    return _scale(values, log, top)


def marks(chart: Chart, scale: Scale) -> list[Mark]:
    """Return the points beyond the upper edge, with their values, and the failed runs."""
    found = []
    for place, line in enumerate(chart.lines):
        beyond = [(x, y) for x, y in zip(line.x, line.mean, strict=True) if y > scale.high]
        # A run of points beyond the edge is one excursion, marked where it is highest.
        for x, y in _peaks(line, beyond):
            found.append(Mark(f"{CLIPPED} {y:.3g}", x, 0, line.style, place))
        found += [Mark(FAILED, float(x), place, line.style, place) for x in line.failed]
    return found


def labels(chart: Chart, scale: Scale) -> list[Label]:
    """Return the labels of curves that end within the axis, moved apart where they would overlap."""
    last = [(line.label, line.mean[np.isfinite(line.mean)][-1:], line.style) for line in chart.lines]
    if any(text for text, _, _ in last):
        last += [(level.name, np.array([level.value]), level.style) for level in chart.levels]
    ends = [
        (text, scale.share(float(value[0])), style, place)
        for place, (text, value, style) in enumerate(last)
        if text and len(value) and scale.low <= value[0] <= scale.high
    ]
    places = spread([end[1] for end in ends], GAP)
    return [Label(text, y, style, place) for (text, _, style, place), y in zip(ends, places, strict=True)]


def spread(places: Sequence[float], gap: float) -> list[float]:
    """Move places in [0, 1] apart by a gap at least, in their order, and no farther than needed."""
    order = sorted(range(len(places)), key=lambda place: places[place])
    moved = list(places)
    for before, after in pairwise(order):
        moved[after] = max(moved[after], moved[before] + gap)
    limit = 1.0
    for place in reversed(order):
        moved[place] = min(moved[place], limit)
        limit = moved[place] - gap
    return moved


def _peaks(line: Line, beyond: Sequence[tuple[float, float]]) -> Iterable[tuple[float, float]]:
    place = {float(x): number for number, x in enumerate(line.x)}
    groups: list[list[tuple[float, float]]] = []
    for x, y in beyond:
        if groups and place[float(x)] == place[float(groups[-1][-1][0])] + 1:
            groups[-1].append((x, y))
        else:
            groups.append([(x, y)])
    return [max(group, key=lambda point: point[1]) for group in groups]


def _levels(levels: Iterable[Level]) -> list[Values]:
    return [np.array([level.value]) for level in levels]


def _finite(arrays: Iterable[Values], log: bool) -> Values:
    flat: Values = np.concatenate([np.empty(0), *(np.ravel(each) for each in arrays)])
    there: Values = flat[np.isfinite(flat) & (flat > (0 if log else -np.inf))]
    return there


def _scaled(values: Values, log: bool) -> Values:
    scaled: Values = np.log10(values) if log else values
    return scaled


def _without_outliers(values: Values, log: bool) -> Values:
    """Return the values without the few highest, where these take most of the axis."""
    ordered = np.sort(values)
    kept = ordered[: len(ordered) - max(1, int(OUTLIERS * len(ordered)))]
    if len(kept) < 2:
        return ordered
    whole, rest = (float(np.ptp(_scaled(each, log))) for each in (ordered, kept))
    return kept if rest < WORTH * whole else ordered


def _scale(values: Values, log: bool, top: float, most: int = MOST_Y) -> Scale:
    if not len(values):
        values = np.array([1.0, 10.0])
    low, high = float(_scaled(values, log).min()), float(_scaled(values, log).max())
    size = (high - low) or (1.0 if log else abs(high) or 1.0)
    ends = (low - PADDING * size, high + top * size)
    if not log:
        return Scale(*ends, False, (), ())
    ticks = _log_ticks(*ends, most)
    return Scale(10 ** ends[0], 10 ** ends[1], True, ticks, [_text(tick) for tick in ticks])


def _log_ticks(low: float, high: float, most: int) -> list[float]:
    """Return the most ticks, of 1, 2, 5 in a decade or the like, that do not collide."""
    decades = range(math.floor(low), math.ceil(high) + 1)
    best: list[float] = []
    for steps in (*_STEPS, _FINE[::5], _FINE[::2]):
        ticks = [float(f"{step * 10.0**decade:.6g}") for decade in decades for step in steps]
        ticks = [tick for tick in ticks if low <= math.log10(tick) <= high]
        if len(ticks) <= most and _apart(ticks, high - low):
            best = ticks if len(ticks) > len(best) and len(best) < FEWEST else best
    if best:
        return best
    stride = max(1, math.ceil((high - low) / most))
    return [10.0**decade for decade in decades if low <= decade <= high and not decade % stride]


def _apart(ticks: Sequence[float], size: float) -> bool:
    return all(b - a > GAP * size for a, b in zip(np.log10(ticks), np.log10(ticks[1:]), strict=False))


def _text(value: float) -> str:
    exponent = round(math.log10(value))
    if -3 <= math.log10(value) < 4 or not math.isclose(value, 10.0**exponent):
        return f"{value:g}"
    return f"10{str(exponent).translate(_POWERS)}"
