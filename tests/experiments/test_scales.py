"""Axes as values: ranges, ticks, marks at the edge, and labels at the ends of curves."""

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adamas.experiments import scales
from adamas.experiments.charts import Chart, Level, Line, Style, View, said_once

LOOK = Style("#123456")
positive = st.floats(1e-8, 1e8)


def chart(*rows: list[float], **more: object) -> Chart:
    lines = [
        Line(f"curve {place}", np.arange(1.0, len(row) + 1), np.array([row]), LOOK, f"label {place}")
        for place, row in enumerate(rows)
    ]
    return Chart("title", "note", "x", "y", lines, **more)  # type: ignore[arg-type]


@given(st.lists(positive, min_size=1, max_size=30), st.booleans())
def test_all_points_lie_within_the_axis(values: list[float], log: bool) -> None:
    scale = scales.y_scale(chart(values), log)
    assert scale.low < min(values) <= max(values) < scale.high


@given(positive, st.floats(1.001, 1e9))
def test_ticks_of_a_logarithmic_axis_are_within_it_and_do_not_collide(low: float, ratio: float) -> None:
    scale = scales.y_scale(chart([low, low * ratio]), True)
    places = [scale.share(tick) for tick in scale.ticks]
    assert len(places) <= scales.MOST_Y
    assert all(-1e-6 <= place <= 1 + 1e-6 for place in places)
    assert all(b - a > 0.9 * scales.GAP for a, b in itertools.pairwise(places))
    assert len(set(scale.texts)) == len(scale.texts)


@given(st.lists(st.floats(0, 1), max_size=8))
def test_labels_are_moved_apart_in_their_order(places: list[float]) -> None:
    moved = scales.spread(places, 0.05)
    order = sorted(range(len(places)), key=lambda place: places[place])
    assert all(moved[b] - moved[a] >= 0.05 - 1e-9 for a, b in itertools.pairwise(order))
    assert all(place <= 1 for place in moved)


def test_labels_with_room_stay_where_they_are() -> None:
    assert scales.spread([0.9, 0.1, 0.5], 0.05) == [0.9, 0.1, 0.5]


def test_one_point_far_above_is_clipped_and_marked_with_its_value() -> None:
    one = chart([3.5, *([0.3, 0.4] * 20)], clip=True)
    scale = scales.y_scale(one, False)
    assert scale.high < 0.5
    assert [(mark.text, mark.x) for mark in scales.marks(one, scale)] == [("▲ 3.5", 1.0)]
    whole = scales.y_scale(dataclasses.replace(one, clip=False), False)
    assert whole.high > 3.5
    assert scales.marks(one, whole) == []


def test_points_that_fill_the_axis_are_not_clipped() -> None:
    one = chart(np.linspace(1, 2, 40).tolist(), clip=True)
    assert scales.y_scale(one, False).high > 2


def test_failed_runs_of_several_curves_are_marked_in_rows_of_their_own() -> None:
    made = chart([1.0, np.nan], [1.0, np.nan])
    lines = [dataclasses.replace(line, failed=[2.0]) for line in made.lines]
    found = scales.marks(dataclasses.replace(made, lines=lines), scales.y_scale(made, False))
    assert [(mark.text, mark.x, mark.row, mark.curve) for mark in found] == [
        ("×", 2.0, 0, 0),
        ("×", 2.0, 1, 1),
    ]


def test_charts_with_one_span_have_one_axis() -> None:
    a, b = (chart(values, span=(1.0, 9.0)) for values in ([1.0, 2.0], [5.0, 9.0]))
    for log in (False, True):
        assert scales.y_scale(a, log) == scales.y_scale(b, log)


def test_a_curve_that_ends_beyond_the_axis_has_no_label_and_levels_have_theirs() -> None:
    made = chart([1.0, 2.0], [1.0, 90.0], span=(0.0, 3.0), levels=[Level("bound", 2.9, LOOK)])
    assert [label.text for label in scales.labels(made, scales.y_scale(made, False))] == ["label 0", "bound"]


def test_another_view_is_linear_and_has_its_ends() -> None:
    scale = scales.y_scale(chart([0.01, 100.0], log_y=True).in_view(View("other", 0.2, 0.7)), False)
    assert (scale.low, scale.high) == (pytest.approx(0.2, abs=0.1), pytest.approx(0.7, abs=0.1))
    assert not chart([1.0], log_y=True).in_view(View("other")).log_y


def test_a_curve_of_few_points_is_marked() -> None:
    assert chart([1.0, 2.0, 3.0]).lines[0].marked
    assert not chart([1.0] * 20).lines[0].marked


def test_what_is_the_same_in_all_charts_is_said_once() -> None:
    one, other = chart([1.0]), chart([2.0])
    assert said_once([[one, other]]).note == "note"
    assert said_once([[one], [other]]).legend is one
    more = chart([1.0], [2.0])
    assert said_once([[one, more]]).legend is None
    assert said_once([[one, dataclasses.replace(other, note="")]]).note == ""
    assert said_once([[one]]) == said_once([])
