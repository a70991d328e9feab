import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import torch

from adamas.experiments import figures, findings
from adamas.experiments.figures import Figure
from adamas.experiments.figures.averaging import ALL, AveragingPanel, Setting
from adamas.experiments.findings import Table
from adamas.experiments.reports import matplotlib
from adamas.experiments.runs.training import Training
from adamas.rules import SGD
from adamas.torch import Optimizer

SETTINGS = (Setting(0.1, "constant"), Setting(0.2, "inverse_sqrt"))
PANEL = AveragingPanel("note", "digits", SETTINGS, 0.9, epochs=3, records_per_epoch=2, seeds=[0, 1])
FIGURE = Figure("Averages", {"demo": [PANEL]})
NOISY = (9.0, 4.0, 2.0, 4.0, 2.0, 4.0)
SMOOTH = (9.0, 8.0, 3.0, 2.8, 2.5, 2.4)
WORSE = tuple(cost + 0.1 for cost in NOISY)


def record(last: Sequence[float], average: Sequence[float], seed: int) -> dict[str, Any]:
    """Test costs are twice the training costs, and seed 1's a little higher."""
    epochs = [
        {"epoch": part / 2}
        | {f"{at}train_nll": value for at, value in values.items()}
        | {f"{at}test_nll": 2 * value + 0.1 * seed for at, value in values.items()}
        | {f"{at}test_error": value / 100 for at, value in values.items()}
        for part, values in enumerate(
            {"": a, "average_": b} for a, b in zip((9.9, *last), (9.9, *average), strict=True)
        )
    ]
    return {"status": "done", "epochs": epochs}


def records(last: Sequence[float] = NOISY, average: Sequence[float] = SMOOTH) -> dict[Training, Any]:
    """With these training costs; the arithmetic mean's are twice the exponential average's."""
    factor = {0.9: 1, ALL: 2}
    return {
        run: record(last, [factor[dict(run.phase)["average"]] * cost for cost in average], run.seed)
        for run in FIGURE.runs("demo")
    }


def table(found: Mapping[Training, Any]) -> Table:
    (only,) = FIGURE.tables("demo", found)
    return only


def test_the_numbers_are_means_over_the_last_epoch_and_the_seeds() -> None:
    last, exponential, arithmetic = table(records()).rows[:3]
    assert [row["point"] for row in (last, exponential, arithmetic)] == [
        "last iterate",
        "exponential average",
        "arithmetic mean",
    ]
    assert [row["train_nll"] for row in (last, exponential, arithmetic)] == pytest.approx([3, 2.45, 4.9])
    assert [row["test_nll"] for row in (last, exponential)] == pytest.approx([6.05, 4.95])
    assert last["test_nll_deviation"] == pytest.approx(0.1 / 2**0.5)
    # The second differences: of 4, 2, 4, and of 2.8, 2.5, 2.4.
    assert last["roughness"] == pytest.approx(4)
    assert exponential["roughness"] == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("last", "average", "verdicts"),
    [(NOISY, SMOOTH, ["holds", "holds"]), (NOISY, WORSE, ["fails", "fails"]), (SMOOTH, NOISY, ["fails"] * 2)],
)
def test_an_average_is_judged_by_roughness_and_test_cost(
    last: Sequence[float], average: Sequence[float], verdicts: list[str]
) -> None:
    assert [finding.verdict for finding in table(records(last, average)).findings] == verdicts


def test_what_holds_with_one_seed_alone_is_undecided() -> None:
    found = records()
    for run in found:
        for epoch in found[run]["epochs"]:
            epoch["average_test_nll"] += 3 * run.seed
            epoch["average_train_nll"] *= 1 + 20 * run.seed * (epoch["epoch"] % 1)
    noisy, better = table(found).findings
    assert (noisy.verdict, better.verdict) == ("undecided", "undecided")
    assert re.search(r"of the iterate, 0\.\d+ \[0\.\d+, [1-9]\S+\] ×", better.measured)


