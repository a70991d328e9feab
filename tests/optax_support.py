"""What the tests of the JAX front end share: training over recorded gradients, in one compiled scan."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("optax", reason="optax is not installed")
import jax
import jax.numpy as jnp
import optax
from rule_cases import parameters

# The number of elements of the largest leaf of `tree()`.
N = 6


def tree() -> dict[str, Any]:
    """Parameters of every kind of node: a tuple, a scalar, None, an empty dictionary."""
    return {
        "w": jnp.asarray(parameters(N), jnp.float32),
        "pair": (jnp.ones((2, 3)), jnp.float32(0.5)),
        "none": None,
        "empty": {},
    }


def train(transformation: Any, params: Any, grads: Any, state: Any = None) -> tuple[Any, Any]:
    """The parameters and the state after a step with each of the gradients, stacked along axis 0."""

    def step(carry: tuple[Any, Any], g: Any) -> tuple[tuple[Any, Any], None]:
        updates, new = transformation.update(g, carry[1], carry[0])
        return (optax.apply_updates(carry[0], updates), new), None

    start = params, transformation.init(params) if state is None else state
    final, _ = jax.jit(lambda carry, grads: jax.lax.scan(step, carry, grads))(start, grads)
    return final


def state_of(state: Any, name: str = "slots") -> Any:
    """The field of the `RuleState` inside a state."""
    return optax.tree.get(state, name)


def assert_trees_equal(one: Any, other: Any) -> None:
    """The same structure and the same bits."""
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


def as_f32(x: np.ndarray) -> Any:
    return jnp.asarray(x, jnp.float32)
