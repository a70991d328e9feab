"""Decay that is cautious, squared in lr, or independent of it, beside the reference."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from optax_support import train
from rule_cases import CASES, gradients, parameters, with_lr

import adamas.optax
from adamas.backends import Envelope, host_carry, only_shifts, reference
from adamas.rules import LAMB, SGD, Adam, Rule, ScheduleFreeAdamW

jax = pytest.importorskip("jax")
optax = pytest.importorskip("optax")
jnp = jax.numpy

N, DECAY, RATES = 23, 0.05, (0.01, 0.04, 0.02, 0.0, 0.03)
DECOUPLED: dict[str, Any] = {"weight_decay": DECAY, "decoupled_weight_decay": True}
SCALINGS = ("lr", "squared", "independent")


@dataclasses.dataclass(frozen=True)
class Shrinking(Rule):
    """A rule that does more with p than to subtract from it."""

    lr: float = 0.1

    def scalars(self, t):
        return (self.lr,)

    @staticmethod
    def update(p, g, lr):
        return (p / (1 + lr * g * g) - lr * g,)


RULES = {"Adam": CASES["Adam"], "NAdam": CASES["NAdam"], "Shrinking": Shrinking()}


def schedule(count: Any) -> Any:
    return jnp.asarray(RATES)[count]


def judged(rule: Rule, cautious: bool, scaling: str) -> np.ndarray:
    p, carried, slots = parameters(N), tuple(rule.carried.values()), reference.init(rule, parameters(N))
    largest = max(RATES)
    for t, (lr, g) in enumerate(zip(RATES, gradients(len(RATES), N), strict=True), start=1):
        factors = {"lr": lr, "squared": lr * lr / largest, "independent": lr / largest}
        now, part = with_lr(rule, lr), factors[scaling] * DECAY
        carried = host_carry(now, t, *carried)
        envelope = Envelope(cautious_decay=part) if cautious else Envelope(decay_factor=1 - part)
        p, *slots = reference.step(now, t, p, g, slots, carried=carried, envelope=envelope)
    return p


@pytest.mark.parametrize("scaling", SCALINGS)
@pytest.mark.parametrize("cautious", [False, True])
@pytest.mark.parametrize("name", RULES)
def test_it_is_that_of_the_reference(name: str, cautious: bool, scaling: str) -> None:
    rule = RULES[name]
    with jax.enable_x64(True):
        made = adamas.optax.from_rule(
            rule,
            **DECOUPLED,
            cautious_decay=cautious,
            decay_scaling=scaling,
            lr_max=max(RATES),
            lr=schedule,
        )
        moved, _ = train(made, jnp.asarray(parameters(N)), jnp.asarray(gradients(len(RATES), N)))
    np.testing.assert_allclose(moved, judged(rule, cautious, scaling), rtol=1e-12, atol=1e-13)


def test_the_rules_are_of_both_kinds() -> None:
    assert {only_shifts(rule) for rule in RULES.values()} == {False, True}


@pytest.mark.parametrize("scaling", ["squared", "independent"])
def test_numbers_that_are_injected(scaling: str) -> None:
    """lr and its largest may be set between steps."""
    make = optax.inject_hyperparams(adamas.optax.sgd)
    made = make(lr=0.1, lr_max=0.4, decay_scaling=scaling, **DECOUPLED)
    p, state = jnp.ones(2), made.init(jnp.ones(2))
    for lr, largest in ((0.1, 0.4), (0.2, 0.8)):
        state.hyperparams.update(lr=jnp.float32(lr), lr_max=jnp.float32(largest))
        updates, state = made.update(jnp.zeros(2), state, p)
        expected = DECAY * lr / largest * (lr if scaling == "squared" else 1)
        np.testing.assert_allclose(updates, -expected * p, rtol=1e-5)


def test_the_largest_of_a_number_is_itself() -> None:
    made = adamas.optax.sgd(lr=0.25, decay_scaling="independent", **DECOUPLED)
    updates, _ = made.update(jnp.zeros(2), made.init(jnp.ones(2)), jnp.ones(2))
    np.testing.assert_allclose(updates, -DECAY, rtol=1e-6)


COUPLED: dict[str, Any] = {"weight_decay": DECAY}
MISTAKES: dict[str, tuple[dict[str, Any], str]] = {
    "coupled": ({**COUPLED, "cautious_decay": True}, "pass decoupled_weight_decay=True"),
    "coupled and scaled": (
        {**COUPLED, "decay_scaling": "squared"},
        "decay_scaling='squared' is of decoupled",
    ),
    "unknown": ({"decay_scaling": "scaled"}, "'lr', 'squared' or 'independent', got 'scaled'"),
    "a schedule": ({**DECOUPLED, "decay_scaling": "squared", "lr": schedule}, "needs lr_max"),
    "below lr": (
        {**DECOUPLED, "decay_scaling": "squared", "lr_max": 1e-4},
        "largest lr of the schedule, got",
    ),
    "zero": ({**DECOUPLED, "decay_scaling": "squared", "lr": schedule, "lr_max": 0.0}, "lr_max must be"),
}


@pytest.mark.parametrize("options", [{"cautious_decay": True}, {"decay_scaling": "squared"}], ids=str)
@pytest.mark.parametrize("name", [name for name, rule in CASES.items() if hasattr(rule, "weight_decay")])
def test_rules_that_decay_by_themselves_are_told(name: str, options: dict[str, Any]) -> None:
    for decay in (0.1, jnp.float32(0.1)):
        with pytest.raises(ValueError, match="decays parameters itself"):
            adamas.optax.from_rule(CASES[name], weight_decay=decay, **options)


@pytest.mark.parametrize("rule", [LAMB(weight_decay=DECAY), ScheduleFreeAdamW(weight_decay=DECAY)], ids=repr)
def test_a_decay_of_zero_is_given_and_none_is_the_rules_own(rule: Rule) -> None:
    def moved(rule: Rule, **options: Any) -> Any:
        made = adamas.optax.from_rule(rule, **options)
        updates, _ = made.update(jnp.ones(2), made.init(jnp.ones(2)), jnp.asarray([3.0, -1.0]))
        return updates

    without = moved(dataclasses.replace(rule, weight_decay=0.0))
    np.testing.assert_array_equal(moved(rule, weight_decay=0), without)
    assert not np.allclose(moved(rule), without)


@pytest.mark.parametrize("mistake", MISTAKES)
@pytest.mark.parametrize("rule", [Adam(), SGD()], ids=["Adam", "SGD"])
def test_mistakes_are_told(rule: Rule, mistake: str) -> None:
    options, told = MISTAKES[mistake]
    with pytest.raises(ValueError, match=told):
        adamas.optax.from_rule(rule, **options)