def test_what_holds_with_one_stepsize_alone_holds_in_part() -> None:
    found, swapped = records(), records(SMOOTH, NOISY)
    mixed = {run: (found if run.schedule == "constant" else swapped)[run] for run in found}
    assert table(mixed).findings[1].verdict == "holds here only partly"


def test_what_has_no_records_is_said_to_have_none() -> None:
    found = records()
    del found[FIGURE.runs("demo")[0]]
    assert {finding.verdict for finding in table(found).findings} == {"not measured"}
    assert [row["train_nll"] is None for row in table(found).rows] == [True] * 3 + [False] * 3
    assert [[len(chart.lines) for chart in row] for row in FIGURE.charts("demo", {})] == [[0, 0]] * 2


def test_runs_that_diverged_are_told_from_those_without_a_record() -> None:
    found = records()
    first, second, third, *_ = FIGURE.runs("demo")
    for run in (first, second):
        found[run] = found[run] | {"status": "diverged"}
    for finding in table(found).findings:
        assert (finding.measured, finding.verdict) == ("2 of 8 runs diverged", "not measured")
    del found[third]
    assert table(found).findings[0].measured == "1 of 8 runs have no record and 2 of 8 runs diverged"


def test_the_picture_names_the_stepsizes_and_the_averages() -> None:
    charts = FIGURE.charts("demo", records())
    assert [[chart.title for chart in row] for row in charts] == [["Adam, α = 0.1", "Adam, α = 0.2/√t"]] * 2
    (legend,) = matplotlib.draw("", charts).legends  # one for all
    names = [text.get_text() for text in legend.get_texts()]
    assert names == ["last iterate", "exponential average, β2 = 0.9", "arithmetic mean"]


def test_the_limit_of_the_exponential_average_is_the_arithmetic_mean() -> None:
    parameter = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    optimizer = Optimizer([parameter], SGD(lr=1.0), average=ALL)
    gradients, iterates = torch.randn(1000, 3, generator=torch.Generator().manual_seed(0)), []
    for gradient in gradients:
        parameter.grad = gradient.double()
        optimizer.step()
        iterates.append(parameter.detach().clone())
    with optimizer.averaged_parameters():
        torch.testing.assert_close(
            parameter.detach(), torch.stack(iterates).mean(dim=0), rtol=1e-4, atol=1e-4
        )


def digits(decay: float) -> Training:
    (run,) = dataclasses.replace(PANEL, seeds=[0], records_per_epoch=1).runs_of(SETTINGS[0], decay)
    return run


def test_the_average_is_measured_as_the_iterate_is_and_leaves_it_alone() -> None:
    plain = dataclasses.replace(digits(0.0), phase=(), observers=()).execute().epochs
    none, some = (digits(decay).execute().epochs for decay in (0.0, 0.9))
    for epochs in (none, some):
        assert [{name: epoch[name] for name in plain[0]} for epoch in epochs] == list(plain)
    measures = ("train_nll", "test_nll", "test_error")
    for epoch in none:  # of decay 0 the average is the iterate
        assert [epoch[f"average_{name}"] for name in measures] == [epoch[name] for name in measures]
    assert some[0]["average_train_nll"] == some[0]["train_nll"]
    assert all(epoch["average_train_nll"] != epoch["train_nll"] for epoch in some[1:])


@pytest.mark.parametrize("preset", findings.PRESETS)
def test_runs_of_one_stepsize_differ_in_the_average_alone(preset: findings.Preset) -> None:
    runs = figures.load("averaging").runs(preset)
    assert len(set(runs)) == len(runs)
    decays = {dict(run.phase)["average"] for run in runs}
    assert decays == ({0.99, ALL} if preset == "demo" else {0.999, ALL})
    same = {
        decay: {dataclasses.replace(r, phase=()) for r in runs if r.phase[0][1] == decay} for decay in decays
    }
    assert same[ALL] == same[min(decays)]
    assert {run.l2 for run in runs} == {1e-4}
