import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from search_support import every_record

from adamas.experiments.datasets import _download, cifar10
from adamas.experiments.figures import Figure
from adamas.experiments.figures.fig3 import FIGURE, Convolutional
from adamas.experiments.findings import PRESETS, Finding
from adamas.experiments.reports import matplotlib
from adamas.experiments.runs.training import Training
from adamas.rules import Adam

SIZE = Convolutional(
    "photos", 100, 2, 4, epochs=15, records_per_epoch=2, adam=(0.1,), adagrad=(0.2,), sgd=(0.3,)
)
SHORT = dataclasses.replace(SIZE, epochs=3)


def record(run: Training, cost: float, vanished: float) -> dict[str, Any]:
    """Costs that fall from 2 to `cost` after epoch 2, and stay."""
    rest = {"train_nll": 0.5, "test_nll": 0.6, "test_error": 0.1, "vanished": vanished, "median_root_v": 1e-3}
    costs = [None, *[2.0] * 4, *[cost] * (2 * run.epochs - 4)]
    epochs = [{"epoch": part / 2, "cost": each, **rest} for part, each in enumerate(costs)]
    return {"status": "done", "epochs": epochs}


def findings(size: Convolutional, costs: Mapping[str, float], vanished: float = 0.0) -> list[Finding]:
    """Of the variant without dropout, the final costs of the optimizers' rules being these."""
    figure = Figure("title", {"demo": [size]})

    def made(run: Any) -> dict[str, Any] | None:
        name = type(run.rule).__name__
        return record(run, costs[name], vanished) if name in costs else None

    found = every_record(figure, "demo", made)
    return list(figure.tables("demo", found)[0].findings)


COSTS = {"Adagrad": 0.5, "SGD": 0.2, "Adam": 0.18}


@pytest.mark.parametrize(
    ("costs", "verdicts"),
    [
        (COSTS, ["holds", "holds"]),
        ({**COSTS, "Adagrad": 0.39}, ["holds here only partly", "holds"]),
        ({**COSTS, "Adagrad": 0.3}, ["fails", "holds"]),
        ({**COSTS, "Adam": 0.21}, ["holds", "fails"]),
        ({**COSTS, "Adam": 0.1}, ["holds", "fails"]),
        ({"SGD": 0.2, "Adam": 0.18}, ["not measured", "holds"]),
    ],
)
def test_what_comes_eventually_is_judged_by_the_final_cost(
    costs: Mapping[str, float], verdicts: list[str]
) -> None:
    assert [finding.verdict for finding in findings(SIZE, costs)[1:3]] == verdicts


def test_a_few_epochs_do_not_say_what_comes_eventually_but_are_told() -> None:
    for finding in findings(SHORT, COSTS)[1:3]:
        assert finding.verdict == "not measured"
        assert finding.measured.startswith("too early to tell: Ad")
        assert "final cost, after 3 epochs," in finding.measured


def test_the_initial_stage_is_judged_by_its_epochs_alone() -> None:
    assert (
        findings(SIZE, {**COSTS, "Adagrad": 1.9})[0].verdict == findings(SHORT, COSTS)[0].verdict == "holds"
    )
    assert "over 3 epochs" in findings(SIZE, COSTS)[0].measured


@pytest.mark.parametrize(("share", "verdict"), [(0.49, "fails"), (0.5, "holds")])
def test_second_moments_have_vanished_where_most_have(share: float, verdict: str) -> None:
    finding = findings(SIZE, COSTS, share)[3]
    assert finding.verdict == verdict
    assert f"after 3 epochs √v̂ < ε for {share:.2%}" in finding.measured
    assert f"after 15 epochs √v̂ < ε for {share:.2%}" in finding.measured
    assert findings(SHORT, COSTS, share)[3].measured.count("after 3 epochs") == 1


def test_second_moments_of_an_adam_that_may_not_be_the_best_are_not_judged() -> None:
    figure = Figure("title", {"demo": [dataclasses.replace(SIZE, adam=(0.1, 0.2))]})

    def lacks(run: Any) -> bool:
        return bool(run.rule == Adam(lr=0.2))

    found = every_record(figure, "demo", lambda run: None if lacks(run) else record(run, 0.2, 1.0))  # type: ignore[arg-type]
    table = figure.tables("demo", found)[0]
    assert [finding.verdict for finding in table.findings] == [
        "not measured",
        "not measured",
        "not measured",
        "not measured",
    ]
    assert table.findings[3].measured.startswith("1 of 6 candidates have no record: after 3 epochs √v̂ < ε")


