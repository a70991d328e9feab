"""Each problem, online or not: a new file in `problems` or `online_problems` is tested by being there."""

import functools
import inspect
import math
from typing import Any

import numpy as np
import pytest
import torch

from adamas._tools import modules
from adamas.experiments import figures, online_problems, problems

PROBLEMS = modules.names(problems.__name__)
ONLINE = modules.names(online_problems.__name__)
each_problem = pytest.mark.parametrize("name", PROBLEMS)
each_online = pytest.mark.parametrize("name", ONLINE)


@functools.cache
def options(name: str) -> dict[str, Any]:
    """Those that the demo of a figure has; a problem that is in none says them itself, as DEMO."""
    demos = [run for each in modules.names(figures.__name__) for run in figures.load(each).runs("demo")]
    known = {run.problem: dict(run.options) for run in reversed(demos)}
    module = (problems if name in PROBLEMS else online_problems).load(name)
    return known.get(name) or module.DEMO


@functools.cache
def start(name: str, seed: int = 0) -> tuple[problems.Problem, torch.Generator, torch.Generator]:
    return problems.start(name, tuple(sorted(options(name).items())), seed)


def cost(problem: problems.Problem, seed: int) -> torch.Tensor:
    batch = torch.arange(min(16, problem.examples))
    return problem.cost(batch, torch.Generator().manual_seed(seed))


@each_problem
def test_its_functions_take_the_same_options(name: str) -> None:
    module: Any = problems.load(name)
    names = [list(inspect.signature(each).parameters) for each in (module.identity, module.prepare)]
    assert names[0] == names[1]
    assert list(inspect.signature(module.build).parameters) == ["seed", *names[0]]
    assert module.identity(**options(name)) == module.identity(**options(name)) != ""
    module.prepare(**options(name))


@each_problem
def test_a_seed_decides_the_start(name: str) -> None:
    one, other = problems.load(name).build(3, **options(name)), problems.load(name).build(3, **options(name))
    for p, q in zip(one.parameters, other.parameters, strict=True):
        assert p is not q
        torch.testing.assert_close(p, q, rtol=0, atol=0)
    assert all(p.is_leaf and p.requires_grad for p in one.parameters)


@each_problem
def test_the_cost_is_a_number_with_a_gradient_for_every_parameter(name: str) -> None:
    problem, _, _ = start(name)
    found = cost(problem, 0)
    assert found.shape == ()
    assert found.isfinite()
    gradients = torch.autograd.grad(found, list(problem.parameters))
    assert all(g.shape == p.shape for g, p in zip(gradients, problem.parameters, strict=True))
    assert any(g.abs().max() > 0 for g in gradients)


@each_problem
def test_all_randomness_is_that_of_the_generator(name: str) -> None:
    problem, _, _ = start(name)
    before = torch.get_rng_state()
    assert cost(problem, 1) == cost(problem, 1)
    assert torch.equal(torch.get_rng_state(), before)


@each_problem
def test_it_is_measured_without_noise_and_unchanged(name: str) -> None:
    problem, _, _ = start(name)
    kept = [p.detach().clone() for p in problem.parameters]
    first = problem.evaluate()
    assert first == problem.evaluate()
    assert all(math.isfinite(value) for value in first.values())
    assert all(map(torch.equal, kept, problem.parameters))


@each_problem
def test_a_step_along_the_gradient_lowers_the_cost(name: str) -> None:
    problem = problems.load(name).build(0, **options(name))
    before = cost(problem, 0)
    gradients = torch.autograd.grad(before, list(problem.parameters))
    size = sum(float((g**2).sum()) for g in gradients)
    with torch.no_grad():
        for p, g in zip(problem.parameters, gradients, strict=True):
            p -= 0.01 * float(before) / size * g
    assert cost(problem, 0) < before


@each_online
def test_an_online_problem_is_convex_and_keeps_to_its_set(name: str) -> None:
    problem = online_problems.load(name).build(0, 60, **options(name))
    random = np.random.default_rng(0)
    for t in range(1, 61):
        a, b = (problem.project(problem.start + random.uniform(-2, 2, np.shape(problem.start))) for _ in "ab")
        a, b = (each if np.ndim(each) else float(each) for each in (a, b))
        slope = float(np.sum(problem.gradient(t, a) * (b - a)))
        assert problem.cost(t, b) >= problem.cost(t, a) + slope - 1e-9
        assert np.abs(problem.gradient(t, a)).max() <= problem.gradient_bound
        np.testing.assert_array_equal(problem.project(a), a)


@each_online
def test_the_best_point_is_no_worse_than_others(name: str) -> None:
    problem = online_problems.load(name).build(0, 60, **options(name))
    rounds = 60 // problem.period * problem.period or problem.period
    if rounds > 60:
        problem = online_problems.load(name).build(0, rounds, **options(name))
    best, least = problem.best(rounds)
    random = np.random.default_rng(0)
    for _ in range(20):
        other = problem.project(problem.start + random.uniform(-2, 2, np.shape(problem.start)))
        other = other if np.ndim(other) else float(other)
        assert sum(problem.cost(t, other) for t in range(1, rounds + 1)) >= least - 1e-9
    assert sum(problem.cost(t, best) for t in range(1, rounds + 1)) == pytest.approx(least)


@each_online
def test_a_recorded_name_is_of_one_problem_alone(name: str) -> None:
    recorded = online_problems.recorded_name(name)
    assert [each for each in ONLINE if online_problems.recorded_name(each) == recorded] == [name]
