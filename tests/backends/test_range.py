"""The range of float32: large and small gradients beside the float64 reference, whatever ε is."""

import dataclasses
import functools
from typing import Any

import numpy as np
import pytest
from rule_cases import CASES, Driver, has_sums, run_kernel, run_reference

from adamas.rules import ADOPT, Adam, AMSGrad, RAdam, RMSprop, Rule, Yogi

FLOAT32 = np.dtype(np.float32)
TINY = float(np.finfo(FLOAT32).tiny)
EPS = [0.0, 1e-38, 1e-30, 1e-16, 1e-8]
SIZES = [1e-30, 1e-25, 1e-22, 1e-20, 1e-19, 1e-18, 1e-16, 1e-12, 1e-4, 1.0, 1e10, 1e18, 1e20]
WITH_EPS = [name for name, rule in CASES.items() if hasattr(rule, "eps")]
# Gradients whose squares, times 1 - β, float32 holds with some digits, and whose sums it holds at all.
HELD = (1e-19, 1e18)


def with_eps(name: str, eps: float) -> Rule:
    return dataclasses.replace(CASES[name], eps=eps)  # type: ignore[call-arg]


def steps_of(size: float, steps: int = 40, n: int = 8) -> np.ndarray:
    """Gradients of about one size and mostly one sign, then none; all are float32 numbers."""
    random = np.random.default_rng(0)
    shown = random.uniform(0.5, 1.5, (steps, n)) * random.choice([1, 1, 1, -1], (steps, n)) * size
    return np.concatenate([shown, np.zeros((3, n))]).astype(np.float32).astype(np.float64)


@functools.cache
def moved(name: str, eps: float, size: float, dtype: str, steps: int) -> np.ndarray:
    p = np.zeros(8, dtype)
    grads = steps_of(size)[:steps].astype(dtype)
    with np.errstate(all="ignore"):
        return run_reference(with_eps(name, eps), p, list(grads))[-1][0]


@pytest.mark.parametrize("name", [name for name in WITH_EPS if not has_sums(CASES[name])])
@pytest.mark.parametrize("eps", EPS)
def test_kernels_are_as_the_reference_at_every_size(name: str, eps: float) -> None:
    """As whole arrays of float32, which lose nothing below the normal numbers; after 1, 5, 40 and 43 steps.

    And as float64 wherever float32 holds the squares of the gradients.
    """
    for size in SIZES:
        for steps in (1, 5, 40, 43):
            actual, *_ = run_kernel(with_eps(name, eps), np.zeros(8, FLOAT32), steps_of(size)[:steps])
            expected, exact = (moved(name, eps, size, dtype, steps) for dtype in ("float32", "float64"))
            with np.errstate(all="ignore"):
                # Of a subnormal second moment a digit is lost where its last bit is.
                loose = 2e-2 if size < 1e-17 else 1e-4
                finite = np.isfinite(expected) & (np.abs(expected) < 1e30)
                close = np.isclose(actual, expected, rtol=loose, atol=loose * np.abs(exact).max())
                if HELD[0] <= size <= HELD[1]:
                    close &= np.isclose(actual, exact, rtol=loose, atol=loose * np.abs(exact).max())
            assert (close | ~finite).all(), (size, steps, actual, expected, exact)


@pytest.mark.parametrize("eps", [1e-30, 1e-38, 0.0])
@pytest.mark.parametrize(
    "rule", [Adam(), AMSGrad(), RMSprop(), RAdam()], ids=lambda rule: type(rule).__name__
)
def test_small_gradients_make_steps_of_the_usual_length(rule: Any, eps: float) -> None:
    """Their squares begin below the normal numbers, and have to be able to grow."""
    p, *_ = run_kernel(
        dataclasses.replace(rule, eps=eps, lr=1.0), np.zeros(4, FLOAT32), np.full((200, 4), 1e-18)
    )
    q, *_ = run_reference(
        dataclasses.replace(rule, eps=eps, lr=1.0), np.zeros(4), list(np.full((200, 4), 1e-18))
    )[-1]
    np.testing.assert_allclose(p, q, rtol=1e-3)


def holds_squares(rule: Any) -> bool:
    """Whether it averages squares with a weight of 1e-3: at 1e-2 that of 1e20 is beyond float32, as in torch.

    ADOPT begins with the first square, Yogi compares squares, and sums are of them.
    """
    return 1 - getattr(rule, "beta2", 0.0) < 2e-3 and not has_sums(rule) and type(rule) not in (ADOPT, Yogi)


@pytest.mark.parametrize("name", [name for name in WITH_EPS if holds_squares(CASES[name])])
def test_gradients_of_1e20_do_not_overflow(name: str) -> None:
    """The square is multiplied by 1 - β before it is infinite, as in torch."""
    rule = CASES[name]
    p, *slots = run_kernel(rule, np.zeros(4, FLOAT32), np.full((3, 4), 1e20))
    assert all(np.isfinite(array).all() for array in (p, *slots))
    expected = run_reference(rule, np.zeros(4), list(np.full((3, 4), 1e20)))[-1][0]
    np.testing.assert_allclose(p, expected, rtol=1e-5)


def test_an_unrectified_step_of_radam_does_not_see_an_infinite_moment() -> None:
    p, _, v = run_kernel(RAdam(), np.zeros(4, FLOAT32), np.full((3, 4), 1e25))
    assert np.isinf(v).all()
    np.testing.assert_allclose(p, -3e-3 * 1e25, rtol=1e-5)


def test_an_alpha_of_one_keeps_what_there_is() -> None:
    """Not 0 * inf where a square is infinite."""
    _, v = run_kernel(RMSprop(alpha=1), np.zeros(4, FLOAT32), np.full((3, 4), 1e25))
    np.testing.assert_array_equal(v, 0)


# A mean that loses 1e-4 a step outlives this silence, and with it what it is over.
FADING = [name for name in CASES if not has_sums(CASES[name]) and getattr(CASES[name], "beta3", 0) <= 0.999]


@pytest.mark.parametrize("name", FADING)
@pytest.mark.parametrize("eps", [0.0, 1e-30, 1e-8])
def test_without_gradients_no_subnormal_number_is_left(name: str, eps: float) -> None:
    """They are slow: in the end there are none, and the steps were finite."""
    rule = with_eps(name, eps) if name in WITH_EPS else CASES[name]
    driver = Driver(rule, [np.zeros(64, FLOAT32)])
    driver.step((10.0 ** np.linspace(-18, 2, 64)).astype(FLOAT32))
    before, silence = driver.params[0].copy(), np.zeros(64, FLOAT32)
    for _ in range(12_000):
        driver.step(silence)
    for array in driver.slots[0]:
        assert ((array == 0) | ~(np.abs(array) < TINY)).all()
    assert not np.isnan(driver.params[0][np.isfinite(before)]).any()
