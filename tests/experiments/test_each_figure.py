"""Each figure: a new file in `figures` is tested by being there."""

import builtins
import io
import json
import re
from collections.abc import Iterator
from itertools import chain, count
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from search_support import every_record

from adamas._tools import modules
from adamas.experiments import datasets, figures, findings, online_problems, problems, scales
from adamas.experiments.charts import Chart, styles
from adamas.experiments.datasets import _download
from adamas.experiments.findings import PRESETS, Preset, Verdict
from adamas.experiments.records.store import key
from adamas.experiments.reports import matplotlib
from adamas.experiments.reports.html import _plot

NAMES = modules.names(figures.__name__)
each_figure = pytest.mark.parametrize("name", NAMES)
each_preset = pytest.mark.parametrize("preset", PRESETS)


class Measures(dict[str, Any]):
    """Any measure that is asked for: positive, falling with the epoch, the same every time."""

    def __missing__(self, name: str) -> float:
        spread = sum(map(ord, name)) % 7
        return float((2 + spread) / (1 + self["epoch"]) + 0.01 * self["place"])

    def __contains__(self, name: object) -> bool:
        return True


def made_up(name: str, preset: Preset) -> dict[Any, dict[str, Any]]:
    """Records of all runs of a figure, made up."""
    places = count()

    def record(run: Any) -> dict[str, Any]:
        online = run.configuration().get("kind") == "online"
        ends = np.unique(np.geomspace(1, run.rounds, 20).round()) if online else np.arange(1, run.epochs + 1)
        place = next(places) % 5
        epochs = [Measures(epoch=float(end), place=place) for end in (0, *ends)]
        clock = [float(end) for end in range(len(epochs))]
        return {"status": "done", "epochs": epochs, "clock": clock, "seconds": 1.0}

    return every_record(figures.load(name), preset, record)


