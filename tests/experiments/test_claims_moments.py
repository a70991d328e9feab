"""The claims about the moments: the verdicts that mathematics fixes, and what they are measured with."""

import functools
import re

import numpy as np
import pytest

from adamas.experiments import claims
from adamas.experiments.claims import _moments, fisher_diagonal
from adamas.experiments.findings import Finding
from adamas.rules import Adagrad, Adam


@functools.cache
def finding(name: str) -> Finding:
    return claims.load(name).finding("demo", {})


# Random gradients leave their verdicts to chance, but to one that no seed will meet.
FIXED = {
    "bias_without_correction": "holds",
    "initial_steps": "holds",
    "memory": "holds",
    "nonstationary_bias": "holds",
    "rmsprop_relation": "holds",
    "unbiased_moments": "holds",
}


@pytest.mark.parametrize(("name", "verdict"), FIXED.items())
def test_the_verdict_is_what_mathematics_says(name: str, verdict: str) -> None:
    assert finding(name).verdict == verdict


@pytest.mark.parametrize("beta2", [0.9, 0.99, 0.999, 0.9999])
def test_an_uncorrected_first_step_is_as_long_as_section_3_has_it(beta2: float) -> None:
    expected = (1 - 0.9) / (1 - beta2) ** 0.5
    assert f"β2 = {beta2:g}: {expected:.2f} ×" in finding("initial_steps").measured


def test_state_is_two_numbers_a_parameter_and_a_counter_a_tensor() -> None:
    parameters = 784 * 1000 + 1000 + 1000 * 1000 + 1000 + 1000 * 10 + 10
    measured = finding("memory").measured
    assert f"{2 * 4 * parameters + 6 * 4:,} bytes of state for {4 * parameters:,} of parameters" in measured


def test_the_bias_left_by_an_exponential_drift_is_that_of_its_geometric_series() -> None:
    """E[v] = (1 - β) Σ β^k r^-k, where E[g²] is multiplied by r each step; its start is forgotten."""
    bias, growth = 1 / 20, np.exp(1 / 200)
    decay = 1 - bias
    falling, rising = (abs(bias / (1 - decay * each) - 1) for each in (growth, 1 / growth))
    measured = finding("nonstationary_bias").measured
    assert f"falling e-fold: {falling:.1%}" in measured
    assert f"rising e-fold: {rising:.1%}" in measured
    assert "constant: 0.0% and 0%" in measured


def test_noise_alone_leaves_the_steps_that_beta1_says() -> None:
    """m̂/√v̂ of independent Gaussian gradients is Gaussian, of variance (1 - β1) / (1 + β1)."""
    expected = (0.1 / 1.9 * 2 / np.pi) ** 0.5
    near = [
        float(each)
        for each in re.findall(r"Δ\|/α [\d.]+ far and ([\d.]+) near", finding("annealing").measured)
    ]
    assert near == pytest.approx([expected, expected], abs=0.02)


def test_adam_preconditions_by_the_inverse_root_of_the_fisher_information() -> None:
    assert "to the power -0.50 [" in finding("fisher_diagonal").measured


def test_the_fisher_information_is_approximated_where_the_model_draws_the_labels() -> None:
    for place, near in (("at θ*", True), ("at -θ*", False)):
        ratio, _ = fisher_diagonal.compare(*fisher_diagonal.PLACES[place], 3000)
        assert (abs(ratio.mean(axis=0) - 1) <= fisher_diagonal.CLOSE).all() == near


def test_corrected_moments_give_the_step_that_was_taken() -> None:
    rule = Adam(lr=0.5)
    for taken in _moments.walk(rule, np.zeros(5), _moments.stationary(5), 20):
        m, v = _moments.corrected(rule, taken)
        np.testing.assert_allclose(taken.moved, -rule.lr * m / (np.sqrt(v) + rule.eps), rtol=1e-12)


def test_a_walk_asks_for_the_gradient_where_it_is() -> None:
    """AdaGrad on half the square, from 2 with α = 1: each step is the gradient over the root of the sum."""
    first, second = _moments.walk(Adagrad(lr=1.0, eps=0), np.array([2.0]), lambda t, p: p, 2)
    assert (first.t, first.g, first.moved, first.p) == (1, 2, -1, 1)
    assert (second.t, second.g, second.slots[0]) == (2, 1, 5)
    assert second.p == pytest.approx(1 - 1 / 5**0.5)


def test_stationary_gradients_are_what_is_said_of_them() -> None:
    draw = _moments.stationary(100_000)
    rows = [draw(t, np.zeros(0)) for t in (1, 2)]
    for g in rows:
        assert g.mean() == pytest.approx(_moments.MEAN, abs=0.02)
        assert (g**2).mean() == pytest.approx(_moments.SQUARE, abs=0.03)
    assert np.corrcoef(rows)[0, 1] == pytest.approx(_moments.CORRELATION, abs=0.02)
