"""Mistakes of whoever writes a rule: each is either computed as meant, or told in one short message."""

import dataclasses
import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rule_cases import Driver, run_kernel, run_reference

from adamas.backends import RuleSourceError, check_rule
from adamas.rules import NONNEGATIVE, SIGNED, Adam, Rule, xp

SLOPE = 0.5
P, G = np.array([1.0, -2.0, 0.5], np.float32), np.array([[1.0, -2.0, 0.5], [-0.25, 3.0, 2.0]])


@dataclass(frozen=True)
class Right(Rule):
    """What all the others deviate from."""

    lr: float = 0.125
    beta: float = 0.5
    slots = {"m": SIGNED}

    def scalars(self, t):
        return self.lr, self.beta

    @staticmethod
    def update(p, g, m, lr, beta):
        m = beta * m + g
        return p - lr * m, m


def of(update: Callable[..., Any], name: str = "Wrong", **attributes: Any) -> type[Rule]:
    """A rule like `Right` with another update, or other attributes."""
    made = type(name, (Right,), {"update": staticmethod(update), "__module__": __name__, **attributes})
    return dataclass(frozen=True)(made)


def by_kernel(rule: Rule) -> Any:
    return run_kernel(rule, P, G)[0]


def by_reference(rule: Rule) -> Any:
    return run_reference(rule, P.astype(np.float64), list(G))[-1][0]


# Works as meant.


def in_place(p, g, m, lr, beta):
    m *= beta
    m += g
    p -= lr * m
    return p, m


def roots(p, g, m, lr, beta):
    m = beta * m + g
    return p - lr * m / (np.sqrt(m * m) + math.sqrt(abs(m)) + 1), m


def largest(p, g, m, lr, beta):
    m = beta * m + abs(g)
    return p - lr * max(m, g, 1e-8) + min(m, 0.25), m


def signs(p, g, m, lr, beta):
    m = beta * m + g
    return p - lr * (m > 0) * xp.where(lr > 0, 1, -1), m


def unrolled(p, g, m, lr, beta):
    for k in range(3):
        m = beta * m + k * g
    return p - lr * m, m


def without_staticmethod(p, g, m, lr, beta):
    m = beta * m + g
    return p - SLOPE * lr * m, m


def numbers_of_other_kinds(self, t):
    return np.float32(self.lr), np.array(self.beta)


def in_a_closure() -> Callable[..., Any]:
    slope, sharpen = 0.25, lambda x: 3 * x
    return lambda p, g, m, lr, beta: (p - slope * lr * sharpen(m), beta * m + g)


FINE: dict[str, type[Rule]] = {
    "in-place operators": of(in_place),
    "roots of other modules": of(roots),
    "max, min and abs of Python": of(largest),
    "a condition as a number": of(signs),
    "a loop over constants": of(unrolled),
    "no staticmethod": dataclass(frozen=True)(type("Plain", (Right,), {"update": without_staticmethod})),
    "a lambda and a closure": of(in_a_closure()),
    "scalars of NumPy": of(Right.update, scalars=numbers_of_other_kinds),
    "a list is returned": of(lambda p, g, m, lr, beta: [p - lr * g, m]),
    "a subclass without fields of its own": type("Sub", (Right,), {}),
}


@pytest.mark.parametrize("kind", FINE)
def test_it_works(kind: str) -> None:
    rule = FINE[kind]()
    p, grads = P.copy(), G.copy()
    expected = by_reference(rule)
    np.testing.assert_allclose(by_kernel(rule), expected, rtol=1e-6)
    assert not np.array_equal(expected, p)
    np.testing.assert_array_equal(P, p)
    np.testing.assert_array_equal(G, grads)


def test_in_place_operators_leave_the_callers_arrays_alone() -> None:
    from adamas.backends import reference

    arrays = [np.ones(2), np.ones(2), np.ones(2)]
    for namespace, made in ((np, arrays), (pytest.importorskip("torch"), None)):
        p, g, m = made or [namespace.ones(2) for _ in range(3)]
        reference.step(of(in_place)(), 1, p, g, [m], xp=namespace)
        assert all(float(x.sum()) == 2.0 for x in (p, g, m))


# Is refused, in one sentence: the error, a word of what is wrong, and one of what to write.


def swapped(p, g, lr, m, beta):
    return p - lr * m, m


def misnamed(p, grad, m, lr, beta):
    return p - lr * m, m


def branching(p, g, m, lr, beta):
    if m > 0:
        return p - lr, m
    return p + lr, m


def both(p, g, m, lr, beta):
    return p - lr * xp.where(m > 0 and g > 0, m, g), m


