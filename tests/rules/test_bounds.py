"""The bounds on a step: section 2.1 of the paper for Adam, section 7.1 for AdaMax, and what is true of them.

With ε = 0 and any gradients the Cauchy-Schwarz inequality gives, and one sequence attains,

    |Δ_t| ≤ α · √(1 - β2^t) / (1 - β1^t) · (1 - β1) / √(1 - β2) · √(Σ_{k<t} (β1² / β2)^k).

For large t and β1² < β2 that is α · (1 - β1) / √((1 - β2)(1 - β1² / β2)), which is α where β1 = β2
and more everywhere else: 7.27 α at the default β's. The paper prints α · (1 - β1) / √(1 - β2), here
3.16 α, where 1 - β1 > √(1 - β2), and α otherwise. Its first bound holds for the sequences that it
speaks of, a single gradient after none; neither holds for all.
"""

import math
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from adamas.backends import reference
from adamas.rules import Adam, AdaMax, AMSGrad, Rule

# So small that it changes no digit, so that gradients of 0 divide; a larger ε only shortens a step.
EPS = 1e-100
ROUNDING = 1 + 1e-9

betas = st.floats(0, 0.9999)
# Zero, or of a size whose square is a normal number, like that of every other.
elements = st.just(0.0) | st.floats(1e-3, 1e3) | st.floats(-1e3, -1e-3)
sequences = st.lists(elements, min_size=1, max_size=40)


def steps_of(rule: Rule, grads: Sequence[float], first: int = 1) -> Iterator[float]:
    """Each step that the rule takes, free of the rounding of p.

    Zero gradients leave zero slots as they are, so beginning at step `first` is the same as having
    had none until then.
    """
    slots: Sequence[np.ndarray] = reference.init(rule, np.zeros(1))
    for t, g in enumerate(grads, start=first):
        moved, *slots = reference.step(rule, t, np.zeros(1), np.array([g]), slots)
        yield -moved[0]


def provable(beta1: float, beta2: float, t: int) -> float:
    """The bound of the Cauchy-Schwarz inequality on |Δ_t| / α."""
    correction = math.sqrt(1 - beta2**t) / (1 - beta1**t)
    ratio = sum((beta1 / beta2 * beta1) ** k for k in range(t)) if beta1 else 1.0
    return correction * (1 - beta1) / math.sqrt(1 - beta2) * math.sqrt(ratio)


def printed(beta1: float, beta2: float) -> float:
    """The paper's bound on |Δ_t| / α."""
    ratio = (1 - beta1) / math.sqrt(1 - beta2)
    return max(ratio, 1.0)


# Adam.


@given(beta1=betas, beta2=st.floats(0.01, 0.9999), grads=sequences)
def test_adam_stays_within_the_provable_bound(beta1: float, beta2: float, grads: list[float]) -> None:
    rule = Adam(lr=1.0, beta1=beta1, beta2=beta2, eps=EPS)
    for t, step in enumerate(steps_of(rule, grads), start=1):
        assert abs(step) <= provable(beta1, beta2, t) * ROUNDING


@pytest.mark.parametrize(("beta1", "beta2"), [(0.9, 0.999), (0.9, 0.98), (0.5, 0.5), (0.9, 0.7)])
@pytest.mark.parametrize("t", [1, 2, 10, 60])
def test_the_provable_bound_is_attained(beta1: float, beta2: float, t: int) -> None:
    """By gradients that grow by β2 / β1 a step: there the inequality is an equation."""
    grads = [(beta1 / beta2) ** (t - k) for k in range(1, t + 1)]
    *_, last = steps_of(Adam(lr=1.0, beta1=beta1, beta2=beta2, eps=EPS), grads)
    assert last == pytest.approx(provable(beta1, beta2, t), rel=1e-9)


@given(beta=st.floats(0.01, 0.9999), grads=sequences)
def test_adam_stays_within_its_stepsize_where_both_decays_are_one(beta: float, grads: list[float]) -> None:
    """|m̂| ≤ √v̂ is Jensen's inequality there: both are means with the same weights."""
    assert all(abs(step) <= ROUNDING for step in steps_of(Adam(1.0, beta, beta, EPS), grads))


@given(beta1=betas, beta2=st.floats(0.01, 0.9999), t=st.integers(1, 5000), g=elements)
def test_the_printed_bounds_hold_for_a_single_gradient(beta1: float, beta2: float, t: int, g: float) -> None:
    """The case the paper calls the most severe sparsity: zero at all timesteps except the current one."""
    (step,) = steps_of(Adam(lr=1.0, beta1=beta1, beta2=beta2, eps=EPS), [g], first=t)
    assert abs(step) <= printed(beta1, beta2) * ROUNDING


