import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from search_support import every_record

from adamas.experiments import figures
from adamas.experiments.figures._sfo import AUTHORS, LossCurve, excess
from adamas.experiments.figures.fig2 import FIGURE, fails_under_dropout, faster, linear_memory, slower_step
from adamas.experiments.findings import PRESETS, Finding, Preset
from adamas.experiments.reports import matplotlib
from adamas.experiments.runs import Run
from adamas.experiments.runs.sfo import SumOfFunctions
from adamas.experiments.runs.training import Training

PANEL = FIGURE.panels["demo"][0].comparison


def path(
    objective: tuple[float, ...], seconds: float = 1.0, memory: float = 1.0, diverged: bool = False
) -> LossCurve:
    """With records of these objectives, so many seconds an epoch of ten mini-batches."""
    epochs = np.arange(len(objective), dtype=float)
    return LossCurve(epochs, epochs * seconds, np.array(objective), memory, 10, diverged)


def record(costs: tuple[float | None, ...], status: str = "done") -> dict[str, Any]:
    rest = {"test_nll": 0.6, "test_error": 0.1, "penalty": 0.25, "memory": 2.0**20}
    epochs = [
        {"epoch": float(epoch), "cost": cost, "train_nll": 1 / (1 + epoch), **rest}
        for epoch, cost in enumerate(costs)
    ]
    return {"status": status, "epochs": epochs, "clock": [float(each) for each in range(len(costs))]}


def records() -> dict[Run, dict[str, Any]]:
    return every_record(FIGURE, "demo", lambda run: record((None, 2.0, 1.0)))


def test_the_excess_by_epoch_leaves_the_start_out_and_by_time_ends_with_the_shortest() -> None:
    paths = {"Adam": path((4, 2, 0), 1), "SFO": path((4, 2, 0), 2)}
    assert excess(paths, by_time=False) == {"Adam": 1, "SFO": 1}
    # In the two seconds that Adam takes, SFO goes from 4 to 2.
    assert excess(paths, by_time=True) == pytest.approx({"Adam": 2, "SFO": 3})


@pytest.mark.parametrize(("sfo", "verdict"), [((4, 3, 3), "holds"), ((4, 2.2, 0), "fails")])
def test_adam_is_ahead_by_a_factor_of_the_excess(sfo: tuple[float, ...], verdict: str) -> None:
    found = faster({"Adam": path((4, 2, 0)), "SFO": path(sfo)}, by_time=False)
    assert found.verdict == verdict


@pytest.mark.parametrize(
    ("seconds", "verdict"), [(4, "fails"), (5, "holds"), (6, "holds"), (10, "holds"), (11, "fails")]
)
def test_an_iteration_of_sfo_takes_5_to_10_times_as_long(seconds: float, verdict: str) -> None:
    found = slower_step({"Adam": path((4, 2, 0)), "SFO": path((4, 2, 0), seconds)}, 48)
    assert found.verdict == verdict
    ratio = f"{seconds:.1f} [{seconds:.1f}, {seconds:.1f}] ×, over epochs"
    assert found.measured.startswith(f"{ratio}: {seconds * 100:.3g} ms and 100 ms an iteration of 48 ")


def test_an_iteration_whose_time_varies_is_undecided_about_a_threshold_between() -> None:
    sfo = path((4, 3, 2, 1, 0), 5.2)
    varied = dataclasses.replace(sfo, seconds=sfo.seconds + np.array([0.0, 0.0, 0.5, 0.5, -0.5]))
    adam = path((4, 3, 2, 1, 0))
    assert slower_step({"Adam": adam, "SFO": sfo}, 48).verdict == "holds"
    assert slower_step({"Adam": adam, "SFO": varied}, 48).verdict == "undecided"


NAN = float("nan")


@pytest.mark.parametrize(
    ("sfo", "by_time", "ratio", "verdict"),
    [
        ((4, 1, NAN), False, "0.50", "fails"),
        ((4, 3.5, NAN), False, "1.75", "holds"),
        # Over the first second, as both go from 4.
        ((4, 1, NAN), True, "0.83", "fails"),
        ((4, 6, NAN), True, "1.67", "holds"),
    ],
)
def test_one_that_diverged_is_compared_until_it_did(
    sfo: tuple[float, ...], by_time: bool, ratio: str, verdict: str
) -> None:
    found = faster({"Adam": path((4, 2, 0)), "SFO": path(sfo, diverged=True)}, by_time)
    assert found.measured.startswith(f"SFO has {ratio} × the mean excess objective of Adam over the ")
    assert "until SFO diverged in epoch 2" in found.measured
    assert found.verdict == verdict


