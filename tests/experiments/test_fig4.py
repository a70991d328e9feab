import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import pytest

from adamas.experiments import figures
from adamas.experiments.figures import Figure, _correction, fig4
from adamas.experiments.figures.fig4 import BETA1, BETA2, Sweep
from adamas.experiments.findings import PRESETS, Finding, Table
from adamas.experiments.reports import matplotlib
from adamas.experiments.reports.html import _plot
from adamas.experiments.runs.training import Training
from adamas.rules import Adam

OPTIONS = {"data": "digits", "hidden": 8, "latent": 2}
SWEEP = Sweep("note", OPTIONS, (-3.0, -2.0), early=1, late=10, seeds=[0, 1])
FIGURE = Figure("Correction", {"demo": [SWEEP]})
START = 40.0
FAILED = None


class At(NamedTuple):
    """A setting, and whether the loss is that after the first of the epochs that count."""

    beta1: float
    beta2: float
    lr: float
    corrected: bool
    early: bool


Loss = Callable[[At], float | None]


def record(early: float | None, late: float | None, start: float = START) -> dict[str, Any]:
    """As of a run that ended when its loss was no longer finite."""
    losses = [start, *[early] * 9, late]
    whole = losses[: losses.index(None) + 1] if None in losses else losses
    epochs = [{"epoch": epoch, "train_bound": loss} for epoch, loss in enumerate(whole)]
    return {"status": "diverged" if None in losses else "done", "epochs": epochs}


def records(loss: Loss) -> dict[Training, dict[str, Any]]:
    """With these losses, a tenth of a nat higher with seed 1."""
    found = {}
    for run in FIGURE.runs("demo"):
        rule = run.rule
        setting = (rule.beta1, rule.beta2, rule.lr, rule.bias_correction)
        values = [loss(At(*setting, early)) for early in (True, False)]
        found[run] = record(*(None if value is None else value + 0.1 * run.seed for value in values))
    return found


def table(found: Mapping[Training, dict[str, Any]]) -> Table:
    (only,) = FIGURE.tables("demo", found)
    return only


def findings(loss: Loss) -> list[Finding]:
    return list(table(records(loss)).findings)


def as_the_paper_says(at: At) -> float:
    """Alike at the smallest β2; from there, worse without correction, and most so at first."""
    base = 20.0 if at.early else 15.0
    if at.corrected:
        return base - (1.0 if at.early else 3.0) * (at.beta2 - 0.99) * 100
    return base + (10.0 if at.early else 1.0) * (at.beta2 - 0.99) * 100


def test_what_the_paper_says_holds_where_it_is_so() -> None:
    assert [finding.verdict for finding in findings(as_the_paper_says)] == ["holds"] * 4


def test_and_fails_where_correction_does_harm() -> None:
    swapped = findings(lambda at: as_the_paper_says(at._replace(corrected=not at.corrected)))
    assert [finding.verdict for finding in swapped] == ["fails"] * 4


def test_what_the_seeds_disagree_on_is_undecided() -> None:
    found = records(as_the_paper_says)
    for run in found:
        if run.seed == 1 and run.rule.bias_correction:
            for epoch in found[run]["epochs"][1:]:
                epoch["train_bound"] += 8
    judged = table(found).findings
    assert [finding.verdict for finding in judged] == ["undecided"] * 4
    assert "after epoch 1 at 0 of 12 settings, undecided at 12 " in judged[0].measured


def test_without_any_effect_nothing_is_claimed_but_equality() -> None:
    verdicts = [finding.verdict for finding in findings(lambda at: 20.0 if at.early else 15.0)]
    assert verdicts == ["holds", "fails", "fails", "fails"]


