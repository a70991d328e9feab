"""Sixteen bits through `adamas.optax`: what is added makes the rounded number, and the mean is kept."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from optax_support import assert_trees_equal, train
from rule_cases import CASES, gradients, parameters

import adamas.optax
from adamas.optax._rounding import Draws
from adamas.rules import SGD

jax = pytest.importorskip("jax")
optax = pytest.importorskip("optax")
jnp = jax.numpy

every_narrow = pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16], ids=["bfloat16", "float16"])


def one_step(p: Any, g: Any, seed: int = 0, lr: float = 1.0) -> tuple[Any, Any]:
    """The updates and the parameters after a step of gradient descent, rounded at random."""
    transformation = adamas.optax.sgd(lr, stochastic_rounding=True, seed=seed)
    updates, _ = transformation.update(g, transformation.init(p), p)
    return updates, optax.apply_updates(p, updates)


@every_narrow
def test_the_sum_is_a_rounded_number_already(dtype: Any) -> None:
    """Nothing is rounded twice: p + u in float32 has only zeros where the type has no digits.

    Where a parameter falls below a 2^12th of itself in one step, the sum may be off by the last digit of the
    parameter in float32, as the step itself is.
    """
    random = np.random.default_rng(0)
    n = 100_000
    p = jnp.asarray(random.standard_normal(n) * 2.0 ** random.integers(-10, 4, n), dtype)
    g = jnp.asarray(random.standard_normal(n) * 2.0 ** random.integers(-14, 4, n), jnp.float32)
    updates, moved = one_step(p, g)
    assert updates.dtype == jnp.float32
    assert moved.dtype == dtype
    exact = p.astype(jnp.float32) - g
    total = p.astype(jnp.float32) + updates
    cancelled = np.abs(np.asarray(exact)) < 2.0**-12 * np.abs(np.asarray(p, np.float32))
    np.testing.assert_array_equal(np.asarray(total)[~cancelled], np.asarray(moved, np.float32)[~cancelled])
    assert cancelled.mean() < 0.01
    # Each is one of the two neighbours of the exact result.
    below, above = (np.nextafter(np.asarray(moved), np.asarray(x, dtype)) for x in (-np.inf, np.inf))
    assert (np.asarray(below, np.float32) < np.asarray(exact)).all()
    assert (np.asarray(above, np.float32) > np.asarray(exact)).all()


@every_narrow
def test_the_mean_is_kept(dtype: Any) -> None:
    """An update of a hundredth of a digit arrives in a hundredth of the elements."""
    n, digit = 100_000, float(jnp.finfo(dtype).eps)
    _, moved = one_step(jnp.ones(n, dtype), jnp.full(n, -0.01 * digit, jnp.float32))
    arrived = np.asarray(moved, np.float32) - 1
    assert set(np.unique(arrived)) == {0.0, np.float32(digit)}
    assert abs(arrived.mean() / digit - 0.01) < 5 * (0.01 / n) ** 0.5


def test_small_updates_are_not_lost() -> None:
    """A thousand steps of 1e-4 from 1 lead to .9 on average; rounded to nearest they lead nowhere."""
    p, grads = jnp.ones(500, jnp.bfloat16), jnp.ones((1000, 500), jnp.bfloat16)
    rounded, _ = train(adamas.optax.sgd(1e-4, stochastic_rounding=True), p, grads)
    nearest, _ = train(adamas.optax.sgd(1e-4), p, grads)
    assert rounded.dtype == nearest.dtype == jnp.bfloat16
    assert abs(float(rounded.astype(jnp.float32).mean()) - 0.9) < 2e-3
    np.testing.assert_array_equal(nearest, p)


@pytest.mark.parametrize("name", ["Lion", "RMSprop-momentum", "OwnRule"])
def test_state_in_sixteen_bits_is_near_that_in_thirty_two(name: str) -> None:
    rule, n = CASES[name], 2000
    p, grads = jnp.asarray(parameters(n), jnp.float32), jnp.asarray(gradients(100, n), jnp.float32)
    _, wide = train(adamas.optax.from_rule(rule), p, grads)
    _, short = train(adamas.optax.from_rule(rule, state_format="bf16"), p, grads)
    for slot, x in short.slots.items():
        assert x.dtype == jnp.bfloat16
        size = np.abs(wide.slots[slot]).mean()
        off = np.asarray(x, np.float32) - wide.slots[slot]
        assert abs(off.mean()) < 0.005 * size
        assert np.abs(off).mean() < 0.05 * size


def test_a_second_moment_in_bfloat16_decays() -> None:
    """.999 of a bfloat16 number is, rounded to nearest, the number itself."""
    transformation = adamas.optax.rmsprop(alpha=0.999, state_format="bfloat16")
    state = transformation.init(jnp.zeros(2000))
    state = state._replace(slots={"v": jnp.ones(2000, jnp.bfloat16)})
    _, state = train(transformation, jnp.zeros(2000), jnp.zeros((500, 2000)), state)
    assert abs(float(state.slots["v"].astype(jnp.float32).mean()) - 0.999**500) < 0.01


def test_bits_depend_on_seed_step_and_name_and_on_nothing_else() -> None:
    n = 4096
    p, g = jnp.ones(n, jnp.bfloat16), jnp.full(n, 2.0**-9, jnp.float32)
    _, first = one_step(p, g)
    assert_trees_equal(one_step(p, g)[1], first)
    assert_trees_equal(jax.jit(one_step)(p, g)[1], first)

    def alike(other: Any) -> float:
        return float(jnp.mean(first == other))

    transformation = adamas.optax.sgd(1.0, stochastic_rounding=True)
    updates, _ = transformation.update(
        {"a": g, "b": g}, transformation.init({"a": p, "b": p}), {"a": p, "b": p}
    )
    state = transformation.init(p)
    late, _ = transformation.update(g, state._replace(count=state.count + 1), p)
    others = [one_step(p, g, seed=1)[1], p + updates["a"], p + updates["b"], p + late]
    for other in others:
        assert abs(alike(other) - 0.5) < 0.05
    assert not np.array_equal(updates["a"], updates["b"])


def test_arrays_of_one_parameter_draw_bits_of_their_own() -> None:
    draws = Draws(0, jnp.int32(3), "w")
    upper = [np.asarray(draws.bits(array, (1 << 16,))) >> 31 for array in range(4)]
    for k, one in enumerate(upper):
        assert abs(one.mean() - 0.5) < 0.02
        for other in upper[:k]:
            assert abs((one == other).mean() - 0.5) < 0.02


def test_elements_are_counted_in_the_order_of_rows() -> None:
    """So that a matrix and its elements in a row draw the same bits, as everywhere in this package."""
    draws = Draws(0, jnp.int32(3), "w")
    np.testing.assert_array_equal(draws.bits(0, (6, 7)).ravel(), draws.bits(0, (42,)))
    assert len(np.unique(draws.bits(0, (6, 7)))) == 42


def test_a_traced_seed() -> None:
    p, g = jnp.ones(64, jnp.bfloat16), jnp.full(64, 2.0**-9, jnp.float32)
    many = jax.jit(jax.vmap(lambda seed: one_step(p, g, seed=seed)[1]))(jnp.arange(3))
    for seed in range(3):
        np.testing.assert_array_equal(many[seed], one_step(p, g, seed=seed)[1])


def test_what_is_not_finite_stays_so() -> None:
    p = jnp.ones(4, jnp.bfloat16)
    _, moved = one_step(p, jnp.asarray([jnp.nan, jnp.inf, -jnp.inf, 0.0], jnp.float32))
    np.testing.assert_array_equal(np.asarray(moved, np.float32), [np.nan, -np.inf, np.inf, 1.0])


def test_wide_parameters_are_as_without() -> None:
    p, grads = jnp.asarray(parameters(9), jnp.float32), jnp.asarray(gradients(3, 9), jnp.float32)
    options: dict[str, Any] = {"momentum": 0.9}
    one = train(adamas.optax.sgd(**options, stochastic_rounding=True), p, grads)
    assert_trees_equal(one, train(adamas.optax.sgd(**options), p, grads))
    with jax.enable_x64(True):
        wide = jnp.asarray(parameters(9))
        state = adamas.optax.adam(state_format="bf16").init({"p": wide, "z": wide.astype(jnp.complex128)})
        assert {str(x.dtype) for x in jax.tree.leaves(state.slots)} == {"float64", "complex128"}


def test_sixteen_bits_take_gradients_of_any_width_and_need_params() -> None:
    transformation = adamas.optax.from_rule(SGD(), stochastic_rounding=True)
    p = jnp.ones(3, jnp.bfloat16)
    for dtype in (jnp.bfloat16, jnp.float16, jnp.float32):
        updates, _ = transformation.update(jnp.ones(3, dtype), transformation.init(p), p)
        assert updates.dtype == jnp.float32
    with pytest.raises(ValueError, match="needs the parameters to round them"):
        transformation.update(p, transformation.init(p))


def test_a_float32_gradient_makes_float32_updates_and_a_narrow_one_its_own() -> None:
    transformation = adamas.optax.adam()
    p = jnp.ones(3, jnp.bfloat16)
    for dtype in (jnp.bfloat16, jnp.float32):
        updates, _ = transformation.update(jnp.ones(3, dtype), transformation.init(p), p)
        assert updates.dtype == dtype


def test_rounding_is_differentiated_as_if_it_were_not_there() -> None:
    p, g = jnp.ones(3, jnp.bfloat16), jnp.full(3, 0.5, jnp.float32)
    found = jax.grad(lambda lr: one_step(p, g, lr=lr)[0].sum())(0.25)
    np.testing.assert_allclose(found, -1.5)
