import dataclasses
from collections.abc import Mapping
from typing import Any

import pytest

from adamas.experiments import figures, findings
from adamas.experiments.figures import Figure
from adamas.experiments.figures.formats import LOOKS, FormatPanel
from adamas.experiments.findings import Table
from adamas.experiments.reports import matplotlib

PANEL = FormatPanel(
    "title",
    "note",
    "images_mlp",
    {"data": "digits", "width": 8},
    32,
    epochs=2,
    records_per_epoch=2,
    seeds=[0, 1],
)
FIGURE = Figure("Bits", {"demo": [PANEL]})
SAME = dict.fromkeys(["float32", *LOOKS], 1.0)
# The mean of the last epoch is what counts: 2 with seed 0, 4 with seed 1.
COSTS = {0: (9.0, 8.0, 1.0, 3.0), 1: (9.0, 8.0, 3.0, 5.0)}


def record(costs: tuple[float, ...], status: str = "done") -> dict[str, Any]:
    rest = {"train_nll": 0.5, "test_nll": 0.6, "test_error": 0.1}
    epochs = [{"epoch": part / 2, "cost": cost, **rest} for part, cost in enumerate((None, *costs))]
    return {"status": status, "epochs": epochs}


def training(name: str) -> list[Any]:
    return [*PANEL.runs_of(name)]


def records(factors: Mapping[str, float]) -> dict[Any, dict[str, Any]]:
    """Of each format, with costs so many times those of float32."""
    return {
        run: record(tuple(factor * cost for cost in COSTS[run.seed]))
        for name, factor in factors.items()
        for run in training(name)
    }


def table(found: Mapping[Any, dict[str, Any]]) -> Table:
    (only,) = FIGURE.tables("demo", found)
    return only


def test_the_final_cost_is_the_mean_of_the_last_epoch() -> None:
    found = table(records({"float32": 1, "bfloat16": 1.5, "float8": 2}))
    rows = {str(row["state"]): row for row in found.rows if row["final_cost"] is not None}
    assert [row["final_cost"] for row in rows.values()] == pytest.approx([3, 4.5, 6])
    assert [row["of_float32"] for row in rows.values()] == pytest.approx([1, 1.5, 2])
    assert rows["float8"]["lowest_seed"] == rows["float8"]["highest_seed"] == pytest.approx(2)
    assert rows["float32"]["deviation"] == pytest.approx(2**0.5)


@pytest.mark.parametrize("name", LOOKS)
def test_a_bound_holds_on_both_sides(name: str) -> None:
    bound = LOOKS[name].bound
    for factor, verdict in [
        (1 + bound - 0.001, "holds"),
        (1 - bound + 0.001, "holds"),
        (1 + bound + 0.001, "fails"),
        (1 - bound - 0.001, "fails"),
    ]:
        findings = table(records({**SAME, name: factor})).findings
        judged = dict(zip(LOOKS, findings, strict=True))
        assert {each: finding.verdict for each, finding in judged.items()} == {
            each: verdict if each == name else "holds" for each in LOOKS
        }
        assert judged[name].measured.startswith(f"{factor:.4f} [{factor:.4f}, {factor:.4f}] ×, over 2 seeds")


def test_what_diverged_is_no_number_and_holds_no_bound() -> None:
    found = records(SAME)
    found[PANEL.runs_of("float8")[1]] = record((9.0,), "diverged")
    assert [row["state"] for row in table(found).rows if row["final_cost"] is None] == ["float8"]
    judged = dict(zip(LOOKS, table(found).findings, strict=True))
    assert [name for name, finding in judged.items() if finding.verdict == "fails"] == ["float8"]
    assert "1 runs of float8 diverged" in judged["float8"].measured
    names = [[line.name for line in chart.lines] for (chart,) in FIGURE.charts("demo", found)]
    left = [f"{name} state" for name in SAME if name != "float8"]
    assert names == [left, left[1:]]


def test_what_has_no_records_is_said_to_have_none() -> None:
    found = records({"float32": 1, "float8": 1})
    del found[PANEL.runs_of("float8")[0]]
    assert {finding.verdict for finding in table(found).findings} == {"not measured"}
    assert [[len(chart.lines) for chart in row] for row in FIGURE.charts("demo", {})] == [[0], [0]]


def test_the_picture_names_formats_and_data() -> None:
    found = records(SAME)
    costs, ratios = matplotlib.draw("", FIGURE.charts("demo", found)).axes
    legend = costs.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == [f"{name} state" for name in SAME]
    assert costs.get_title(loc="left").split("\n")[0] == "title"
    assert (ratios.get_xlabel(), ratios.get_ylabel()) == ("epoch", "cost ÷ float32's")


@pytest.mark.parametrize("preset", findings.PRESETS)
def test_formats_differ_in_the_format_alone(preset: findings.Preset) -> None:
    panels = figures.load("formats").panels[preset]
    runs: Any = [run for panel in panels if isinstance(panel, FormatPanel) for run in panel.runs()]
    by_format = {
        phase: {dataclasses.replace(run, phase=()) for run in runs if run.phase == phase}
        for phase in {run.phase for run in runs}
    }
    assert {dict(phase).get("state_format") for phase in by_format} == {None, *LOOKS}
    assert all(each == by_format[()] for each in by_format.values())


@pytest.mark.parametrize("preset", findings.PRESETS)
def test_seeds_and_data_are_those_of_the_preset(preset: findings.Preset) -> None:
    runs: Any = figures.load("formats").runs(preset)
    assert len(set(runs)) == len(runs)
    assert len({run.seed for run in runs}) == (3 if preset == "demo" else 5)
    real = {"mnist", "imdb"}
    assert {dict(run.options)["data"] for run in runs} == ({"digits", "babble"} if preset == "demo" else real)
