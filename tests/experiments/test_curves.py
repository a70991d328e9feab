import dataclasses
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from adamas._tools import modules
from adamas.experiments import ExperimentError, figures, findings
from adamas.experiments.figures import Figure
from adamas.experiments.figures._compare import Claim, Comparison, Curve, judge
from adamas.experiments.figures._training import Grid, TrainingPanel
from adamas.experiments.findings import Finding
from adamas.experiments.reports import matplotlib
from adamas.experiments.runs.training import Training
from adamas.rules import SGD, Adagrad, Adam

PANEL = TrainingPanel(
    title="title",
    note="note",
    cost="cost",
    problem="images_softmax",
    options={"data": "digits"},
    l2=0.0,
    batch=1,
    epochs=2,
    seeds=[0, 1],
    grids={
        "Adam": Grid([Adam(lr=lr) for lr in (0.1, 0.2, 0.3)]),
        "SGD Nesterov": Grid([SGD(lr=lr) for lr in (1.0, 2.0, 3.0)], "constant"),
    },
    claims=[Claim("they are alike", "here", [Comparison("SGD Nesterov", "Adam", 0.5, 2.0)])],
)
COSTS = {0.1: (3.0, 2.0), 0.2: (2.0, 1.0), 0.3: (4.0, 3.0), 1.0: (4.0, 2.0), 2.0: (5.0, 2.0), 3.0: (6.0, 2.0)}


def record(costs: tuple[float, float], status: str = "done") -> dict[str, Any]:
    rest = {"train_nll": 0.5, "test_nll": 0.6, "test_error": 0.1}
    epochs = [{"epoch": epoch, "cost": cost, **rest} for epoch, cost in enumerate((None, *costs))]
    return {"status": status, "epochs": epochs}


def records(costs: Mapping[float, tuple[float, float]] = COSTS) -> dict[Training, dict[str, Any]]:
    """Seeds 0 and 1 a little below and above these costs."""
    spread = {0: -0.1, 1: 0.1}
    return {
        run: record((costs[run.rule.lr][0] + spread[run.seed], costs[run.rule.lr][1] + spread[run.seed]))
        for run in PANEL.runs()
        if run.rule.lr in costs
    }


def test_the_best_has_the_lowest_mean_cost() -> None:
    curves = PANEL.curves(records())
    assert {name: (curve.rule.lr, curve.edge) for name, curve in curves.items()} == {
        "Adam": (0.2, False),
        "SGD Nesterov": (1.0, True),
    }
    assert curves["Adam"].last("cost") == pytest.approx(1.0)


def test_the_final_cost_is_that_of_the_last_epoch_in_however_many_parts() -> None:
    costs = (9.0, 4.0, 2.0, 1.0)
    for parts, final in ((1, 1.0), (2, 1.5), (4, 4.0)):
        epochs = [{"epoch": i / parts, "cost": cost} for i, cost in enumerate((0.0, *costs))]
        curve = Curve(Adam(), [epochs], edge=False, diverged=0)
        assert curve.final_cost() == final
        assert curve.last_epoch().by_epoch("cost").mean() == final
        assert curve.until(2 / parts).by_epoch("cost").tolist() == [[9.0, 4.0]]


def test_parts_and_observers_reach_the_runs() -> None:
    grids = {**PANEL.grids, "Adam": Grid([Adam()], observers=("vanished",))}
    runs = dataclasses.replace(PANEL, records_per_epoch=3, grids=grids).runs()
    assert {run.records_per_epoch for run in runs} == {3}
    assert {(type(run.rule), run.observers) for run in runs} == {(Adam, ("vanished",)), (SGD, ())}


def test_a_rule_that_diverged_in_one_seed_is_never_the_best() -> None:
    found = records()
    run = next(run for run in found if run.rule.lr == 0.2 and run.seed == 1)
    found[run] = record((0.0, 0.0), "diverged")
    assert PANEL.curves(found)["Adam"].rule.lr == 0.1
    (table,) = Figure("title", {"demo": [PANEL]}).tables("demo", found)
    assert table.rows[0]["remarks"] == "best α lies at the edge of the grid; 1 of 3 candidates diverged"


def test_a_rule_that_lacks_a_seed_is_never_the_best() -> None:
    found = records()
    del found[next(run for run in found if run.rule.lr == 0.2)]
    assert PANEL.curves(found)["Adam"].rule.lr == 0.1


@pytest.mark.parametrize("seeds", [(0,), (0, 1)])
def test_where_the_best_may_be_one_without_a_record_nothing_is_concluded(seeds: tuple[int, ...]) -> None:
    found = {run: each for run, each in records().items() if run.rule.lr != 2.0 or run.seed not in seeds}
    figure = Figure("title", {"demo": [PANEL]})
    (table,) = figure.tables("demo", found)
    assert table.rows[1]["remarks"] == "best α lies at the edge of the grid; 1 of 3 candidates have no record"
    assert table.rows[0]["remarks"] == ""
    assert table.findings[0].verdict == "not measured"
    assert table.findings[0].measured.startswith(
        "SGD Nesterov: 1 of 3 candidates have no record: SGD Nesterov has 4."
    )
    assert len(figure.charts("demo", found)[0][0].lines) == 2


def finding(low: float, high: float) -> Finding:
    claim = Claim("said", "section 6", [Comparison("SGD Nesterov", "Adam", low, high)])
    panel = dataclasses.replace(PANEL, claims=[claim])
    (table,) = Figure("title", {"demo": [panel]}).tables("demo", records())
    return table.findings[0]


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(3, math.inf, "holds"), (0, 4.01, "holds"), (5, math.inf, "fails"), (0.5, 2, "fails")],
)
def test_a_claim_is_judged_by_the_mean_excess_cost(low: float, high: float, verdict: str) -> None:
    found = finding(low, high)  # Adam: (2 + 1) / 2 - 1 = 0.5; SGD: (4 + 2) / 2 - 1 = 2
    assert (found.claim, found.verdict) == ("said", verdict)
    assert "SGD Nesterov has 4.00 [4.00, 4.00] × the mean excess cost of Adam" in found.measured


