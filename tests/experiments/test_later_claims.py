"""Claims made after the paper, of random gradients: each against a computation of another kind."""

import math

import numpy as np
import pytest
from plain_adam_support import adam
from scipy.linalg import solve_discrete_lyapunov

from adamas.experiments.after import adamw_equilibrium, heavy_tails, rate
from adamas.experiments.bootstrap import Estimate
from adamas.rules import SGD

NOT_HELD = ("fails", "holds here only partly")


# The size of parameters under noise.


@pytest.mark.parametrize("case", adamw_equilibrium.CASES, ids=str)
def test_the_variance_at_equilibrium_solves_the_equation_of_the_linear_map(
    case: adamw_equilibrium.Case,
) -> None:
    rho, one = 1 - case.eta * case.decay, case.beta1
    step = np.array([[rho, -case.eta * one], [0, one]])
    noise = np.array([[-case.eta * (1 - one)], [1 - one]])
    (variance, _), _ = solve_discrete_lyapunov(step, noise @ noise.T)
    assert adamw_equilibrium.exact(case) == pytest.approx(math.sqrt(variance), rel=1e-9)


def test_the_limit_is_that_of_the_exact_size() -> None:
    for decay in (1e-3, 1e-6):
        case = adamw_equilibrium.Case(1e-2, decay)
        assert case.in_limit
        assert adamw_equilibrium.exact(case) == pytest.approx(adamw_equilibrium.limit(case), rel=decay)


def test_parameters_under_noise_take_the_steps_of_adamw(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adamw_equilibrium, "ELEMENTS", 40)
    monkeypatch.setattr(adamw_equilibrium, "BLOCKS", 20)
    case = adamw_equilibrium.Case(0.05, 2.0, 0.8, 0.9)
    steps = int(adamw_equilibrium.TIMES / 0.1)
    rows = np.random.default_rng(0).normal(size=(steps, 40))

    def end(i: int) -> float:
        noise = rows[:, i]
        path = adam(
            0.0,
            lambda t, _: noise[t - 1],
            steps,
            lambda t: 0.05,
            (0.8, 0.9),
            1e-12,
            corrected=False,
            kept=0.9,
        )
        return path[-1]

    squares = np.array([end(i) ** 2 for i in range(40)])
    found = adamw_equilibrium.squares(case)
    np.testing.assert_allclose(found, squares.reshape(20, 2).mean(axis=1), rtol=1e-10)
    expected = math.sqrt(squares.mean() / (0.05 / 4))
    assert adamw_equilibrium.size(case).value == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("formula", ["limit", "exact"])
def test_a_size_that_is_not_the_predicted_one_does_not_hold(
    formula: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adamw_equilibrium, "CASES", adamw_equilibrium.CASES[3:])
    assert adamw_equilibrium.measure().verdict == "holds"
    right = getattr(adamw_equilibrium, formula)
    monkeypatch.setattr(adamw_equilibrium, formula, lambda case: 1.2 * right(case))
    assert adamw_equilibrium.measure().verdict in NOT_HELD


# Heavy tails.


@pytest.mark.parametrize("index", [1.2, 1.5, 4.0])
def test_the_tail_of_pareto_numbers_is_their_index(index: float) -> None:
    found = heavy_tails.tail(1 + np.random.default_rng(1).pareto(index, heavy_tails.RUNS))
    assert found.interval is not None
    assert found.interval[0] < found.value < found.interval[1]
    assert found.value == pytest.approx(index, rel=0.15)


@pytest.mark.parametrize("clip", [np.inf, 0.5])
def test_descent_sums_the_noise_and_clips_gradients(clip: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heavy_tails, "RUNS", 5)
    random, x = np.random.default_rng(0), np.zeros(5)
    for _ in range(heavy_tails.STEPS):
        gradients = x + heavy_tails.noise(random)
        x = x - 0.1 * np.array([min(max(float(g), -clip), clip) for g in gradients])
    np.testing.assert_allclose(heavy_tails.ends(SGD(lr=0.1), clip), x, rtol=1e-10)


def test_noise_of_finite_variance_does_not_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heavy_tails, "noise", lambda random: random.normal(size=heavy_tails.RUNS))
    assert heavy_tails.measure().verdict in NOT_HELD


# The rate.


def test_the_slope_and_its_constants_are_those_of_the_function() -> None:
    x, h = np.linspace(-4, 4, 4_001), 1e-6
    np.testing.assert_allclose(
        rate.slope(x),
        (((x + h) ** 2 / (1 + (x + h) ** 2)) - ((x - h) ** 2 / (1 + (x - h) ** 2))) / 2 / h,
        atol=1e-8,
    )
    assert np.abs(rate.slope(x)).max() == pytest.approx(rate.STEEPEST, rel=1e-5)
    assert np.abs(rate.slope(x)).max() <= rate.STEEPEST
    curvature = np.abs(np.diff(rate.slope(x)) / np.diff(x)).max()
    assert curvature == pytest.approx(rate.SMOOTH, rel=1e-4)
    assert curvature <= rate.SMOOTH


def test_the_mean_squared_gradient_is_that_of_adams_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate, "SEEDS", 2)
    monkeypatch.setattr(rate, "DIMENSIONS", 1)
    steps = 50
    rows = np.random.default_rng(0).uniform(-rate.NOISE, rate.NOISE, (steps, 2))
    for i, found in enumerate(rate.found(steps)):
        noise = rows[:, i]
        path = adam(
            rate.START,
            lambda t, x, noise=noise: float(rate.slope(np.array(x))) + noise[t - 1],  # type: ignore[misc]
            steps,
            lambda t: steps**-0.5,
            (0.0, 1 - 1 / steps),
        )
        assert found == pytest.approx(np.mean(rate.slope(np.array(path[:-1])) ** 2), rel=1e-9)


def test_the_bound_falls_like_the_rate() -> None:
    shares = [rate.bound(10**k) / (math.log(10**k) / 10 ** (k / 2)) for k in (8, 10, 12)]
    assert shares == sorted(shares, reverse=True)
    assert shares[-1] / shares[0] > 0.8


def test_another_rate_does_not_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate, "LENGTHS", (100, 400))
    monkeypatch.setattr(rate, "fall", lambda one, other, ratio: Estimate(-0.2, (-0.21, -0.19)))
    assert rate.measure().verdict in NOT_HELD