def forbid(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nothing be read, downloaded, built or run."""

    def forbidden(*arguments: object, **more: object) -> None:
        raise AssertionError("drawing asks for more than the records")

    for target in (builtins, io):
        monkeypatch.setattr(target, "open", forbidden)
    for package in (problems, online_problems):
        for name in modules.names(package.__name__):
            monkeypatch.setattr(package.load(name), "build", forbidden)
    for form in ("images", "words", "text"):
        found = getattr(datasets, form)
        monkeypatch.setattr(datasets, form, lambda name, found=found: Named(found(name).identity))
    monkeypatch.setattr(_download, "get", forbidden)


class Named:
    """A data set that cannot be loaded."""

    def __init__(self, identity: Any) -> None:
        self.identity = identity


@each_figure
@each_preset
def test_tables_and_charts_follow_from_the_records_alone(
    name: str, preset: Preset, monkeypatch: pytest.MonkeyPatch
) -> None:
    figure = figures.load(name)
    records = made_up(name, preset)
    forbid(monkeypatch)
    for found in (records, {}):
        tables, charts = figure.tables(preset, found), figure.charts(preset, found)
        assert tables
        assert {finding.verdict for table in tables for finding in table.findings} <= set(get_args(Verdict))
        assert all(charts)
        assert all(chart.x and chart.y for row in charts for chart in row)


INTERVAL = re.compile(r"\d%? \[[+-]?\d\S*, [+-]?\d\S*\]|no interval")
EXACT = {
    "the memory of SFO is linear in the number of mini-batches",
    "v̂ vanishes to zeros after a few epochs and is dominated by ε",
}


@each_figure
@each_preset
def test_what_chance_has_a_part_in_has_an_interval_or_says_that_it_has_none(
    name: str, preset: Preset
) -> None:
    figure = figures.load(name)
    runs = figure.runs(preset)
    fixed = {run for run in runs if dict(getattr(run, "options", ())).get("order") == "in turn"}
    records = made_up(name, preset)
    for panel in figure.panels[preset]:
        if not set(panel.runs()) <= fixed:
            for table in panel.tables(records):
                for finding in table.findings:
                    if finding.verdict != "not measured" and finding.claim not in EXACT:
                        assert INTERVAL.search(finding.measured), finding


@each_figure
@each_preset
def test_without_records_nothing_is_measured_and_no_point_is_drawn(name: str, preset: Preset) -> None:
    figure = figures.load(name)
    judged = [finding for table in figure.tables(preset, {}) for finding in table.findings]
    assert judged
    assert {finding.verdict for finding in judged} == {"not measured"}
    lines = [line for row in figure.charts(preset, {}) for chart in row for line in chart.lines]
    assert not any(np.isfinite(line.values).any() for line in lines)


@each_figure
@each_preset
def test_runs_are_distinct_plain_and_described(name: str, preset: Preset) -> None:
    runs = figures.load(name).runs(preset)
    keys = {key(run.configuration()) for run in runs}
    assert len(keys) == len(set(runs)) == len(runs) > 0
    for run in runs[:20]:
        plain = run.configuration()
        assert key(json.loads(json.dumps(plain))) == key(plain)
        assert run.describe()
        assert run.epochs > 0


@each_figure
def test_all_presets_are_there_and_the_figure_says_what_it_is(name: str) -> None:
    figure = figures.load(name)
    assert figure.title
    assert isinstance(figure.in_paper, bool)
    assert set(figure.panels) == set(PRESETS)
    assert {finding.claim for table in figure.tables("demo", {}) for finding in table.findings}


def drawn(name: str) -> list[list[Chart]]:
    figure = figures.load(name)
    return figure.charts("demo", made_up(name, "demo"))


def pairs(name: str) -> Iterator[tuple[Any, Chart]]:
    """The axes of the picture, and the charts; a row that is shorter leaves axes empty."""
    charts = drawn(name)
    picture = matplotlib.draw("title", charts)
    assert picture.get_suptitle().startswith("title")
    axes = [each for each in picture.axes if each.axison]
    return zip(axes, chain.from_iterable(charts), strict=True)


@each_figure
def test_the_picture_shows_every_chart(name: str) -> None:
    for axes, chart in pairs(name):
        assert axes.get_xlabel() == chart.x
        assert axes.get_ylabel() in (chart.y, "")
        assert (axes.get_xscale() == "log", axes.get_yscale() == "log") == (chart.log_x, chart.log_y)
        assert chart.lines
        lines = axes.get_lines()
        for line, shown in zip(chart.lines, lines, strict=False):
            np.testing.assert_allclose(shown.get_xdata(), line.x)
            np.testing.assert_allclose(shown.get_ydata(), line.values.mean(axis=0))
            assert shown.get_color() == line.style.color
        levels = lines[len(chart.lines) :]
        assert [shown.get_ydata()[0] for shown in levels] == [level.value for level in chart.levels]


@each_figure
def test_the_picture_names_every_curve_once(name: str) -> None:
    charts = drawn(name)
    picture = matplotlib.draw("title", charts)
    common = [text.get_text() for legend in picture.legends for text in legend.get_texts()]
    for axes, chart in zip((each for each in picture.axes if each.axison), chain(*charts), strict=True):
        own = [text.get_text() for text in axes.texts]
        own += [text.get_text() for text in axes.get_legend().get_texts()] if axes.get_legend() else []
        for curve in chart.curves:
            if curve.name:
                assert [*common, *own].count(curve.name) == 1


@each_figure
def test_every_headline_is_computed_from_the_records(name: str) -> None:
    figure = figures.load(name)
    with_records, without = drawn(name), figure.charts("demo", {})
    for chart, empty in zip(chain(*with_records), chain(*without), strict=True):
        assert not empty.finding
        assert chart.headline or chart.y


@each_figure
def test_every_point_is_on_the_axes_or_marked_and_none_sticks_to_the_axis(name: str) -> None:
    for chart in chain.from_iterable(drawn(name)):
        across = scales.x_scale(chart, chart.log_x)
        for log in (False, True):
            up = scales.y_scale(chart, log)
            marked = {mark.curve for mark in scales.marks(chart, up)}
            for place, line in enumerate(chart.lines):
                assert all(across.low < x < across.high for x in line.x if x > 0 or not chart.log_x)
                there = line.mean[np.isfinite(line.mean) & ((line.mean > 0) if log else True)]
                assert (there > up.low).all()
                assert (there < up.high).all() or place in marked


@each_figure
def test_the_page_shows_every_chart(name: str) -> None:
    for chart in chain.from_iterable(drawn(name)):
        plain = _plot.plain(chart)
        curves = {trace["name"]: trace for trace in plain["data"] if trace.get("name")}
        for line in chart.lines:
            expected = [None if np.isnan(value) else value for value in line.values.mean(axis=0)]
            assert curves[line.name]["y"] == pytest.approx(expected)
        assert plain["layout"]["yaxis"]["title"]["text"] == chart.y


@each_figure
def test_lines_of_a_chart_can_be_told_apart(name: str) -> None:
    for chart in chain.from_iterable(drawn(name)):
        looks = [(line.style.color, line.style.dash) for line in chart.lines]
        assert len(set(looks)) == len(looks)


def test_findings_have_the_presets_that_the_command_line_offers() -> None:
    from adamas.cli import _app

    (option, *_) = get_args(_app.Preset)
    assert get_args(option) == findings.PRESETS


def test_optimizers_keep_their_look_and_new_ones_get_one_of_their_own() -> None:
    known, alone = styles(["Adam", "SFO"]), styles(["SFO"])
    assert known["SFO"] == alone["SFO"]
    more = styles(["Adam", *map(str, range(12)), "AdaGrad", "0"])
    assert len(more) == 14
    assert len({(style.color, style.dash) for style in more.values()}) == 14
    assert more["Adam"] == known["Adam"]


def test_a_picture_is_written_in_both_formats(tmp_path: Path) -> None:
    files = matplotlib.write("title", drawn("regret"), tmp_path / "regret-demo")
    assert [path.name for path in files] == ["regret-demo.png", "regret-demo.svg"]
    assert files[0].read_bytes().startswith(b"\x89PNG")
    assert b"<svg" in files[1].read_bytes()