def chained(p, g, m, lr, beta):
    return p - lr * xp.where(0 < m < 1, m, g), m


def too_few(p, g, m, lr, beta):
    return p - lr * g


def too_many(p, g, m, lr, beta):
    return p - lr * g, m, g


def nothing(p, g, m, lr, beta):
    p = p - lr * g


def misspelt(p, g, m, lr, beta):
    return p - lr * gg, m  # noqa: F821


def method(p, g, m, lr, beta):
    return p - lr * g.sign(), m


def unknown(p, g, m, lr, beta):
    return p - lr * xp.tanh(g), m


def centred(p, g, m, lr, beta):
    return p - lr * (g - xp.mean(g)), m


def keyword(p, g, m, *, lr, beta):
    return p - lr * g, m


def with_self(self, p, g, m, lr, beta):
    return p - lr * g, m


def negative(p, g, m, lr, beta):
    return p - lr * g, beta * m + g


def indexed(p, g, m, lr, beta):
    return p - lr * g[0], m


def rounded(p, g, m, lr, beta):
    return p - lr * math.floor(g), m


def scalars(text: str) -> type[Rule]:
    return of(Right.update, scalars=eval(f"lambda self, t: {text}"))


def fields(**annotations: Any) -> Callable[[], Any]:
    return lambda: dataclasses.make_dataclass(
        "Wrong", [(k, *x) for k, x in annotations.items()], bases=(Right,), frozen=True
    )()


def thawed() -> Rule:
    @dataclass
    class Wrong(Rule):
        lr: float = 1.0

    return Wrong()


class Bare(Rule):
    lr: float = 1.0


class Fields(Right):
    gamma: float = 0.5


def without_update() -> Rule:
    @dataclass(frozen=True)
    class Wrong(Rule):
        lr: float = 1.0

        def scalars(self, t):
            return (self.lr,)

    return Wrong()