def spread(by: float) -> Finding:
    """The finding on records whose seeds differ in the ratio too, SGD's costs being so much apart."""
    found = records()
    for run in found:
        if isinstance(run.rule, SGD):
            for epoch in found[run]["epochs"][1:]:
                epoch["cost"] += (by, -by)[run.seed]
    claim = Claim("said", "section 6", [Comparison("SGD Nesterov", "Adam", 3.5, math.inf)])
    panel = dataclasses.replace(PANEL, claims=[claim])
    (table,) = Figure("title", {"demo": [panel]}).tables("demo", found)
    return table.findings[0]


@pytest.mark.parametrize(("by", "verdict"), [(0.001, "holds"), (0.1, "undecided"), (0.2, "undecided")])
def test_a_claim_whose_threshold_lies_in_the_interval_is_undecided(by: float, verdict: str) -> None:
    found = spread(by)
    assert found.verdict == verdict
    low, high = map(float, re.findall(r"has 4.00 \[([\d.]+), ([\d.]+)\] × ", found.measured)[0])
    assert (low < 3.5 < high) == (verdict == "undecided")


@pytest.mark.parametrize(("parts", "said"), [(1, "no interval"), (2, "intervals over its mini-batches")])
def test_with_one_seed_a_claim_is_judged_by_the_value_or_over_mini_batches(parts: int, said: str) -> None:
    curves = {
        name: Curve(
            Adam(), [[{"epoch": k / parts, "cost": cost} for k, cost in enumerate((0.0, *costs))]], False, 0
        )
        for name, costs in {"SGD Nesterov": (4, 4, 2, 2), "Adam": (2, 2, 1, 1)}.items()
    }
    claim = Claim("said", "section 6", [Comparison("SGD Nesterov", "Adam", 3.5, math.inf)])
    found = judge(claim, curves)
    assert (found.verdict, found.measured.endswith(f"; one seed: {said}")) == ("holds", True)


def test_a_claim_of_which_a_part_holds_holds_in_part() -> None:
    one, other = Comparison("Adam", "SGD Nesterov", 0, 1), Comparison("SGD Nesterov", "Adam", 0, 1)
    panel = dataclasses.replace(PANEL, claims=[Claim("said", "section 6", [one, other])])
    (table,) = Figure("title", {"demo": [panel]}).tables("demo", records())
    assert table.findings[0].verdict == "holds here only partly"


def test_what_has_no_records_is_said_to_have_none() -> None:
    found = records({lr: costs for lr, costs in COSTS.items() if lr < 1})
    figure = Figure("title", {"demo": [PANEL]})
    (table,) = figure.tables("demo", found)
    assert table.rows[1]["best_lr"] is None
    assert table.rows[1]["remarks"] == "no candidate has finished runs that did not diverge"
    assert table.findings[0].verdict == "not measured"
    assert "SGD Nesterov" in table.findings[0].measured
    assert figure.charts("demo", {})[0][0].lines == []


def test_the_picture_names_optimizers_with_their_stepsizes_and_the_data() -> None:
    figure = Figure("title", {"demo": [PANEL]})
    picture = matplotlib.draw("title", figure.charts("demo", records()))
    axes, sweep = picture.axes
    assert {text.get_text() for text in axes.texts} == {"Adam, α = 0.2/√t", "SGD Nesterov, α = 1"}
    assert axes.get_legend() is None
    assert axes.get_title(loc="left").endswith("\ntitle")  # below what it shows
    assert "note" in picture.get_suptitle()
    assert sweep.get_xlabel() == "stepsize α"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("epoch", "cost")


def test_figure_1_is_what_the_paper_says() -> None:
    figure = figures.load("fig1")
    panels = {(run.problem, dict(run.options)["data"], run.whole, run.batch) for run in figure.runs("paper")}
    assert panels == {("images_softmax", "mnist", 45, 128), ("words_softmax", "imdb", 160, 128)}
    assert {dict(run.options)["data"] for run in figure.runs("demo")} == {"digits", "zipf"}
    assert {type(run.rule).__name__ for run in figure.runs("paper")} == {"Adagrad", "Adam", "RMSprop", "SGD"}
    for preset in findings.PRESETS:
        runs = figure.runs(preset)
        assert len(set(runs)) == len(runs)
        assert all(run.schedule == "inverse_sqrt" for run in runs if not isinstance(run.rule, Adagrad))


def test_a_new_file_is_a_new_figure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "fig99.py").write_text("FIGURE = 'the new figure'\n")
    (tmp_path / "_helper.py").write_text("")
    before = modules.names(figures.__name__)
    folders = [*figures.__path__, str(tmp_path)]
    monkeypatch.setattr(figures, "__path__", folders)
    monkeypatch.setattr(figures.__spec__, "submodule_search_locations", folders)
    assert modules.names(figures.__name__) == sorted([*before, "fig99"])
    assert str(figures.load("fig99")) == "the new figure"


def test_an_unknown_figure_lists_those_there_are() -> None:
    with pytest.raises(ExperimentError, match=r"unknown figure 'fig9'; known: .*fig1"):
        figures.load("fig9")


def test_of_nothing_no_verdict_follows() -> None:
    with pytest.raises(ValueError, match="not measured"):
        findings.verdict([])
