import dataclasses
import hashlib
from typing import Any

import numpy as np
import pytest
import torch

from adamas.experiments import figures, problems
from adamas.experiments.records.store import key
from adamas.experiments.runs.training import Training
from adamas.rules import SGD, Adagrad, Adam, RMSprop

DIGITS = Training(
    problem="images_softmax",
    options=(("data", "digits"),),
    data="digits",
    rule=Adam(lr=0.1),
    schedule="inverse_sqrt",
    l2=1e-4,
    batch=128,
    epochs=2,
    seed=0,
)
WORDS = dataclasses.replace(DIGITS, problem="words_softmax", options=(("data", "zipf"), ("dropout", 0.5)))


@pytest.mark.parametrize("run", [DIGITS, WORDS])
def test_a_run_repeated_is_the_same_to_the_bit(run: Training) -> None:
    assert run.execute().epochs == run.execute().epochs


@pytest.mark.parametrize("run", [DIGITS, WORDS])
def test_another_seed_is_another_run(run: Training) -> None:
    assert run.execute().epochs != dataclasses.replace(run, seed=1).execute().epochs


def test_an_outcome_has_every_epoch_and_its_cost() -> None:
    outcome = DIGITS.execute()
    assert outcome.status == "done"
    assert [epoch["epoch"] for epoch in outcome.epochs] == [0, 1, 2]
    assert [epoch["cost"] is None for epoch in outcome.epochs] == [True, False, False]
    costs = [float(epoch["train_nll"] or 0) for epoch in outcome.epochs]
    assert costs == sorted(costs, reverse=True)


class Watched:
    """A problem that keeps which examples and what noise it was given, at whatever parameters."""

    examples = 10

    def __init__(self) -> None:
        self.parameters = [torch.ones(3, requires_grad=True)]
        self.seen: list[tuple[list[int], list[float]]] = []

    def cost(self, batch: torch.Tensor, noise: torch.Generator) -> torch.Tensor:
        self.seen.append((batch.tolist(), torch.rand(2, generator=noise).tolist()))
        return (self.parameters[0] ** 2).sum()

    def evaluate(self) -> dict[str, float]:
        return {"train_nll": float(self.parameters[0].detach().sum())}


def watch(run: Training, monkeypatch: pytest.MonkeyPatch) -> tuple[Watched, Any]:
    problem = Watched()
    module = type("Module", (), {"build": staticmethod(lambda seed, **options: problem)})
    monkeypatch.setattr(problems, "load", lambda name: module)
    return problem, run.execute()


def test_every_rule_sees_the_same_batches_and_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    base = dataclasses.replace(DIGITS, batch=4)
    rules = [Adam(lr=0.1), SGD(lr=1.0, momentum=0.9, nesterov=True), Adagrad(lr=0.1), RMSprop(lr=0.1)]
    seen = [watch(dataclasses.replace(base, rule=rule), monkeypatch)[0].seen for rule in rules]
    assert all(each == seen[0] for each in seen)
    sizes = [len(batch) for batch, _ in seen[0]]
    assert sizes == [4, 4, 2, 4, 4, 2]
    for epoch in (seen[0][:3], seen[0][3:]):
        assert sorted(example for batch, _ in epoch for example in batch) == list(range(10))
    assert seen[0][:3] != seen[0][3:]


@pytest.mark.parametrize(("schedule", "power"), [("inverse_sqrt", 0.5), ("constant", 0.0)])
def test_stepsize_and_decay_enter_as_the_paper_says(
    monkeypatch: pytest.MonkeyPatch, schedule: str, power: float
) -> None:
    run = dataclasses.replace(DIGITS, rule=SGD(lr=0.01), l2=0.3, batch=4, schedule=schedule)
    problem, outcome = watch(run, monkeypatch)
    parameter, costs = 1.0, []
    for t in range(1, 7):
        costs.append(3 * parameter**2)
        parameter -= 0.01 / t**power * (2 * parameter + 0.3 * parameter)
    torch.testing.assert_close(problem.parameters[0].detach(), torch.full((3,), parameter))
    mean = np.average(costs[3:], weights=[4, 4, 2])
    assert outcome.epochs[2]["cost"] == pytest.approx(mean, rel=1e-5)


def test_a_run_that_diverges_ends_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    run = dataclasses.replace(DIGITS, rule=SGD(lr=1e30), batch=4, epochs=5)
    outcome = watch(run, monkeypatch)[1]
    assert outcome.status == "diverged"
    assert [epoch["epoch"] for epoch in outcome.epochs] == [0, 1]
    assert outcome.epochs[1]["cost"] is None


def test_records_from_before_a_field_was_added_are_found_again() -> None:
    # The name that the record of this run had when `records_per_epoch` and `phase` did not exist.
    assert key(DIGITS.configuration()) == "393b6724b16111b1126321dca479c729149173f3a536943b1f2769c4d96bbd1e"
    names = "".join(key(run.configuration()) for run in figures.load("fig1").runs("demo"))
    whole = hashlib.sha256(names.encode()).hexdigest()
    assert whole == "2c914884028ca1b6d5079ce2ea5538eba07f0e473740c99f6d79f9426c1b7b67"


def test_what_is_set_is_part_of_the_configuration() -> None:
    changed = dataclasses.replace(DIGITS, records_per_epoch=3, phase=(("state_format", "float8"),))
    assert changed.configuration() == {
        **DIGITS.configuration(),
        "parts": 3,
        "phase": {"state_format": "float8"},
    }


def test_parts_of_epochs_are_recorded_and_change_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    base = dataclasses.replace(DIGITS, batch=3)  # 4 mini-batches: 3, 3, 3 and 1
    whole, of_whole = watch(base, monkeypatch)
    halves, of_halves = watch(dataclasses.replace(base, records_per_epoch=2), monkeypatch)
    assert halves.seen == whole.seen
    assert [epoch["epoch"] for epoch in of_halves.epochs] == [0, 0.5, 1, 1.5, 2]
    costs = [epoch["cost"] for epoch in of_halves.epochs[1:3]]
    assert of_whole.epochs[1]["cost"] == pytest.approx(np.average(costs, weights=[6, 4]))


def test_the_phase_reaches_the_optimizer() -> None:
    run = dataclasses.replace(DIGITS, problem="images_mlp", options=(("data", "digits"), ("width", 64)))
    plain, eight, same = (
        dataclasses.replace(run, phase=phase).execute().epochs
        for phase in ((), (("state_format", "float8"),), (("state_format", "float32"),))
    )
    assert plain == same
    assert plain[0] == eight[0]
    assert plain[1] != eight[1]


def test_the_configuration_is_plain_and_complete() -> None:
    assert DIGITS.configuration() == {
        "problem": "images_softmax",
        "options": {"data": "digits"},
        "data": "digits",
        "rule": {"name": "Adam", **dataclasses.asdict(Adam(lr=0.1))},
        "schedule": "inverse_sqrt",
        "l2": 1e-4,
        "batch": 128,
        "epochs": 2,
        "seed": 0,
    }
