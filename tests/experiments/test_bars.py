import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from adamas.experiments import figures, problems
from adamas.experiments.charts import BLUE, Style
from adamas.experiments.figures._bars import (
    NUDGED,
    BarPanel,
    Case,
    Look,
    Regime,
    ratio_of,
    refusal,
    spread_of,
)
from adamas.experiments.figures.formats import CASES
from adamas.experiments.findings import PRESETS, Preset
from adamas.experiments.runs import _train
from adamas.experiments.runs.training import Training
from adamas.rules import SGD, Adam, Lion
from adamas.torch.state import SMALLEST_SCALED

ADAM, LION = Case("Adam", Adam()), Case("Lion", Lion(), decay=0.1)
REGIME = Regime("small", 32, 4, 2)
SEEDS = (0, 1, 2)


def panel(*cases: Case, name: str = "float8") -> BarPanel:
    options: dict[str, str | int | float] = {"data": "digits", "width": 8}
    return BarPanel("t", "n", "images_mlp", options, [REGIME], cases, {name: Look(0.02, Style(BLUE))}, SEEDS)


def records(of: BarPanel, logs: Mapping[tuple[str, str], Any]) -> dict[Any, dict[str, Any]]:
    """Of every case and format, with costs of e to so much by seed; those of "float32" are 1."""
    return {
        run: {"status": "done", "epochs": [{"cost": None}, {"cost": 9.0}, {"cost": math.exp(log)}]}
        for case in of.cases
        for name in ("float32", NUDGED, *of.formats)
        for run, log in zip(
            of.runs_of(REGIME, case, name), np.broadcast_to(logs.get((case.name, name), 0), 3), strict=False
        )
    }


def test_the_ratio_is_the_mean_of_logarithms_over_seeds_with_its_interval() -> None:
    logs = [0.01, 0.02, -0.015]
    found = records(panel(ADAM), {("Adam", "float8"): logs})
    (table,) = panel(ADAM).tables(found)
    row = {row["state"]: row for row in table.rows}["float8"]
    interval = stats.ttest_1samp(logs, 0).confidence_interval()
    assert row["of_float32"] == pytest.approx(math.exp(0.005))
    assert [row["low"], row["high"]] == pytest.approx([math.exp(interval.low), math.exp(interval.high)])
    assert table.findings[0].measured == f"Adam {ratio_of(np.array(logs)):.4f} ×, undecided about 1.98%"


@pytest.mark.parametrize(
    ("adam", "lion", "verdict"),
    [
        (0.0195, -0.0195, "holds"),
        (0.0205, 0.0, "holds here only partly"),
        (0.0, -0.0205, "holds here only partly"),
        (0.03, 0.03, "fails"),
    ],
)
def test_every_rule_is_judged_on_both_sides(adam: float, lion: float, verdict: str) -> None:
    of = panel(ADAM, LION)
    (finding,) = of.tables(records(of, {("Adam", "float8"): adam, ("Lion", "float8"): lion}))[0].findings
    assert finding.verdict == verdict
    assert finding.measured.count("not within") == (abs(adam) > 0.02) + (abs(lion) > 0.02)


@pytest.mark.parametrize(
    ("logs", "verdict"),
    [
        ([0.01, 0.012, 0.011], "holds"),
        ([0.018, 0.022, 0.019], "undecided"),
        ([0.022, 0.018, 0.021], "undecided"),
        ([0.05, 0.051, 0.052], "fails"),
    ],
)
def test_a_rule_whose_interval_has_a_bound_in_it_is_undecided(logs: list[float], verdict: str) -> None:
    of = panel(ADAM)
    (finding,) = of.tables(records(of, {("Adam", "float8"): logs}))[0].findings
    assert finding.verdict == verdict
    assert ("undecided about 1.98%" in finding.measured) == (verdict == "undecided")


def test_the_bound_is_wider_where_float32_itself_spreads_more() -> None:
    nudged = np.array([0.1, -0.2, 0.1])
    of, spread = panel(ADAM), spread_of(nudged)
    assert spread == pytest.approx(3.182 * math.sqrt(0.02 / 3), rel=1e-3)
    for factor, verdict in [(0.99, "holds"), (1.01, "fails")]:
        found = records(of, {("Adam", NUDGED): nudged, ("Adam", "float8"): factor * spread})
        assert of.tables(found)[0].findings[0].verdict == verdict