@pytest.mark.parametrize(("factor", "verdict"), [(0.985, "holds"), (0.975, "holds here only partly")])
def test_as_well_is_within_the_margin_and_partly_is_most_settings(factor: float, verdict: str) -> None:
    """One of twelve settings is better without correction, by less or by more than the margin."""

    def loss(at: At) -> float:
        odd = not at.corrected and at[:3] == (0.9, 0.999, 0.01)
        return 20.0 * factor if odd else 20.0

    found = findings(loss)[0]
    assert found.verdict == verdict
    assert "12 of 12" in found.measured if verdict == "holds" else "11 of 12" in found.measured


def unstable(at: At) -> float | None:
    """Without correction and with the larger α, fails from the second epoch on where β2 is largest."""
    failed = not at.corrected and at.lr == 0.01 and at.beta2 == 0.9999 and not at.early
    return FAILED if failed else 20.0


def test_a_failed_run_has_no_number_and_counts_as_one_that_stayed_at_its_start() -> None:
    found = table(records(unstable))
    rows = [row for row in found.rows if row["remarks"]]
    assert [(row["beta2"], row["lr"]) for row in rows] == [(0.9999, 0.01)] * 2
    assert all(row["late_without"] is None and row["late_with"] == pytest.approx(20.05) for row in rows)
    assert all(row["remarks"] == "late_without: 2 failed" for row in rows)
    # At one of two α all of the fall is lost.
    assert "0.0% [0.0%, 0.0%] at β2 0.999, 50.0% [50.0%, 50.0%] at β2 0.9999" in found.findings[1].measured
    assert "failed after epoch 10: 4 runs without it, 0 with" in found.findings[1].measured
    assert [finding.verdict for finding in found.findings] == ["holds", "holds", "fails", "fails"]


def test_a_few_epochs_have_no_first_ones_and_no_end_but_are_told() -> None:
    short = Figure("", {"demo": [dataclasses.replace(SWEEP, late=9)]})
    whole = records(as_the_paper_says)
    runs = zip(short.runs("demo"), FIGURE.runs("demo"), strict=True)
    (found,) = short.tables("demo", {one: whole[other] for one, other in runs})
    assert [each.verdict for each in found.findings] == ["holds", "holds", "not measured", "not measured"]
    for each in found.findings[2:]:
        assert each.measured.startswith("too early to tell: ")
        assert "after epoch 9" in each.measured


def test_the_demo_and_the_paper_are_long_enough_and_quick_is_not() -> None:
    panels = fig4.FIGURE.panels
    assert {preset: sweep.late >= _correction.ENOUGH for preset, (sweep,) in panels.items()} == {
        "demo": True,
        "quick": False,
        "paper": True,
    }


def test_as_well_leaves_out_where_both_failed() -> None:
    """All fail with the larger α; with the smaller one, correction fails where β2 is smallest."""

    def loss(at: At) -> float | None:
        return FAILED if at.lr == 0.01 or (at.corrected and at.beta2 == 0.99) else 20.0

    found = findings(loss)[0]
    assert found.verdict == "fails"  # at 4 of 6; with the 6 failures it were 10 of 12
    assert "at 4 of 6 settings, where not both failed, as at 6 more" in found.measured
    assert "with the best α of each, at 4 of 6 pairs" in found.measured


def test_a_lead_on_nothing_but_failures_is_not_measured() -> None:
    found = findings(lambda at: 20.0 if at.corrected and at.beta2 > 0.99 else FAILED)[3]
    assert found.verdict == "not measured"
    assert "after epoch 10 none of the others succeeded" in found.measured


def test_a_loss_not_below_the_start_is_failure_too() -> None:
    assert [row["late_without"] for row in table(records(lambda at: START + 1)).rows] == [None] * 12


def test_where_both_fail_nothing_is_lost_and_nothing_warned() -> None:
    found = table(records(lambda at: FAILED))
    verdicts = [finding.verdict for finding in found.findings]
    assert verdicts == ["not measured", "fails", "fails", "not measured"]
    assert "after epoch 10 both failed at all 12 settings" in found.findings[0].measured
    drawn = matplotlib.draw("", FIGURE.charts("demo", records(lambda at: FAILED))).axes
    assert all(math.isnan(y) for axes in drawn for line in axes.get_lines() for y in line.get_ydata())