def test_without_records_nothing_is_measured_and_the_picture_is_empty() -> None:
    assert {finding.verdict for finding in findings(SIZE, {})} == {"not measured"}
    network, vanishing = "c64-c64-c128-1000", ["Vanished second moments", "Second moments"]
    sweeps = [f"{network}, no dropout, by α", f"{network} + dropout, by α"]
    assert [[chart.title for chart in row] for row in FIGURE.charts("paper", {})] == [
        [f"{network}, the first 3 epochs", f"{network}, 45 epochs"],
        sweeps,
        vanishing,
    ]
    assert [[chart.title for chart in row] for row in FIGURE.charts("quick", {})] == [
        [f"{network}, the first 3 epochs"],
        sweeps,
        vanishing,
    ]
    axes = matplotlib.draw("", FIGURE.charts("paper", {})).axes
    assert [len(each.get_lines()) for each in axes] == [0, 0, 0, 0, 0, 1]  # ε


def test_the_picture_has_both_variants_of_every_optimizer_and_the_second_moments_of_adam() -> None:
    figure = Figure("title", {"demo": [SIZE]})
    found = every_record(figure, "demo", lambda run: record(run, 0.5, 0.0))  # type: ignore[arg-type]
    (first, whole), sweeps, (share, root) = figure.charts("demo", found)
    for chart in (first, whole):
        names = [line.name for line in chart.lines]
        assert names == [
            "AdaGrad, α = 0.2",
            "SGD Nesterov, α = 0.3, momentum 0.9",
            "Adam, α = 0.1, β1 0.9",
            "AdaGrad + dropout, α = 0.2",
            "SGD Nesterov + dropout, α = 0.3, momentum 0.9",
            "Adam + dropout, α = 0.1, β1 0.9",
        ]
        assert len({(line.style.color, line.style.dash) for line in chart.lines}) == 6
    assert [chart.lines[0].x[-1] for chart in (first, whole)] == [3, 15]
    assert [len(chart.lines) for chart in (share, root)] == [2, 2]
    assert [[line.name for line in chart.lines] for chart in sweeps] == [
        ["AdaGrad", "SGD Nesterov", "Adam"]
    ] * 2
    assert "not CIFAR-10" in first.note


def test_the_presets_are_what_the_paper_says() -> None:
    runs = {preset: FIGURE.runs(preset) for preset in PRESETS}
    for of_preset in runs.values():
        assert len(set(of_preset)) == len(of_preset)
        assert {run.batch for run in of_preset} == {128}
        assert {type(run.rule).__name__ for run in of_preset} == {"Adagrad", "SGD", "Adam"}
        assert all((run.observers == ("vanished",)) == isinstance(run.rule, Adam) for run in of_preset)
        for rates in ((0.0, 0.0), (0.2, 0.5)):
            options = [dict(run.options) for run in of_preset]
            found = [(each["dropout_input"], each["dropout_units"]) for each in options]
            assert found.count(rates) == len(of_preset) / 2
    for preset, epochs in (("quick", 3), ("paper", 45)):
        options = dict(runs[preset][0].options)
        assert (options["data"], options["channels"], options["units"]) == ("cifar10", 64, 1_000)
        assert {run.whole for run in runs[preset]} == {epochs}
    assert dict(runs["demo"][0].options)["data"] == "photos"


def test_the_note_says_how_many_images_there_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def notes() -> list[str]:
        return [FIGURE.charts(preset, {})[0][0].note for preset in ("quick", "paper")]

    monkeypatch.setenv(_download.VARIABLE, str(tmp_path))
    some = "CIFAR-10, 10,000 of the 50,000 training images"
    assert notes() == [some, "CIFAR-10, 50,000 training images"]
    (tmp_path / "cifar10").mkdir()
    (tmp_path / "cifar10" / cifar10.EXCERPT[-1].name).touch()
    assert notes() == [some, some]


def test_a_run_of_the_figure_trains_and_observes() -> None:
    figure = Figure("title", {"demo": [dataclasses.replace(SIZE, count=200, epochs=1)]})
    run, *_ = (
        r for r in figure.runs("demo") if isinstance(r.rule, Adam) and dict(r.options)["dropout_units"]
    )
    outcome = dataclasses.replace(run, rule=Adam(lr=1e-3)).execute()
    assert outcome.status == "done"
    assert [epoch["epoch"] for epoch in outcome.epochs] == [0, 0.5, 1]
    assert outcome.epochs[-1]["vanished"] is not None
