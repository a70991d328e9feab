"""The transformations inside optax's wrappers and JAX's transformations: they do what they do elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from optax_support import N, assert_trees_equal, train, tree
from rule_cases import CASES, gradients, parameters

import adamas.optax
from adamas.rules import Lion, Rule, xp

jax = pytest.importorskip("jax")
optax = pytest.importorskip("optax")
jnp = jax.numpy

NAMES = [name for name in adamas.optax.__all__ if name not in ("from_rule", "RuleState")]


def slow(*values: str) -> Any:
    return pytest.param(*values, marks=pytest.mark.slow)


def grads_like(params: Any, steps: int = 4) -> Any:
    """Gradients of some steps, stacked."""
    seeds = iter(range(100))
    return jax.tree.map(
        lambda p: jnp.asarray(
            gradients(steps, max(p.size, 1), next(seeds)).reshape(steps, *p.shape), jnp.float32
        ),
        params,
    )


def alone(transformation: Any) -> Any:
    """The parameters after four steps."""
    return train(transformation, tree(), grads_like(tree()))[0]


# Hyperparameters.


@pytest.mark.parametrize("name", [x if x in ("adam", "sgd", "rmsprop") else slow(x) for x in NAMES])
def test_inject_hyperparams_is_the_same_step(name: str) -> None:
    """Every number is then traced, those that decide what is stored too: unused state is the worst of it."""
    make = getattr(adamas.optax, name)
    injected, expected = alone(optax.inject_hyperparams(make)()), alone(make())
    # 1 - .999 is rounded from a float32 .999 there; a weight decay of 0 is added.
    limit = 5e-5
    for a, b in zip(jax.tree.leaves(injected), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=limit, atol=limit * 1e-2)


def test_a_hyperparameter_of_the_state_may_be_traced_and_no_tracer_is_kept() -> None:
    params = jnp.ones(2)

    @jax.jit
    def start(value: Any) -> Any:
        transformation = adamas.optax.adagrad(1.0, initial_accumulator_value=value)
        return transformation.update(params, transformation.init(params))

    with jax.checking_leaks():
        updates, state = start(3.0)
    np.testing.assert_array_equal(state.slots["G"], [4.0, 4.0])
    np.testing.assert_allclose(updates, [-0.5, -0.5])


def test_an_injected_hyperparameter_can_be_set() -> None:
    transformation = optax.inject_hyperparams(adamas.optax.sgd)(lr=0.5)
    params = jnp.ones(2)
    state = transformation.init(params)
    state.hyperparams["lr"] = jnp.float32(0.25)
    updates, _ = jax.jit(transformation.update)(jnp.ones(2), state, params)
    np.testing.assert_array_equal(updates, [-0.25, -0.25])


@pytest.mark.parametrize("field", ["lr", "beta2", "weight_decay", "average"])
def test_a_schedule_of_any_number_is_read_at_the_steps_taken(field: str) -> None:
    values = [0.5, 0.25, 0.125]
    schedule = lambda count: jnp.asarray(values)[count]  # noqa: E731 - as users write them
    scheduled = adamas.optax.adamw(**{field: schedule})
    params = jnp.asarray(parameters(N), jnp.float32)
    grads, state = jnp.asarray(gradients(3, N), jnp.float32), scheduled.init(params)
    other = adamas.optax.adamw(**{field: 0.5}).init(params)
    moved = still = params
    for k, g in enumerate(grads):
        updates, state = scheduled.update(g, state, moved)
        moved = optax.apply_updates(moved, updates)
        updates, other = adamas.optax.adamw(**{field: jnp.float32(values[k])}).update(g, other, still)
        still = optax.apply_updates(still, updates)
    assert_trees_equal((moved, state), (still, other))
    assert not np.array_equal(moved, params)


def test_a_traced_momentum_is_one_that_is_used() -> None:
    params, grads = jnp.ones(3), jnp.asarray(gradients(4, 3), jnp.float32)
    expected = train(adamas.optax.sgd(0.1, momentum=0.9, nesterov=True), params, grads)[0]
    scheduled = adamas.optax.sgd(0.1, momentum=lambda count: 0.9, nesterov=True)
    np.testing.assert_allclose(train(scheduled, params, grads)[0], expected, rtol=1e-6)

    @dataclass(frozen=True)
    class Late(Rule):
        """Branches and conditions on hyperparameters, alone and with the step."""

        lr: float = 1.0
        after: float = 1.0
        slots = {}

        def scalars(self, t):
            begun = (self.after > 0) & (t > self.after) | (self.lr < self.after)
            return (xp.where(begun, self.lr, 0.0) if self.after != 0 else self.lr,)

        @staticmethod
        def update(p, g, lr):
            return (p - lr * g,)

    for lr, after in ((1.0, 2.0), (3.0, 2.0)):
        fixed, _ = train(adamas.optax.from_rule(Late(lr=lr, after=after)), params, grads)
        traced = adamas.optax.from_rule(Late(), lr=jnp.float32(lr), after=jnp.float32(after))
        np.testing.assert_array_equal(train(traced, params, grads)[0], fixed)
    assert set(scheduled.init(params).slots) == {"b"}


def test_a_hyperparameter_may_be_given_beside_the_rule() -> None:
    one = alone(adamas.optax.from_rule(Lion(beta1=0.8), lr=0.5))
    assert_trees_equal(one, alone(adamas.optax.from_rule(Lion(lr=0.5, beta1=0.8))))


# Wrappers.

WRAPPERS: dict[str, Callable[[Any], Any]] = {
    "chain": lambda tx: optax.chain(optax.identity(), tx),
    "named_chain": lambda tx: optax.named_chain(("first", optax.identity()), ("rule", tx)),
    "multi_transform": lambda tx: optax.multi_transform(
        {"x": tx, "y": tx}, {"w": "x", "pair": ("y", "x"), "none": None, "empty": {}}
    ),
    "masked": lambda tx: optax.masked(tx, {"w": True, "pair": (True, True), "none": None, "empty": {}}),
    "MultiSteps": lambda tx: optax.MultiSteps(tx, 1).gradient_transformation(),
    "apply_if_finite": lambda tx: optax.apply_if_finite(tx, 3),
    "flatten": lambda tx: optax.flatten(tx),
}


@pytest.mark.parametrize(
    ("name", "rule"),
    [*((name, "RMSprop-momentum") for name in WRAPPERS), slow("MultiSteps", "NAdam")],
)
def test_a_wrapper_that_does_nothing_changes_nothing(name: str, rule: str) -> None:
    transformation = adamas.optax.from_rule(CASES[rule])
    for a, b in zip(
        jax.tree.leaves(alone(WRAPPERS[name](transformation))),
        jax.tree.leaves(alone(transformation)),
        strict=True,
    ):
        np.testing.assert_allclose(a, b, rtol=1e-6)


def test_multi_steps_steps_with_the_mean() -> None:
    transformation = optax.MultiSteps(adamas.optax.rmsprop(0.1), 2).gradient_transformation()
    params, grads = jnp.ones(N), jnp.asarray(gradients(4, N), jnp.float32)
    expected, _ = train(adamas.optax.rmsprop(0.1), params, grads.reshape(2, 2, N).mean(1))
    np.testing.assert_allclose(train(transformation, params, grads)[0], expected, rtol=1e-6)


def test_a_gradient_that_is_not_finite_is_left_out() -> None:
    params, grads = jnp.ones(N), jnp.asarray(gradients(3, N), jnp.float32)
    transformation = optax.apply_if_finite(adamas.optax.rmsprop(0.1), 5)
    expected = train(transformation, params, grads)
    with_nan = jnp.concatenate([grads[:2], jnp.full((1, N), jnp.nan), grads[2:]])
    found = train(transformation, params, with_nan)
    assert_trees_equal((found[0], found[1].inner_state), (expected[0], expected[1].inner_state))


def test_frozen_leaves_stay_and_may_be_integers() -> None:
    params = {"w": jnp.ones(3), "table": jnp.arange(4)}
    transformation = optax.multi_transform(
        {"step": adamas.optax.adam(0.1), "none": optax.set_to_zero()}, {"w": "step", "table": "none"}
    )
    grads = {"w": jnp.ones(3), "table": jnp.ones(4, jnp.int32)}
    updates, _ = jax.jit(transformation.update)(grads, transformation.init(params), params)
    moved = optax.apply_updates(params, updates)
    np.testing.assert_array_equal(moved["table"], params["table"])
    np.testing.assert_allclose(moved["w"], 0.9, rtol=1e-6)


def test_optax_finds_what_is_shaped_like_parameters() -> None:
    transformation = adamas.optax.adam(average=0.5)
    state = transformation.init(tree())
    raised = optax.tree.map_params(transformation, lambda x: x + 1, state)
    assert int(raised.count) == 0
    np.testing.assert_array_equal(raised.slots["m"]["w"], np.ones(N))
    assert jax.tree.structure(raised) == jax.tree.structure(state)