def test_the_numbers_are_means_over_seeds_with_their_spread() -> None:
    row = table(records(as_the_paper_says)).rows[0]
    assert (row["early_with"], row["late_with"]) == (pytest.approx(20.05), pytest.approx(15.05))
    assert row["largest_spread_of_seeds"] == pytest.approx(0.1)
    one = Figure("", {"demo": [dataclasses.replace(SWEEP, seeds=[0])]})
    (alone,) = one.tables("demo", records(as_the_paper_says))
    assert alone.rows[0]["largest_spread_of_seeds"] is None


def test_a_run_that_failed_has_no_point_but_a_mark_at_the_edge() -> None:
    charts = FIGURE.charts("demo", records(unstable))
    assert [len(row) for row in charts] == [len(BETA2)] * 2 * len(BETA1)
    last = charts[2][2]
    assert last.title == "β2 = 0.9999"
    corrected, without = last.lines
    assert (corrected.name, without.name) == ("with bias correction", "without")
    assert corrected.values.tolist() == [[20, 20], [20.1, 20.1]]
    assert [math.isnan(value) for value in without.values.mean(axis=0)] == [False, True]
    for drawn in _plot.plain(last)["data"]:
        assert drawn["mode"] == "lines" if "fill" in drawn else "lines+markers"
    assert [value is None for value in _plot.plain(last)["data"][-1]["y"]] == [False, True]
    axes = matplotlib.draw("title", charts).axes
    assert [len(line.failed) for line in last.lines] == [0, 1]
    annotations = _plot.plain(last)["views"]["log"]["annotations"]
    assert [(each["text"], each["x"]) for each in annotations] == [("×", without.x[1])]
    assert [text.get_text() for text in axes[8].texts] == ["×"]
    assert len({chart.span for row in charts for chart in row}) == 1
    assert len({each.get_ylim() for each in axes}) == 1
    assert charts[2][0].row.startswith("After epoch 10, β1 = 0: ")
    titles = [each.get_title(loc="left") for each in axes]
    assert [sum(f"β2 = {beta2:g}" in title.split("\n") for title in titles) for beta2 in BETA2] == [1, 1, 1]
    assert axes[8].get_xlabel() == "stepsize α"
    assert [line.get_marker() for line in axes[8].get_lines()] == ["o", "o"]


def test_what_has_no_records_is_said_to_have_none() -> None:
    found = records(as_the_paper_says)
    del found[FIGURE.runs("demo")[0]]
    assert {finding.verdict for finding in table(found).findings} == {"not measured"}
    assert table(found).rows[0]["early_without"] is None
    drawn = matplotlib.draw("", FIGURE.charts("demo", {})).axes
    assert all(math.isnan(y) for axes in drawn for line in axes.get_lines() for y in line.get_ydata())


def test_figure_4_is_what_the_paper_says() -> None:
    figure = figures.load("fig4")
    runs = figure.runs("paper")
    assert {(run.problem, run.options, run.epochs) for run in runs} == {
        ("images_vae", (("data", "mnist"), ("hidden", 500), ("latent", 50)), 100)
    }
    grid = {(run.rule.beta1, run.rule.beta2, run.rule.bias_correction) for run in runs}
    assert grid == {(b1, b2, c) for b1 in (0.0, 0.9) for b2 in (0.99, 0.999, 0.9999) for c in (True, False)}
    assert {run.rule.lr for run in runs} >= {1e-5, 1e-4, 1e-3, 1e-2, 1e-1}
    for preset in PRESETS:
        chosen = figure.runs(preset)
        assert len(set(chosen)) == len(chosen)
        assert {type(run.rule) for run in chosen} == {Adam}
        data = {dict(run.options)["data"] for run in chosen}
        assert data == ({"digits"} if preset == "demo" else {"mnist"})
