"""The transformations under JAX's own: jit, vmap, grad, donation, many devices; and in files."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from fresh_support import fresh_python
from optax_support import N, assert_trees_equal, train, tree
from rule_cases import CASES, FORMS, gradients, parameters

import adamas.optax

jax = pytest.importorskip("jax")
optax = pytest.importorskip("optax")
jnp = jax.numpy


@pytest.mark.parametrize(("name", "x64"), [*((name, False) for name in FORMS), ("NAdam", True)])
def test_the_state_is_a_fixed_point(name: str, x64: bool) -> None:
    """Its types too: a weak one that becomes strong would compile the second step anew."""
    transformation = adamas.optax.from_rule(CASES[name], average=0.9)
    params = tree() if x64 else {**tree(), "number": 1.0}
    with jax.enable_x64(x64):
        state = transformation.init(params)
        updates, new = jax.eval_shape(transformation.update, params, state, params)
    assert {x.dtype for x in jax.tree.leaves(updates)} == {np.dtype(np.float32)}
    for x, y in zip(jax.tree.leaves(state), jax.tree.leaves(new), strict=True):
        assert (x.shape, x.dtype, x.weak_type) == (y.shape, y.dtype, y.weak_type)
    assert jax.tree.structure(state) == jax.tree.structure(new)


def test_no_step_is_compiled_again() -> None:
    traced = []
    transformation = adamas.optax.nadam(lr=lambda count: 0.1 / (1 + count), average=0.9)

    @jax.jit
    def step(g: Any, state: Any, p: Any) -> Any:
        traced.append(1)
        updates, state = transformation.update(g, state, p)
        return optax.apply_updates(p, updates), state

    params = tree()
    state = transformation.init(params)
    for g in np.float32([0.5, -0.25, 2.0]):
        grads = jax.tree.map(lambda p, g=g: jnp.full_like(p, g), params)
        params, state = step(grads, state, params)
    assert len(traced) == 1
    assert int(state.count) == 3


def test_vmap_over_learning_rates_and_members() -> None:
    rates = jnp.float32([0.1, 0.2, 0.4])
    params, grads = (
        jnp.asarray(parameters(3 * N).reshape(3, N), jnp.float32),
        jnp.asarray(gradients(2, 3 * N).reshape(2, 3, N), jnp.float32),
    )
    train_one = lambda lr, p, g: train(adamas.optax.lion(lr), p, g)[0]  # noqa: E731
    together = jax.vmap(train_one, in_axes=(0, 0, 1))(rates, params, grads)
    for k, lr in enumerate(rates):
        np.testing.assert_allclose(together[k], train_one(lr, params[k], grads[:, k]), rtol=1e-6)


@pytest.mark.parametrize("field", ["lr", pytest.param("beta2", marks=pytest.mark.slow), "weight_decay"])
def test_a_run_is_differentiable_in_its_hyperparameters(field: str) -> None:
    with jax.enable_x64(True):
        params, grads = jnp.asarray(parameters(N)), jnp.asarray(gradients(3, N))

        def loss(x: Any) -> Any:
            return jnp.sum(train(adamas.optax.adamw(**{field: x}), params, grads)[0] ** 2)

        found, h = jax.grad(loss)(0.25), 1e-5
        expected = (loss(jnp.asarray(0.25 + h)) - loss(jnp.asarray(0.25 - h))) / (2 * h)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert abs(float(found)) > 1e-6


def test_a_rematerialized_step_has_the_same_derivative() -> None:
    params, g = jnp.ones(N), jnp.asarray(gradients(1, N)[0], jnp.float32)

    def moved(lr: Any) -> Any:
        transformation = adamas.optax.adagrad(lr, lr_decay=0.1)
        return transformation.update(g, transformation.init(params), params)[0].sum()

    np.testing.assert_allclose(jax.grad(jax.checkpoint(moved))(0.1), jax.grad(moved)(0.1), rtol=1e-6)


def test_donated_buffers_are_each_its_own() -> None:
    transformation = adamas.optax.lion(average=0.9)
    params = jnp.ones(N)
    state = transformation.init(params)

    def step(g: Any, state: Any, p: Any) -> Any:
        updates, state = transformation.update(g, state, p)
        return optax.apply_updates(p, updates), state

    expected = jax.jit(step)(jnp.ones(N), state, params)
    found = jax.jit(step, donate_argnums=(1, 2))(jnp.ones(N), state, params)
    assert_trees_equal(found, expected)


def test_a_state_survives_files() -> None:
    serialization = pytest.importorskip("flax.serialization")
    transformation = optax.chain(adamas.optax.nadam(average=0.9))
    params = {"w": jnp.ones(N)}
    _, state = train(transformation, params, {"w": jnp.ones((2, N))})
    assert_trees_equal(pickle.loads(pickle.dumps(state)), state)
    assert_trees_equal(
        serialization.from_bytes(transformation.init(params), serialization.to_bytes(state)), state
    )


def test_outside_of_jit_it_is_the_same_step() -> None:
    transformation = adamas.optax.nadam()
    params, g = jnp.ones(N), jnp.asarray(gradients(1, N)[0], jnp.float32)
    state = transformation.init(params)
    eager, jitted = transformation.update(g, state), jax.jit(transformation.update)(g, state)
    for a, b in zip(jax.tree.leaves(eager), jax.tree.leaves(jitted), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


def test_parameters_are_needed_only_where_they_matter() -> None:
    params, g = jnp.ones(N), jnp.asarray(gradients(1, N)[0], jnp.float32)
    transformation = adamas.optax.adam()
    state = transformation.init(params)
    assert_trees_equal(transformation.update(g, state), transformation.update(g, state, params))


def test_an_update_keeps_the_digits_that_its_sum_would_lose() -> None:
    """A step of 1e-9 from 1 is no step; what comes after in a chain may want it all the same."""
    updates, _ = adamas.optax.sgd(1e-9).update(jnp.ones(2), adamas.optax.sgd().init(jnp.ones(2)), jnp.ones(2))
    np.testing.assert_array_equal(updates, np.float32([-1e-9, -1e-9]))


SHARDED = """
import os
os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=4"
import jax, jax.numpy as jnp, numpy as np, optax
from jax.sharding import NamedSharding, PartitionSpec
import adamas.optax

