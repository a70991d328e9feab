"""What the papers say of their rules: scale does not matter, and corrected moments have no bias."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rule_cases import every_dtype, gradients, parameters, run_kernel, run_reference

from adamas.rules import AdaBelief, Adagrad, Adam, AdaMax, AMSGrad, Lion, NAdam, RAdam, RMSprop, Rule

N, STEPS = 20, 12

# Δ does not depend on the scale of the gradients. Not RAdam, whose first steps are momentum alone,
# nor Adadelta, which with ε = 0 never begins.
SCALE_FREE: dict[str, Rule] = {
    "Adam": Adam(eps=0),
    "Adam-uncorrected": Adam(eps=0, bias_correction=False),
    "AMSGrad": AMSGrad(eps=0),
    "AdaMax": AdaMax(),
    "NAdam": NAdam(eps=0),
    "AdaBelief": AdaBelief(eps=0),
    "Adagrad": Adagrad(eps=0),
    "RMSprop": RMSprop(eps=0),
    "RMSprop-centered-momentum": RMSprop(eps=0, centered=True, momentum=0.9),
    "Lion": Lion(),
}
scale_free = pytest.mark.parametrize("rule", SCALE_FREE.values(), ids=SCALE_FREE)


@scale_free
@given(exponent=st.integers(-150, 150))
@settings(max_examples=15)
def test_gradients_scaled_by_a_power_of_two_give_the_same_bits(rule: Rule, exponent: int) -> None:
    p, grads = parameters(N), gradients(STEPS, N)
    expected = run_reference(rule, p, grads)[-1][0]
    np.testing.assert_array_equal(run_reference(rule, p, grads * 2.0**exponent)[-1][0], expected)


@scale_free
@given(scale=st.floats(1e-40, 1e40))
@settings(max_examples=15)
def test_gradients_scaled_by_any_number_give_the_same_steps(rule: Rule, scale: float) -> None:
    p, grads = parameters(N), gradients(STEPS, N)
    expected = run_reference(rule, p, grads)[-1][0]
    # A rounding of each gradient, and where they cancel in m, or in g - m, it counts for more.
    np.testing.assert_allclose(run_reference(rule, p, grads * scale)[-1][0], expected, rtol=1e-11, atol=1e-13)


@scale_free
@every_dtype
@pytest.mark.parametrize("exponent", [-20, -3, 1, 20])
def test_kernels_do_not_see_the_scale_either(rule: Rule, dtype: np.dtype, exponent: int) -> None:
    """Nor does `scale` of the envelope matter to them, with which losses are scaled."""
    p, grads = parameters(N).astype(dtype), gradients(STEPS, N)
    expected, *_ = run_kernel(rule, p, grads)
    moved, *_ = run_kernel(rule, p, grads * 2.0**exponent)
    np.testing.assert_array_equal(moved, expected, strict=True)


# Bias correction (section 3).

AVERAGING: list[Rule] = [Adam(), AMSGrad(), AdaMax(), NAdam(), RAdam(), AdaBelief()]
each_average = pytest.mark.parametrize("rule", AVERAGING, ids=lambda rule: type(rule).__name__)


@each_average
@given(
    g=st.floats(1e-3, 1e3) | st.floats(-1e3, -1e-3),
    beta1=st.floats(0, 0.999),
    beta2=st.floats(0, 0.9999),
)
@settings(max_examples=20)
def test_under_constant_gradients_m_hat_is_the_gradient(
    rule: Rule, g: float, beta1: float, beta2: float
) -> None:
    rule = dataclasses.replace(rule, beta1=beta1, beta2=beta2)  # type: ignore[call-arg]
    for t, (_, m, *_) in enumerate(run_reference(rule, np.zeros(1), np.full((60, 1), g))[1:], start=1):
        # t roundings of m, and 1 - β^t loses up to as many digits as 1 - β has.
        assert m / (1 - beta1**t) == pytest.approx(g, rel=1e-12)


@given(g=st.floats(1e-3, 1e3), beta2=st.floats(0, 0.9999))
@settings(max_examples=50)
def test_under_constant_gradients_v_hat_is_their_square(g: float, beta2: float) -> None:
    rule = Adam(beta2=beta2)
    for t, (_, _, v) in enumerate(run_reference(rule, np.zeros(1), np.full((60, 1), g))[1:], start=1):
        assert v / (1 - beta2**t) == pytest.approx(g * g, rel=1e-11)


@each_average
@every_dtype
def test_the_kernels_m_hat_is_the_gradient(rule: Rule, dtype: np.dtype) -> None:
    g = gradients(1, N)
    for t in (1, 2, 10, 1000):
        _, m, *_ = run_kernel(rule, np.zeros(N, dtype), np.repeat(g, t, axis=0))
        # m forgets its roundings with β1 = .9, so ten of them count; β1 itself may be off by one more.
        np.testing.assert_allclose(m / (1 - 0.9**t), g[0], rtol=20 * float(np.finfo(dtype).eps))


@pytest.mark.parametrize("t", [1, 3, 10, 100])
def test_in_the_mean_over_random_gradients_too(t: int) -> None:
    """E[m̂] = E[g] and E[v̂] = E[g²], within five standard errors over 20,000 elements."""
    grads = np.random.default_rng(0).normal(0.3, 1.0, (t, 20_000))
    _, m, v = run_reference(Adam(), np.zeros(20_000), grads)[-1]
    for corrected, expected in [(m / (1 - 0.9**t), 0.3), (v / (1 - 0.999**t), 1 + 0.3**2)]:
        assert abs(corrected.mean() - expected) <= 5 * corrected.std() / 20_000**0.5


def test_without_correction_the_first_moments_are_too_small() -> None:
    """Section 6.4: at β2 near 1 the uncorrected first step is (1 - β1) / √(1 - β2) of the corrected one."""
    steps = [
        -run_reference(Adam(lr=1.0, eps=0, bias_correction=corrected), np.zeros(1), np.ones((1, 1)))[-1][0]
        for corrected in (True, False)
    ]
    np.testing.assert_allclose(steps, [[1.0], [0.1 / 0.001**0.5]], rtol=1e-13)
