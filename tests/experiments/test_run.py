import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from adamas.experiments import problems
from adamas.experiments.run import Run, train
from adamas.rules import SGD, Adagrad, Adam, RMSprop

DIGITS = Run(
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
def test_a_run_repeated_is_the_same_to_the_bit(run: Run) -> None:
    assert train(run).epochs == train(run).epochs


@pytest.mark.parametrize("run", [DIGITS, WORDS])
def test_another_seed_is_another_run(run: Run) -> None:
    assert train(run).epochs != train(dataclasses.replace(run, seed=1)).epochs


def test_an_outcome_has_every_epoch_and_its_cost() -> None:
    outcome = train(DIGITS)
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


def watch(run: Run, monkeypatch: pytest.MonkeyPatch) -> tuple[Watched, Any]:
    problem = Watched()
    module = type("Module", (), {"build": staticmethod(lambda **options: problem)})
    monkeypatch.setattr(problems, "load", lambda name: module)
    return problem, train(run)


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