REFUSED: dict[str, tuple[Callable[[], Rule], type[Exception], str, str]] = {
    "order": (of(swapped), TypeError, "(p, g, lr, m, beta)", "(p, g, m, ...)"),
    "argument": (of(misnamed), TypeError, "(p, grad, m, lr, beta)", "(p, g, m, ...)"),
    "keyword": (of(keyword), TypeError, "positional", "without a *"),
    "self": (of(with_self), TypeError, "self", "@staticmethod"),
    "if": (of(branching), TypeError, "`if`", "xp.where(condition, a, b)"),
    "and": (of(both), TypeError, "`and`", "& or |"),
    "chain": (of(chained), TypeError, "chain", "& or |"),
    "one result": (of(too_few), TypeError, "1 instead of 2", "return p, m"),
    "three results": (of(too_many), TypeError, "3 instead of 2", "return p, m"),
    "no return": (of(nothing), TypeError, "no tuple", "return p, m"),
    "undefined": (of(misspelt), TypeError, "'gg'", "not defined"),
    "index": (of(indexed), TypeError, "index", "one element"),
    "floor": (of(rounded), RuleSourceError, "math.floor is unknown", "xp.sqrt"),
    "method": (of(method), RuleSourceError, "'.sign'", "xp.sign(...)"),
    "unknown function": (of(unknown), RuleSourceError, "xp.tanh is unknown", "xp.sqrt/abs/maximum"),
    "mean": (of(centred), ValueError, "not elementwise", "one element at a time"),
    "negative": (of(negative, slots={"m": NONNEGATIVE}), ValueError, "becomes -", "declare it SIGNED"),
    "no update": (without_update, TypeError, "NoneType", "update(p, g, *slots, *scalars)"),
    "no function": (of(functools.partial(too_few)), TypeError, "partial", "update(p, g, *slots, *scalars)"),
    "one scalar": (scalars("(self.lr,)"), TypeError, "returns 1 and update takes 2", "make them agree"),
    "three scalars": (scalars("(1.0, 2.0, 3.0)"), TypeError, "returns 3 and update takes 2", "slots"),
    "no tuple": (scalars("self.lr"), TypeError, "not float", "return self.lr,"),
    "no scalars": (scalars("None"), TypeError, "not NoneType", "return self.lr,"),
    "a word": (scalars("(self.lr, 'fast')"), TypeError, "number 2 is 'fast'", "returns numbers"),
    "varying": (scalars("(1.0, 2.0)[: 1 + (t == 1)]"), TypeError, "2 numbers at t = 1", "1 at t = 2"),
    "no t": (
        of(Right.update, scalars=lambda self: (1.0, 2.0)),
        TypeError,
        "number of the step",
        "scalars(self, t)",
    ),
    "slots: typo": (
        of(Right.update, slot={"v": SIGNED}),
        TypeError,
        "slot = {...} has no effect",
        "write slots",
    ),
    "slots: list": (of(Right.update, slots=["m"]), TypeError, "not ['m']", '{"m": SIGNED}'),
    "slots: set": (of(Right.update, slots={"m"}), TypeError, "not {'m'}", '{"m": SIGNED}'),
    "slots: number": (of(Right.update, slots={"m": 0.0}), TypeError, "'m'", "SIGNED or NONNEGATIVE"),
    "slots: word": (of(Right.update, slots={"m": "signed"}), TypeError, "'m'", "SIGNED or NONNEGATIVE"),
    "slots: forgotten": (of(Right.update, slots={}), TypeError, "update takes 3", "in slots"),
    **{
        f"slots: {taken}": (
            of(Right.update, slots={taken: SIGNED}),
            ValueError,
            repr(taken),
            "rename the slot",
        )
        for taken in ("step", "average", "p", "g", "params", "weight_decay", "maximize", "beta", "lr")
    },
    "no dataclass": (Bare, TypeError, "Bare", "@dataclass(frozen=True)"),
    "no dataclass, fields": (Fields, TypeError, "Fields", "@dataclass(frozen=True)"),
    "not frozen": (thawed, TypeError, "not @dataclass", "@dataclass(frozen=True)"),
    "whole number": (fields(warmup=(int, 3)), TypeError, "Wrong.warmup", "float, "),
    "pair": (fields(betas=(tuple[float, float], (0.9, 0.99))), TypeError, "Wrong.betas", "float, "),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_it_is_told_in_one_sentence(kind: str) -> None:
    make, error, wrong, right = REFUSED[kind]
    with pytest.raises(error) as caught:
        Driver(make(), [P.copy()])
    message = str(caught.value)
    assert message.startswith(("Wrong", "Bare", "Fields"))
    assert wrong in message
    assert right in message
    assert len(message) <= 240
    assert "\n" not in message
    if error is not RuleSourceError:  # else whole arrays may take it
        with pytest.raises(error) as reference:
            by_reference(make())
        assert str(reference.value) == message


WITH_A_LINE = {
    "if": (branching, 1),
    "and": (both, 1),
    "undefined": (misspelt, 1),
    "unknown function": (unknown, 1),
    "method": (method, 1),
    "index": (indexed, 1),
    "order": (swapped, 0),
    "mean": (centred, 0),
    "one result": (too_few, 0),
}


@pytest.mark.parametrize("kind", WITH_A_LINE)
def test_the_line_is_named(kind: str) -> None:
    function, below = WITH_A_LINE[kind]
    with pytest.raises((TypeError, ValueError)) as caught:
        by_kernel(of(function)())
    assert str(caught.value).endswith(f"({Path(__file__).name}:{function.__code__.co_firstlineno + below})")


def test_only_a_kernel_minds_a_branch_on_a_scalar() -> None:
    def update(p, g, m, lr, beta):
        return (p - lr * g, m) if beta > 0 else (p, m)

    with pytest.raises(RuleSourceError, match=r"xp\.where\(condition, a, b\)"):
        by_kernel(of(update)())
    np.testing.assert_allclose(by_reference(of(update)()), P - 0.125 * G.sum(axis=0))


def test_a_rule_is_checked_once() -> None:
    calls = []

    @dataclass(frozen=True)
    class Counted(Right):
        def scalars(self, t):
            calls.append(t)
            return super().scalars(t)

    check_rule(Counted())
    first = len(calls)
    check_rule(Counted(lr=3.0))
    assert first > 0
    assert len(calls) == first


def test_an_option_that_changes_the_number_of_scalars() -> None:
    @dataclass(frozen=True)
    class Wrong(Right):
        warm: bool = False

        def scalars(self, t):
            return (1.0, 2.0, 3.0) if self.warm else (1.0, 2.0)

    assert np.isfinite(by_kernel(Wrong())).all()
    with pytest.raises(
        TypeError, match=r"^Wrong: scalars\(t\) returns 3 with these options, and update takes 2$"
    ):
        by_kernel(Wrong(warm=True))


def test_an_error_of_a_later_step_is_for_that_step() -> None:
    @dataclass(frozen=True)
    class Failing(Right):
        def scalars(self, t):
            if t == 3:
                raise ArithmeticError("no third step")
            return super().scalars(t)

    assert by_reference(Failing()) is not None


def test_rules_of_the_package_pass() -> None:
    assert check_rule(Adam()).slots == Adam.slots
