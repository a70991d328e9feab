"""Adam and AdaMax as their paper prints them; what ties one rule to another."""

import math
from itertools import pairwise

import numpy as np
import pytest
from rule_cases import gradients, parameters, run_reference

from adamas.rules import Adagrad, Adam, AdaMax, AMSGrad, RAdam, RMSprop


def printed_adam(p: np.ndarray, grads: np.ndarray, rule: Adam) -> np.ndarray:
    """Algorithm 1 with m̂ and v̂ as printed, and ε where `rule` has it."""
    m, v = np.zeros_like(p), np.zeros_like(p)
    for t, g in enumerate(grads, start=1):
        m = rule.beta1 * m + (1 - rule.beta1) * g
        v = rule.beta2 * v + (1 - rule.beta2) * g**2
        m_hat = m / (1 - rule.beta1**t)
        v_hat = v / (1 - rule.beta2**t)
        if rule.eps_placement == "outside":
            p = p - rule.lr * m_hat / (np.sqrt(v_hat) + rule.eps)
        elif rule.eps_placement == "inside":
            p = p - rule.lr * m_hat / np.sqrt(v_hat + rule.eps)
        else:  # α_t of the end of section 2
            alpha = rule.lr * math.sqrt(1 - rule.beta2**t) / (1 - rule.beta1**t)
            p = p - alpha * m / (np.sqrt(v) + rule.eps)
    return p


@pytest.mark.parametrize("placement", ["outside", "hat", "inside"])
@pytest.mark.parametrize("eps", [1e-8, 1.0])
def test_adam_is_the_printed_algorithm(placement: str, eps: float) -> None:
    rule = Adam(lr=0.01, eps=eps, eps_placement=placement)  # type: ignore[arg-type]
    p, grads = parameters(30), gradients(50, 30)
    expected = printed_adam(p, grads, rule)
    # Fifty steps of at most 0.01, each to a few roundings.
    np.testing.assert_allclose(run_reference(rule, p, grads)[-1][0], expected, rtol=1e-13, atol=1e-14)


def printed_adamax(p: np.ndarray, grads: np.ndarray, rule: AdaMax) -> np.ndarray:
    """Algorithm 2."""
    m, u = np.zeros_like(p), np.zeros_like(p)
    for t, g in enumerate(grads, start=1):
        m = rule.beta1 * m + (1 - rule.beta1) * g
        u = np.maximum(rule.beta2 * u, np.abs(g))
        p = p - rule.lr / (1 - rule.beta1**t) * m / u
    return p


def test_adamax_is_the_printed_algorithm() -> None:
    p, grads = parameters(30), gradients(50, 30)
    expected = printed_adamax(p, grads, AdaMax())
    np.testing.assert_allclose(run_reference(AdaMax(), p, grads)[-1][0], expected, rtol=1e-13, atol=1e-14)


def test_adamax_divides_nothing_by_nothing() -> None:
    """Without ε an element that has had no gradient stays, with no warning; the others step."""
    g = np.array([0.0, 1.0, -0.0, -1e-300])
    moved, *_ = run_reference(AdaMax(lr=0.5), np.ones(4), [g])[-1]
    np.testing.assert_allclose(moved, [1, 0.5, 1, 1.5], rtol=1e-15)


# Relations between rules that their papers state.


def test_adagrad_is_a_limit_of_adam() -> None:
    """Section 5: β1 = 0, 1 - β2 infinitesimal and stepsize α / √t."""
    p, grads = parameters(30), gradients(40, 30)
    expected = run_reference(Adagrad(lr=0.1, eps=0), p, grads)[-1][0]
    state = (np.zeros_like(p), np.zeros_like(p))
    for t, g in enumerate(grads, start=1):
        rule = Adam(lr=0.1 / math.sqrt(t), beta1=0, beta2=1 - 1e-9, eps=0)
        p, *state = rule.form().update(p, g, *state, *rule.scalars(t))
    # 1 - β2 is 1e-9 to seven digits, and forty steps weigh the first by 1 - 4e-8.
    np.testing.assert_allclose(p, expected, rtol=1e-6)


def test_rmsprop_is_adam_without_momentum_and_correction() -> None:
    p, grads = parameters(30), gradients(40, 30)
    rmsprop = run_reference(RMSprop(lr=1e-3, alpha=0.99, eps=1e-8), p, grads)[-1][0]
    adam = run_reference(Adam(beta1=0, beta2=0.99, bias_correction=False), p, grads)[-1][0]
    np.testing.assert_allclose(adam, rmsprop, rtol=1e-13)


def test_amsgrad_is_adam_while_the_second_moment_grows() -> None:
    p, grads = parameters(30), gradients(1, 30) * np.arange(1, 41)[:, None]
    np.testing.assert_array_equal(
        run_reference(AMSGrad(), p, grads)[-1][0], run_reference(Adam(), p, grads)[-1][0]
    )


def test_amsgrad_never_divides_by_less() -> None:
    rule = AMSGrad(beta2=0.5)
    largest = [slots[2] for _, *slots in run_reference(rule, parameters(30), gradients(40, 30))]
    assert all((after >= before).all() for before, after in pairwise(largest))


def test_radam_rectifies_from_the_sixth_step_on() -> None:
    """With β2 = .999, ρ is above 5 from there: the first five steps are momentum alone."""
    p, grads = parameters(30), gradients(6, 30)
    history = run_reference(RAdam(lr=1.0), p, grads)
    m = np.zeros_like(p)
    for t in range(1, 7):
        m = 0.9 * m + 0.1 * grads[t - 1]
        moved = np.allclose(history[t][0], history[t - 1][0] - m / (1 - 0.9**t), rtol=1e-12)
        assert moved == (t <= 5)
