"""Rounding keeps the mean in every slot: where gradients turn and alternate, state and parameters follow.

A moving average that is rounded to nearest stops where a step no longer reaches half a code: it then goes on
in the old direction, and Lion walks the wrong way for ever. Many equal elements are beside the float64
reference here; a few others keep the scale of each block, or would have codes exactly.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from code_support import SCALED, fits_rule
from format_support import Driver
from rule_cases import FORMS, run_reference

from adamas.backends import host_carry, reference
from adamas.formats import BLOCK, Format
from adamas.rules import SGD, Adam, Lion, Rule

BLOCKS, STEPS = 256, 240
LOOK = (90, 104, 120, 160, STEPS)
KEEPERS = np.arange(BLOCKS * BLOCK) % BLOCK == 0

RULES: dict[str, Rule] = {
    **{name: rule for name, rule in FORMS.items() if rule.form().slots},
    "SGD-.99": SGD(momentum=0.99),
    "Adam-.99": Adam(beta1=0.99),
    "Adam-.5": Adam(beta1=0.5, beta2=0.9),
    "Lion-.9": Lion(beta2=0.9),
}


def turning(t: int) -> float:
    return 0.9 if t <= 100 else -0.9


def alternating(t: int) -> float:
    return 0.9 if t % 2 else -0.7


def in_turn(t: int) -> float:
    """Long silence between blows."""
    return 0.9 if t % 10 == 1 else 0.01


PATTERNS: list[Callable[[int], float]] = [turning, alternating, in_turn]


CASES = [(name, format) for name, rule in RULES.items() for format in SCALED if fits_rule(rule, format)]


def linear_slots(rule: Rule) -> list[bool]:
    """Of each slot whether its next value is, in the mean, that of the mean state: noise shifts others."""
    form, p = rule.form(), np.array([1.0])
    carried = host_carry(rule, 5, *rule.carried.values())
    base = [np.array([0.3 + 0.1 * k]) for k in range(len(form.slots))]

    def following(g: float, signs: tuple[float, ...]) -> list[float]:
        slots = [x * (1 + 0.3 * sign) for x, sign in zip(base, signs, strict=True)]
        _, *after = reference.step(rule, 5, p, np.array([g]), slots, carried=carried)
        return [float(x[0]) for x in after]

    found = np.ones(len(base), bool)
    for g in (0.02, 0.37, 0.7, 1.2, 3.0):
        plain = np.array(following(g, (0.0,) * len(base)))
        for k in range(2 ** len(base)):
            signs = tuple(1.0 if k >> n & 1 else -1.0 for n in range(len(base)))
            both = np.array([following(g, signs), following(g, tuple(-x for x in signs))])
            found &= np.abs(both.mean(axis=0) - plain) <= 1e-9
    return list(found)


def test_linear_slots_are_found() -> None:
    assert linear_slots(Adam()) == [True, True]
    assert linear_slots(SGD(momentum=0.9)) == [True]
    assert linear_slots(FORMS["AMSGrad"])[:2] == [True, True]
    assert not all(linear_slots(FORMS["AdaBelief"]))


def assert_mean(values: np.ndarray, expected: float, allowed: float, what: str) -> None:
    """Of the elements that do not keep the scale, to five standard errors of the means of blocks."""
    blocks = values.astype(np.float64).reshape(BLOCKS, BLOCK)[:, 1:].mean(axis=1)
    error = blocks.std() / BLOCKS**0.5
    off = blocks.mean() - expected
    assert abs(off) <= 5 * error + allowed, f"{what}: {blocks.mean()} for {expected}, ± {error}"


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize(("name", "format"), CASES)
def test_state_and_parameters_follow_the_reference(
    name: str, format: str, pattern: Callable[[int], float]
) -> None:
    """Slots to their standard error where they are linear; parameters, in which roots of noise and
    quotients by it are, to a tenth of their path as well."""
    rule = RULES[name]
    linear = linear_slots(rule)
    grads = np.array([[1.0, pattern(t)] for t in range(1, STEPS + 1)])
    history = run_reference(rule, np.ones(2), list(grads))
    path = np.abs(np.diff([float(x[0][1]) for x in history])).cumsum()
    driver = Driver(rule, [np.ones(BLOCKS * BLOCK)], "float32", format)
    for t in range(1, STEPS + 1):
        driver.step(np.where(KEEPERS, 1.0, pattern(t)))
        if t not in LOOK:
            continue
        p, *slots = history[t]
        assert_mean(driver.params[0].values, float(p[1]), 0.1 * path[t - 1] + 1e-6, f"step {t}, p")
        for stored, exact, is_linear in zip(driver.slots[0], slots, linear, strict=True):
            # The reference counts in float64, and a value below the smallest code is that.
            floor = 0.0 if stored.format.signed else lowest(stored.spread.max(), stored.format)
            if is_linear and exact[1] >= -np.inf and not 0 < exact[1] < floor:
                allowed = 1e-5 * abs(float(exact[0])) + 1e-6 * abs(float(exact[1]))
                assert_mean(stored.values, float(exact[1]), allowed, f"step {t}, slot")


def lowest(scale: float, format: Format) -> float:
    codes = np.arange(1 << 8 // format.packs).astype(format.stored)
    assert format.decode is not None
    values = format.decode(codes, np.float32(scale))
    return 4 * float(values[values > 0].min())


# The cases as they were reported.


def moved(rule: Rule, format: str) -> float:
    driver = Driver(rule, [np.zeros(4096)], "float32", format)
    keepers = np.arange(4096) % BLOCK == 0
    for t in range(400):
        driver.step(np.where(keepers, 1.0, 0.9 if t < 100 else -0.9))
    return float(driver.params[0].values[~keepers].mean(dtype=np.float64))


@pytest.mark.parametrize("format", [name for name in SCALED if fits_rule(Lion(), name)])
def test_momentum_turns_with_the_gradient(format: str) -> None:
    """float32 ends at .122 and 9.80; to nearest, float8 ended at -.4 and -25.7."""
    lion, momentum = Lion(lr=1e-3), SGD(lr=1e-3, momentum=0.99)
    assert moved(lion, "float32") == pytest.approx(0.122, abs=1e-3)
    assert moved(lion, format) == pytest.approx(0.122, abs=0.01)
    exact = moved(momentum, "float32")
    assert moved(momentum, format) == pytest.approx(exact, rel=0.02)
