import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from adamas.experiments import problems
from adamas.experiments.runs.sfo import Subfunctions, SumOfFunctions
from adamas.experiments.runs.training import Training
from adamas.experiments.solvers.sfo import SFO
from adamas.rules import Adam

OPTIONS = (("count", 200), ("data", "digits"), ("width", 8))
RUN = SumOfFunctions("images_mlp", OPTIONS, "digits", l2=1e-2, batch=32, epochs=3, seed=0)


def test_a_run_repeated_is_the_same_to_the_bit() -> None:
    noisy = dataclasses.replace(RUN, options=(*OPTIONS, ("dropout", 0.5)))
    for run in (RUN, noisy):
        assert run.execute().epochs == run.execute().epochs
    assert RUN.execute().epochs[1:] != noisy.execute().epochs[1:]


def test_an_outcome_has_every_epoch_and_goes_down() -> None:
    outcome = dataclasses.replace(RUN, epochs=12).execute()
    assert outcome.status == "done"
    assert [record["epoch"] for record in outcome.epochs] == list(range(13))
    assert len(outcome.clock) == 13
    assert list(outcome.clock) == sorted(outcome.clock)
    assert outcome.epochs[0]["cost"] is None
    first, last = outcome.epochs[0], outcome.epochs[-1]
    assert (last["train_nll"] or 9) < (first["train_nll"] or 0) / 2
    assert (last["memory"] or 0) > (first["memory"] or 0) > 0
    assert last["active"] == 1


def test_it_starts_where_training_with_that_seed_does() -> None:
    training = Training(
        "images_mlp", OPTIONS, "digits", Adam(), "constant", 1e-2, 32, 1, 0, observers=("memory", "penalty")
    )
    one, other = RUN.execute().epochs[0], training.execute().epochs[0]
    shared = {"train_nll", "test_nll", "test_error"}
    assert {name: one[name] for name in shared} == {name: other[name] for name in shared}
    assert one["penalty"] == pytest.approx(other["penalty"], rel=1e-6)


def test_adam_remembers_two_numbers_a_parameter() -> None:
    training = Training(
        "images_mlp", OPTIONS, "digits", Adam(), "constant", 0.0, 32, 1, 0, observers=("memory",)
    )
    before, after = training.execute().epochs
    parameters = 64 * 8 + 8 + 8 * 8 + 8 + 8 * 10 + 10
    assert before["memory"] == 0
    assert after["memory"] == pytest.approx(2 * 4 * parameters, rel=0.05)  # and the number of the step


def test_the_subfunctions_sum_up_to_the_mean_cost_and_the_penalty() -> None:
    problem = problems.load("images_mlp").build(0, **dict(OPTIONS))
    noise = torch.Generator()
    batches = torch.arange(200).split(32)  # the last one is smaller
    subfunctions = Subfunctions(problem, batches, noise, l2=0.1)
    x = subfunctions.start()
    values, gradients = zip(*(subfunctions.evaluate(x, i) for i in range(len(batches))), strict=True)
    cost = problem.cost(torch.arange(200), noise)
    whole = cost + 0.05 * torch.stack([(p**2).sum() for p in problem.parameters]).sum()
    expected = torch.cat([g.flatten() for g in torch.autograd.grad(whole, problem.parameters)])
    assert np.mean(values) == pytest.approx(whole.item(), rel=1e-5)
    np.testing.assert_allclose(np.mean(gradients, axis=0), expected, atol=1e-6)
    assert subfunctions.mean_cost() == pytest.approx(cost.item(), rel=1e-5)
    assert subfunctions.mean_cost() is None


def test_the_curvature_decides_the_first_step() -> None:
    flat = dataclasses.replace(RUN, epochs=1)
    start = flat.execute().epochs[0]["penalty"] or 0
    runs = [dataclasses.replace(flat, curvature=each) for each in (0, 1e12)]
    ends = [run.execute().epochs[1]["penalty"] or 0 for run in runs]
    assert abs(ends[1] - start) < 1e-3 * abs(ends[0] - start)


def test_the_seed_is_that_of_the_optimizer(monkeypatch: pytest.MonkeyPatch) -> None:
    seeds = []

    def optimizer(*arguments: Any, seed: int, **rest: Any) -> SFO:
        seeds.append(seed)
        return SFO(*arguments, seed=seed, **rest)

    monkeypatch.setattr("adamas.experiments.runs.sfo.SFO", optimizer)
    dataclasses.replace(RUN, epochs=1, seed=7).execute()
    assert seeds == [7]


def test_an_older_version_has_other_records(monkeypatch: pytest.MonkeyPatch) -> None:
    configuration = RUN.configuration()
    monkeypatch.setattr("adamas.experiments.runs.sfo.VERSION", 1)
    assert configuration == {**RUN.configuration(), "version": 2}


def test_the_configuration_is_plain_and_complete() -> None:
    assert RUN.configuration() == {
        "kind": "sums",
        "version": 2,
        "problem": "images_mlp",
        "options": dict(OPTIONS),
        "data": "digits",
        "l2": 1e-2,
        "batch": 32,
        "epochs": 3,
        "seed": 0,
        "curvature": 0.0,
    }


class Broken:
    """A problem whose cost is not a number."""

    examples = 8

    def __init__(self) -> None:
        self.parameters = [torch.ones(3, requires_grad=True)]

    def cost(self, batch: torch.Tensor, noise: torch.Generator) -> torch.Tensor:
        return (self.parameters[0] * float("nan")).sum()

    def evaluate(self) -> dict[str, float]:
        return {"train_nll": float(self.parameters[0].detach().sum())}


def test_a_run_that_diverges_ends_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    module: Any = type("Module", (), {"build": staticmethod(lambda seed, **options: Broken())})
    monkeypatch.setattr(problems, "load", lambda name: module)
    outcome = dataclasses.replace(RUN, batch=4).execute()
    assert outcome.status == "diverged"
    assert [record["epoch"] for record in outcome.epochs] == [0, 1]