@pytest.mark.parametrize("by_time", [False, True])
def test_one_that_diverged_at_once_leaves_nothing_to_compare(by_time: bool) -> None:
    found = faster({"Adam": path((4, 2, 0)), "SFO": path((4, NAN), diverged=True)}, by_time)
    assert (found.measured, found.verdict) == (
        "SFO diverged in epoch 1: there is nothing to compare",
        "not measured",
    )


@pytest.mark.parametrize(("memory", "verdict"), [((10, 20, 41), "holds"), ((10, 20, 60), "fails")])
def test_linear_is_the_same_a_mini_batch(memory: tuple[float, ...], verdict: str) -> None:
    paths = [
        LossCurve(np.zeros(1), np.zeros(1), np.zeros(1), each, batches, False)
        for each, batches in zip(memory, (10, 20, 40), strict=True)
    ]
    assert linear_memory(paths, 3).verdict == verdict
    assert linear_memory(paths[:2], 3).verdict == "not measured"
    diverged = linear_memory([*paths[:2], dataclasses.replace(paths[2], diverged=True)], 3)
    assert diverged.verdict == "not measured"
    assert diverged.measured == "of 3 numbers of mini-batches, 0 have no record, and with 1 SFO diverged"


GOES, STAYS, ROSE = path((4, 3, 1.9)), path((4, 3, 2.1)), path((4, 3, 1e9))
DIVERGED = path((4, NAN), diverged=True)


@pytest.mark.parametrize("stopped", [STAYS, ROSE, DIVERGED])
def test_sfo_converges_if_it_goes_half_of_adams_way(stopped: LossCurve) -> None:
    def verdict(sfo: LossCurve, theirs: LossCurve) -> str:
        return fails_under_dropout({"Adam": path((4, 2, 0)), "SFO": sfo, AUTHORS: theirs}).verdict

    assert verdict(stopped, stopped) == "holds"
    assert verdict(GOES, GOES) == "fails"
    assert verdict(GOES, stopped) == verdict(stopped, GOES) == "holds here only partly"


@pytest.mark.parametrize("sfo", [GOES, DIVERGED])
@pytest.mark.parametrize(
    ("adam", "said"),
    [
        (DIVERGED, "Adam diverged in epoch 1"),
        (path((4, 2, 5)), "Adam's objective without noise did not go down: from 4 to 5"),
        (path((4, 2, 4)), "Adam's objective without noise did not go down: from 4 to 4"),
    ],
)
def test_without_a_way_of_adams_there_is_no_share_of_it(adam: LossCurve, said: str, sfo: LossCurve) -> None:
    found = fails_under_dropout({"Adam": adam, "SFO": sfo, AUTHORS: sfo})
    assert (found.measured, found.verdict) == (said, "not measured")


def test_under_dropout_both_first_steps_and_the_authors_implementation_are_told() -> None:
    paths = {"Adam": path((4, 2, 1)), "SFO": DIVERGED, AUTHORS: path((4, 2, 2.5))}
    assert fails_under_dropout(paths).measured.split("; ")[:3] == [
        "Adam's objective without noise went from 4 to 1",
        "SFO: diverged in epoch 1",
        f"{AUTHORS}: to 2.5, at its lowest 2, 50% of that way (our threshold: under 50%)",
    ]
    assert "the implementation by SFO's authors" in fails_under_dropout(paths).measured
    for name in paths:
        assert (
            fails_under_dropout({key: paths[key] for key in paths if key != name}).verdict == "not measured"
        )


def findings(found: Mapping[Run, Any]) -> list[Finding]:
    return [finding for table in FIGURE.tables("demo", found) for finding in table.findings]