def test_chance_alone_is_beyond_the_spread_one_time_in_twenty() -> None:
    samples = np.random.default_rng(0).standard_normal((4_000, 2, 5))
    beyond = np.mean([abs(one.mean()) > spread_of(other) for one, other in samples])
    assert 0.03 < beyond < 0.07


def test_what_diverged_fails_and_what_is_missing_is_not_judged() -> None:
    of = panel(ADAM, LION)
    found = records(of, {})
    last = of.runs_of(REGIME, LION, "float8")[-1]
    found[last] = {"status": "diverged", "epochs": [{"cost": None}]}
    (finding,) = of.tables(found)[0].findings
    assert (finding.verdict, "Lion diverged, not within" in finding.measured) == (
        "holds here only partly",
        True,
    )
    del found[last]
    (finding,) = of.tables(found)[0].findings
    assert (finding.verdict, finding.measured) == ("not measured", "no finished runs of Lion")


def test_a_format_that_is_refused_for_a_rule_is_neither_run_nor_judged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    of = panel(ADAM, Case("SGD", SGD(momentum=0.9)), name="float4")
    assert refusal(SGD(momentum=0.9), "float4")
    assert not refusal(Adam(), "float4")
    (table,) = of.tables(records(of, {}))
    assert [row["remarks"] for row in table.rows if row["state"] == "float4"] == ["", "refused"]
    assert table.findings[0].verdict == "holds"
    assert "SGD" not in table.findings[0].measured
    ((chart,),) = of.charts(records(of, {}))
    drawn = {line.name: np.isfinite(line.values).all(axis=0).tolist() for line in chart.lines}
    assert drawn == {NUDGED: [True, True], "float4": [True, False]}


def test_runs_differ_in_format_and_start_alone() -> None:
    of = panel(ADAM, LION)
    for case in of.cases:
        base: Any = of.runs_of(REGIME, case, "float32")
        for name in (NUDGED, "float8"):
            changed: Any = of.runs_of(REGIME, case, name)
            for one, other in zip(base, changed, strict=True):
                assert dataclasses.replace(other, nudge=0, phase=one.phase) == one
                assert other != one
        assert {run.l2 for run in base} == {case.decay}
        assert {dict(run.phase).get("decoupled_weight_decay", False) for run in base} == {case.decay > 0}


@pytest.mark.parametrize("preset", PRESETS)
def test_the_figure_has_layers_that_are_scaled_and_every_rule(preset: Preset) -> None:
    (bars,) = (each for each in figures.load("formats").panels[preset] if isinstance(each, BarPanel))
    pixels = 64 if preset == "demo" else 784
    assert int(bars.options["width"]) * min(pixels, int(bars.options["width"])) >= SMALLEST_SCALED
    assert [regime.batch == bars.options["count"] for regime in bars.regimes] == [False, True]
    assert preset == "demo" or bars.cases == CASES


RUN = Training(
    "images_mlp",
    *problems.fields("images_mlp", {"data": "digits", "width": 4}),
    Adam(),
    "constant",
    0,
    500,
    4,
    0,
)


def test_a_nudge_moves_each_start_by_one_unit_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[list[torch.Tensor]] = []

    def watched(training: Any, alive: Any, batches: Any) -> list[float]:
        started.append([p.detach().clone() for p in training.members.parameters(0)])
        return [1.0]

    monkeypatch.setattr(_train._Training, "_pass", watched)
    for nudge in (0, 1, 1, 2):
        dataclasses.replace(RUN, nudge=nudge, epochs=2, epochs_per_record=2).execute()
    base, one, same, other = started
    for p, q in zip(base, one, strict=True):
        assert ((torch.nextafter(p, q) == q) & (p != q)).all()
    assert all(torch.equal(p, q) for p, q in zip(one, same, strict=True))
    assert not torch.equal(one[0], other[0])
    assert 0.3 < float((one[0] > base[0]).float().mean()) < 0.7


def test_a_record_of_several_epochs_is_of_the_same_steps() -> None:
    whole, each = dataclasses.replace(RUN, epochs_per_record=2).execute().epochs, RUN.execute().epochs
    assert [record["epoch"] for record in whole] == [0, 2, 4]
    assert whole[-1]["train_nll"] == each[-1]["train_nll"]
    costs = [float(record["cost"] or 0) for record in each]
    assert whole[-1]["cost"] == pytest.approx((costs[3] + costs[4]) / 2)


def test_records_of_runs_from_before_these_fields_are_theirs() -> None:
    assert not {"nudge", "epochs_per_record"} & RUN.configuration().keys()
    assert dataclasses.replace(RUN, nudge=1).configuration()["nudge"] == 1