@given(grads=st.lists(st.floats(0.5, 1), min_size=1, max_size=200))
def test_adam_steps_about_its_stepsize_in_common_scenarios(grads: list[float]) -> None:
    """The paper's |m̂ / √v̂| ≈ 1 where gradients keep their sign and size: between 1/2 and 2."""
    assert all(0.5 / ROUNDING <= step <= 2 * ROUNDING for step in steps_of(Adam(1.0, eps=EPS), grads))


def test_finding_the_first_printed_bound_is_exceeded_by_two_gradients_after_none() -> None:
    """Section 2.1, default β's, printed bound 3.16 α: the second of two equal gradients moves by 4.25 α."""
    assert printed(0.9, 0.999) == pytest.approx(3.1623, abs=1e-4)
    *steps, second = steps_of(Adam(lr=1.0, eps=EPS), [1.0, 1.0], first=20_000)
    assert steps == pytest.approx([3.1623], abs=1e-4)
    assert second == pytest.approx((1 - 0.9**2) / math.sqrt(1 - 0.999**2), rel=1e-6)
    assert second > 4.24


def test_finding_the_first_printed_bound_is_exceeded_more_than_twofold() -> None:
    """The largest step there is, at gradients that grow by β2 / β1 a step, is 7.27 α."""
    grads = [(0.9 / 0.999) ** k for k in range(150, -1, -1)]
    *_, last = steps_of(Adam(lr=1.0, eps=EPS), grads, first=20_000)
    assert last == pytest.approx(0.1 / math.sqrt(0.001 * (1 - 0.81 / 0.999)), rel=1e-6)
    assert last > 2.29 * printed(0.9, 0.999)


def test_finding_the_second_printed_bound_is_exceeded_too() -> None:
    """β1 = .9, β2 = .98 is the paper's "otherwise", with the bound α: three equal gradients reach 1.12 α."""
    assert math.sqrt(1 - 0.98) >= 1 - 0.9
    *_, third = steps_of(Adam(lr=1.0, beta2=0.98, eps=EPS), [1.0] * 3, first=2_000)
    assert third == pytest.approx((1 - 0.9**3) / math.sqrt(1 - 0.98**3), rel=1e-6)
    assert third > 1.11


@given(beta1=betas, beta2=st.floats(0.01, 0.9999), grads=sequences)
def test_amsgrad_steps_no_further_than_adam(beta1: float, beta2: float, grads: list[float]) -> None:
    hyperparameters = {"lr": 1.0, "beta1": beta1, "beta2": beta2, "eps": EPS}
    steps = zip(
        steps_of(AMSGrad(**hyperparameters), grads), steps_of(Adam(**hyperparameters), grads), strict=True
    )
    assert all(abs(ours) <= abs(adams) * ROUNDING for ours, adams in steps)


# AdaMax.


def provable_adamax(beta1: float, beta2: float, t: int) -> float:
    """|Δ_t| / α, from |g_{t-k}| ≤ u_t / β2^k, which every gradient obeys."""
    return (1 - beta1) / (1 - beta1**t) * sum((beta1 / beta2) ** k for k in range(t))


@given(beta1=betas, beta2=st.floats(0.5, 0.9999), grads=sequences)
def test_adamax_stays_within_the_provable_bound(beta1: float, beta2: float, grads: list[float]) -> None:
    rule = AdaMax(lr=1.0, beta1=beta1, beta2=beta2)
    for t, step in enumerate(steps_of(rule, grads), start=1):
        assert abs(step) <= provable_adamax(beta1, beta2, t) * ROUNDING


@given(beta1=betas, beta2=betas, grads=sequences)
def test_adamax_stays_within_its_stepsize_while_gradients_do_not_shrink(
    beta1: float, beta2: float, grads: list[float]
) -> None:
    assume(grads[0] != 0)
    signs = np.sign(grads)
    grads = list(np.maximum.accumulate(np.abs(grads)) * np.where(signs == 0, 1, signs))
    assert all(abs(step) <= ROUNDING for step in steps_of(AdaMax(1.0, beta1, beta2), grads))


def test_finding_the_printed_bound_of_adamax_is_exceeded_by_shrinking_gradients() -> None:
    """Section 7.1 prints |Δ_t| ≤ α. Gradients that shrink by β2 a step reach 1.009 α at the default β's."""
    grads = [0.999**k for k in range(200)]
    *_, last = steps_of(AdaMax(lr=1.0), grads)
    assert last == pytest.approx(0.1 / (1 - 0.9 / 0.999), rel=1e-6)
    assert last == pytest.approx(provable_adamax(0.9, 0.999, 200), rel=1e-9)
    assert last > 1.009