assert jax.device_count() == 4
mesh = jax.make_mesh((4,), ("x",))
spread = NamedSharding(mesh, PartitionSpec("x"))
tx = adamas.optax.adamw(1e-2, average=0.9, state_format="bfloat16", stochastic_rounding=True)
start = jnp.linspace(-1, 1, 64).astype(jnp.bfloat16)

def step(p, state, g):
    updates, state = tx.update(g, state, p)
    return optax.apply_updates(p, updates), state

# Sharded, each element has the bits that it has on one device.
results = []
for place in (None, spread):
    p = start if place is None else jax.device_put(start, place)
    state = tx.init(p)
    if place is not None:
        assert state.slots["m"].sharding == spread, state.slots["m"].sharding
    for k in range(3):
        p, state = jax.jit(step)(p, state, jnp.sin(k + jnp.arange(64.0)).astype(jnp.bfloat16))
    results.append([np.asarray(x, np.float32) for x in jax.tree.leaves((p, state))])
for a, b in zip(*results, strict=True):
    np.testing.assert_array_equal(a, b)

# Replicated by pmap, with averaged gradients: all replicas stay the same.
def replica(p, state, g):
    return step(p, state, jax.lax.pmean(g, "i"))
copies = lambda tree: jax.tree.map(lambda x: jnp.stack([x] * 4), tree)
p, state = copies(start), copies(tx.init(start))
g = jnp.ones((4, 64), jnp.bfloat16) * jnp.arange(4)[:, None]
p, state = jax.pmap(replica, axis_name="i")(p, state, g)
for x in jax.tree.leaves((p, state)):
    assert (np.asarray(x, np.float32) == np.asarray(x, np.float32)[:1]).all()
print("done")
"""


@pytest.mark.slow
def test_many_devices_compute_what_one_does() -> None:
    assert fresh_python(SHARDED) == "done\n"