def test_what_has_no_records_is_not_measured_and_draws_all_the_same() -> None:
    assert {finding.verdict for finding in findings({})} == {"not measured"}
    axes = matplotlib.draw("title", FIGURE.charts("demo", {})).axes
    letters = ["(a)", "(a)", *["(b)"] * 6]
    assert [each.get_title(loc="left")[:3] for each in axes] == letters
    assert all(each.get_lines() == [] for each in axes)


def test_all_is_in_the_tables_and_charts() -> None:
    *_, table = FIGURE.tables("demo", records())
    names = [row["optimizer"] for row in table.rows]
    assert names == [
        "Adam, α = 0.001, β1 0.9, β2 0.999",
        "SFO",
        "SFO",
        "SFO",
        "Adam, dropout",
        "SFO, dropout",
        f"{AUTHORS}, dropout",
    ]
    assert [row["mini_batches"] for row in table.rows[1:4]] == [10, 20, 30]
    assert {row["final_objective"] for row in table.rows} == {1 / 3 + 0.25}
    charts = FIGURE.charts("demo", records())
    assert [[chart.x for chart in row] for row in charts] == [
        ["epoch", "stepsize α"],
        ["epoch", "wall time (s)"],
        ["epoch", "stepsize α"],
        ["mini-batches", "mini-batches"],
    ]
    assert [line.name for line in charts[1][0].lines] == ["Adam, α = 0.001", "SFO"]
    assert len({chart.headline for row in charts for chart in row}) == 8
    assert charts[2][1].y == "training objective after epoch 2"


@pytest.mark.parametrize("preset", PRESETS)
def test_verdicts_on_sfo_rest_on_as_many_mini_batches_as_its_authors_advise(preset: Preset) -> None:
    panel = FIGURE.panels[preset][0].comparison
    assert panel.counts[-1] / panel.batch >= 25


def test_under_dropout_sfo_runs_with_both_first_steps() -> None:
    noisy = [
        run for run in PANEL.runs() if isinstance(run, SumOfFunctions) and "dropout" in dict(run.options)
    ]
    assert [run.curvature for run in noisy] == [0.0, 1e5]


def test_a_rule_that_diverged_is_never_the_best() -> None:
    def made(run: Run) -> dict[str, Any]:
        bad = isinstance(run, Training) and run.rule != PANEL.rules[-1]
        return record((None, None), "diverged") if bad else record((None, 2.0, 1.0))

    found = every_record(FIGURE, "demo", made)
    best = PANEL.best(found)
    assert best is not None
    assert best[0] == PANEL.rules[-1]


def test_where_the_best_may_be_one_without_a_record_nothing_is_concluded() -> None:
    found = records()
    del found[PANEL.adam(PANEL.rules[1])]
    *_, table = FIGURE.tables("demo", found)
    lacking = f"1 of {len(PANEL.rules)} candidates have no record"
    assert table.rows[0]["remarks"] == f"best α lies at the edge of the grid; {lacking}"
    for each in table.findings[:3]:
        assert each.verdict == "not measured"
        assert each.measured.startswith(f"Adam: {lacking}: ")
    assert "not measured" not in {each.verdict for each in table.findings[3:]}
    assert len(FIGURE.charts("demo", found)[1][0].lines) == 2


def test_figure_2_is_what_the_paper_says() -> None:
    assert figures.load("fig2") is FIGURE
    assert FIGURE.in_paper
    runs = FIGURE.runs("paper")
    assert len(set(runs)) == len(runs)
    of_a = [run for run in runs if not isinstance(run, SumOfFunctions) and "count" not in dict(run.options)]  # type: ignore[attr-defined]
    assert {(run.whole or run.epochs, run.batch, dict(run.options)["width"], run.l2) for run in of_a} == {  # type: ignore[attr-defined]
        (200, 128, 1_000, 0.0)
    }
    rules = {type(run.rule).__name__ for run in of_a}  # type: ignore[attr-defined]
    assert rules == {"Adagrad", "RMSprop", "SGD", "Adadelta", "Adam"}
    of_b = [run for run in runs if isinstance(run, SumOfFunctions)]
    assert {run.batch for run in of_b} == {128}
    assert sorted(dict(run.options).get("dropout", 0) for run in of_b) == [0, 0, 0, 0.5, 0.5]
    for preset in PRESETS:
        assert len(set(FIGURE.runs(preset))) == len(FIGURE.runs(preset))
