"""Scalars are one text for numbers, arrays of t and traced numbers; on the host they are plain floats."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rule_cases import CASES

from adamas.backends import array_scalars, host_carry, host_scalars
from adamas.rules import SGD, Adam, AMSGrad, NAdam, RAdam, Rule

STEPS = np.array([1, 2, 3, 4, 5, 6, 7, 10, 100, 1000, 12_345, 10**6])
MORE: dict[str, Rule] = {
    **CASES,
    **{f"RAdam-{beta2}": RAdam(beta2=beta2) for beta2 in (0.0, 0.5, 0.6, 0.66, 2 / 3, 0.9, 0.9999)},
}
every_rule = pytest.mark.parametrize("name", MORE)


def carried_at(rule: Rule, t: int) -> tuple[float, ...]:
    carried = tuple(rule.carried.values())
    for k in range(1, min(t, 200) + 1):
        carried = host_carry(rule, k, *carried)
    return carried


def by_number(rule: Rule) -> np.ndarray:
    return np.array([host_scalars(rule, int(t), *carried_at(rule, int(t))) for t in STEPS]).T


def carried_columns(rule: Rule) -> list[np.ndarray]:
    return list(np.array([carried_at(rule, int(t)) for t in STEPS]).T)


@every_rule
def test_an_array_of_steps(name: str) -> None:
    """No warning either: nothing is divided by 0, and no root is taken of less, where it is not used."""
    rule = MORE[name]
    with np.errstate(divide="raise", over="raise", invalid="raise"):
        found = array_scalars(rule, STEPS, *carried_columns(rule), xp=np)
    for row, expected in zip(found, by_number(rule), strict=True):
        # A last bit of β^t is many of ρ, a difference of two numbers of the order of 2 / (1 - β).
        np.testing.assert_allclose(np.broadcast_to(row, STEPS.shape), expected, rtol=1e-10)


@every_rule
def test_traced_by_jax(name: str) -> None:
    jax = pytest.importorskip("jax")
    rule = MORE[name]
    with jax.enable_x64(True):
        traced = jax.jit(lambda t, *carried: array_scalars(rule, t, *carried, xp=jax.numpy))
        for t, *carried, expected in zip(STEPS, *carried_columns(rule), by_number(rule).T, strict=True):
            found = [float(x) for x in traced(float(t), *carried)]
            np.testing.assert_allclose(found, expected, rtol=1e-10)


@pytest.mark.parametrize("name", [name for name in MORE if MORE[name].carried])
def test_carry_is_traced_by_jax(name: str) -> None:
    jax = pytest.importorskip("jax")
    from adamas.backends import bind

    rule = MORE[name]
    with jax.enable_x64(True):
        carry = jax.jit(lambda t, *carried: bind(type(rule).carry, jax.numpy)(rule, t, *carried))
        for t in (1, 5, 100):
            before = carried_at(rule, t - 1)
            np.testing.assert_allclose(carry(float(t), *before), host_carry(rule, t, *before), rtol=1e-12)


@every_rule
@given(t=st.integers(1, 10**9))
def test_on_the_host_they_are_floats(name: str, t: int) -> None:
    rule = MORE[name]
    carried = host_carry(rule, t, *rule.carried.values())
    assert all(type(x) is float and math.isfinite(x) for x in (*host_scalars(rule, t, *carried), *carried))


@pytest.mark.parametrize("rule", [Adam(), AMSGrad(), RAdam(), SGD(momentum=0.9, dampening=0.5), NAdam()])
def test_on_the_host_no_array_is_made(rule: Rule, monkeypatch: pytest.MonkeyPatch) -> None:
    import adamas.backends._bind as binding

    binding._HOST_SCALARS.clear()

    def called(*_: Any) -> Any:
        raise AssertionError("NumPy was called")

    for name in ("where", "sqrt", "maximum", "minimum", "abs", "sign"):
        monkeypatch.setattr(np, name, called)
    host_scalars(rule, 3, *((0.5,) if rule.carried else ()))


def rectified_by_hand(beta2: float, t: int) -> float | None:
    """The factor r of the paper; None where the step is not rectified."""
    limit = 2 / (1 - beta2) - 1
    rho = limit - 2 * t * beta2**t / (1 - beta2**t)
    if rho <= 5:
        return None
    return math.sqrt((rho - 4) * (rho - 2) * limit / ((limit - 4) * (limit - 2) * rho))


@pytest.mark.parametrize("beta2", [0.0, 0.5, 0.6, 0.66, 0.9, 0.999])
def test_radam_rectifies_where_the_paper_does(beta2: float) -> None:
    for t in (1, 2, 5, 6, 7, 100, 5000):
        *_, step, adaptive, eps = host_scalars(RAdam(lr=1.0, beta1=0.0, beta2=beta2), t)
        r = rectified_by_hand(beta2, t)
        assert adaptive == (r is not None)
        assert eps == 1e-8
        assert step == pytest.approx(1.0 if r is None else r * math.sqrt(1 - beta2**t), rel=1e-12)


@pytest.mark.parametrize("name", CASES)
def test_a_rule_that_does_not_count_tells_only_the_first_step(name: str) -> None:
    rule = CASES[name]
    if type(rule).counts_steps:
        assert type(rule) is not SGD
        return
    later = {host_scalars(rule, t) for t in (2, 3, 10, 1000)}
    assert len(later) == 1


def test_a_rule_may_use_xp_in_methods_of_its_own() -> None:
    from dataclasses import dataclass

    from adamas.rules import xp

    @dataclass(frozen=True)
    class Warm(Rule):
        lr: float = 1.0

        def factor(self, t):
            return xp.minimum(1.0, t / 4)

        def scalars(self, t):
            return (self.lr * self.factor(t),)

        @staticmethod
        def update(p, g, lr):
            return (p - lr * g,)

    assert host_scalars(Warm(), 2) == (0.5,)
    assert type(host_scalars(Warm(), 2)[0]) is float
    np.testing.assert_array_equal(array_scalars(Warm(), np.array([1, 2, 8]), xp=np)[0], [0.25, 0.5, 1.0])


CONSTANT = 2.0


def test_a_changed_constant_of_the_scalars_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import dataclass

    from adamas.rules import xp

    @dataclass(frozen=True)
    class Constant(Rule):
        lr: float = 1.0

        def scalars(self, t):
            return (xp.maximum(self.lr, CONSTANT),)

        @staticmethod
        def update(p, g, lr):
            return (p - lr * g,)

    assert host_scalars(Constant(), 1) == (2.0,)
    monkeypatch.setitem(globals(), "CONSTANT", 3.0)
    assert host_scalars(Constant(), 1) == (3.0,)
    monkeypatch.setattr(Constant, "scalars", lambda self, t: (7.0,))
    assert host_scalars(Constant(), 1) == (7.0,)
