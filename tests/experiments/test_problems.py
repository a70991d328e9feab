import math

import numpy as np
import pytest
import torch
from scipy import sparse

from adamas.experiments import ExperimentError, problems
from adamas.experiments.problems import Option, Problem
from adamas.experiments.problems._softmax import Dense, Sparse, softmax_regression

PROBLEMS: list[tuple[str, dict[str, Option], float]] = [
    ("images_softmax", {"data": "digits"}, math.log(10)),
    ("words_softmax", {"data": "zipf", "dropout": 0.5}, math.log(2)),
]


def noise(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def build(name: str, options: dict[str, Option]) -> Problem:
    problem = problems.load(name)
    problem.prepare(**options)
    assert problem.identity(**options) == problem.identity(**options) != ""
    return problem.build(**options)


@pytest.mark.parametrize(("name", "options", "start"), PROBLEMS)
def test_a_problem_starts_at_the_cost_of_guessing(
    name: str, options: dict[str, Option], start: float
) -> None:
    problem = build(name, options)
    batch = torch.arange(problem.examples)
    assert problem.cost(batch, noise()).item() == pytest.approx(start, rel=1e-5)
    measured = problem.evaluate()
    assert measured["train_nll"] == pytest.approx(start, rel=1e-5)
    assert measured["test_nll"] == pytest.approx(start, rel=1e-5)


@pytest.mark.parametrize(("name", "options", "start"), PROBLEMS)
def test_the_noise_drawn_does_not_depend_on_the_parameters(
    name: str, options: dict[str, Option], start: float
) -> None:
    states = []
    for value in (0.0, 3.0):
        problem, generator = build(name, options), noise()
        with torch.no_grad():
            problem.parameters[0].fill_(value)
        problem.cost(torch.arange(100), generator)
        states.append(generator.get_state())
    assert torch.equal(*states)


def random_problem(form: str) -> tuple[Problem, torch.Tensor, torch.Tensor]:
    """A problem at random parameters, with its features and labels."""
    random = np.random.default_rng(0)
    x = (random.poisson(0.5, (30, 7))).astype(np.float32)
    labels = random.integers(0, 3, 30)
    features = {"dense": Dense(torch.from_numpy(x)), "sparse": Sparse(sparse.csr_array(x))}[form]
    problem = softmax_regression((features, labels), (features, labels), (7, 3))
    with torch.no_grad():
        for parameter in problem.parameters:
            parameter.copy_(torch.from_numpy(random.normal(size=parameter.shape)))
    return problem, torch.from_numpy(x), torch.from_numpy(labels)


@pytest.mark.parametrize("form", ["dense", "sparse"])
def test_cost_and_gradient_are_those_of_the_softmax(form: str) -> None:
    problem, x, labels = random_problem(form)
    batch = torch.tensor([3, 1, 4, 15, 9, 2])
    cost = problem.cost(batch, noise())
    cost.backward()
    weight, bias = problem.parameters
    chances = torch.softmax(x[batch] @ weight.detach() + bias.detach(), dim=1)
    rest = (chances - torch.nn.functional.one_hot(labels[batch], 3)) / len(batch)
    torch.testing.assert_close(cost.detach(), -chances[range(6), labels[batch]].log().mean())
    torch.testing.assert_close(weight.grad, x[batch].T @ rest)
    torch.testing.assert_close(bias.grad, rest.sum(dim=0))
    assert problem.evaluate()["test_nll"] == pytest.approx(problem.cost(torch.arange(30), noise()).item())


def test_dropout_zeroes_at_its_rate_and_keeps_the_mean() -> None:
    features = Sparse(sparse.csr_array(np.full((200, 100), 3, np.float32)))
    for rate in (0.5, 0.2):
        dropped = features.dropped(rate, noise()).x.toarray()
        kept = np.float32(3 / (1 - rate))
        assert np.unique(dropped).tolist() == [0, kept]
        assert (dropped == 0).mean() == pytest.approx(rate, abs=0.02)
        assert dropped.mean() == pytest.approx(3, rel=0.03)
    assert np.all(features.x.data == 3)


def test_dropout_is_fresh_for_each_batch() -> None:
    features = Sparse(sparse.csr_array(np.ones((10, 10), np.float32)))
    generator = noise()
    first, second = (features.dropped(0.5, generator).x.toarray() for _ in range(2))
    assert not np.array_equal(first, second)


def test_an_unknown_problem_lists_those_there_are() -> None:
    with pytest.raises(
        ExperimentError, match="unknown problem 'knapsack'; known: images_softmax, words_softmax"
    ):
        problems.load("knapsack")
