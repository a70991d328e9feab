"""The transformations inside optax's wrappers and JAX's transformations: they do what they do elsewhere."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from fresh_support import fresh_python
from optax_support import assert_trees_equal, train
from rule_cases import CASES, FORMS, gradients, parameters

import adamas.optax
from adamas.rules import SGD, Adam, Lion, Rule, xp

jax = pytest.importorskip("jax")
optax = pytest.importorskip("optax")
jnp = jax.numpy

N = 6
NAMES = [name for name in adamas.optax.__all__ if name not in ("from_rule", "RuleState")]


def slow(*values: str) -> Any:
    return pytest.param(*values, marks=pytest.mark.slow)


def tree() -> dict[str, Any]:
    """Parameters of every kind of node: a tuple, a scalar, None, an empty dictionary."""
    return {
        "w": jnp.asarray(parameters(N), jnp.float32),
        "pair": (jnp.ones((2, 3)), jnp.float32(0.5)),
        "none": None,
        "empty": {},
    }


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


# JAX's transformations.


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


@pytest.mark.parametrize("field", ["lr", slow("beta2"), "weight_decay"])
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


# Mistakes.

TAKERS: dict[str, Callable[[Any], Any]] = {
    "chain": lambda rule: optax.chain(rule),
    "named_chain": lambda rule: optax.named_chain(("rule", rule)),
    "multi_transform": lambda rule: optax.multi_transform({"a": rule}, {"w": "a"}),
    "MultiSteps": lambda rule: optax.MultiSteps(rule, 2).init(jnp.ones(2)),
    "init": lambda rule: rule.init(jnp.ones(2)),
}


@pytest.mark.parametrize("taker", TAKERS)
@pytest.mark.parametrize("rule", [Adam(), SGD()], ids=["Adam", "SGD"])
def test_a_rule_in_the_place_of_a_transformation_is_told(taker: str, rule: Any) -> None:
    with pytest.raises(TypeError, match=rf"adamas\.optax\.from_rule\({type(rule).__name__}\("):
        TAKERS[taker](rule)


MISTAKES: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "a class": (lambda: adamas.optax.from_rule(Adam), TypeError, "must be an update rule"),
    "a name": (lambda: adamas.optax.from_rule(Adam(), lrr=1.0), TypeError, "did you mean 'lr'"),
    "a range": (lambda: adamas.optax.adam(lr=-1.0), ValueError, r"lr must lie in \[0, inf\), got -1.0"),
    "a decay": (lambda: adamas.optax.adam(weight_decay=-1), ValueError, "weight_decay must lie in"),
    "an average": (lambda: adamas.optax.adam(average=1.0), ValueError, r"average must lie in \[0, 1\)"),
    "many numbers": (lambda: adamas.optax.adam(lr=jnp.ones(3)), ValueError, r"one number, .*\(3,\)"),
    "few digits": (
        lambda: optax.inject_hyperparams(adamas.optax.adam)().init(jnp.ones(2, jnp.bfloat16)),
        ValueError,
        "is bfloat16, in which .999 may be 1.*hyperparam_dtype",
    ),
    "a format": (lambda: adamas.optax.adam(state_format="float8"), ValueError, "must be float32, bfloat16"),
    "a short format": (lambda: adamas.optax.adam(state_format="float16"), ValueError, "ends at 65504.*'v'"),
    "a coarse format": (
        lambda: adamas.optax.rmsprop(centered=True, state_format="bf16"),
        ValueError,
        "too coarse for 'v'",
    ),
    "an unknown function": (lambda: adamas.optax.adamm, AttributeError, "did you mean 'adam'"),
    "integers": (lambda: adamas.optax.adam().init({"i": jnp.arange(3)}), TypeError, "'i' is of type int32"),
    "no parameters": (lambda: update(adamas.optax.adamw(), jnp.ones(2), None), ValueError, "weight decay"),
    "no average": (lambda: update(adamas.optax.adam(average=0.5), jnp.ones(2), None), ValueError, "average"),
    "another state": (
        lambda: adamas.optax.sgd(momentum=0.9).update(jnp.ones(2), adamas.optax.adam().init(jnp.ones(2))),
        ValueError,
        "not one of SGD with these options, which is a RuleState with b",
    ),
    "a state of optax": (
        lambda: adamas.optax.adam().update(jnp.ones(2), optax.adam(1e-3).init(jnp.ones(2))),
        ValueError,
        "not one of Adam with these options, which is a RuleState with m, v",
    ),
    "a state without an average": (
        lambda: adamas.optax.adam(average=0.5).update(
            jnp.ones(2), adamas.optax.adam().init(jnp.ones(2)), jnp.ones(2)
        ),
        ValueError,
        "m, v, an average",
    ),
    "a shape": (lambda: update(adamas.optax.adam(), jnp.ones((2, 2))), ValueError, r"has shape \(2, 2\)"),
    "another tree": (lambda: update(adamas.optax.adam(), {"a": jnp.ones(2)}), ValueError, "different trees"),
    "complex": (lambda: update(adamas.optax.adam(), jnp.ones(2) * 1j), TypeError, "is complex, and the"),
    "integer gradients": (lambda: update(adamas.optax.adam(), jnp.arange(2)), TypeError, "is of type int32"),
}


def update(transformation: Any, g: Any, params: Any = 0) -> Any:
    """One step of two ones."""
    start = jnp.ones(2)
    return transformation.update(g, transformation.init(start), start if params is not None else None)


@pytest.mark.parametrize("kind", MISTAKES)
def test_a_mistake_is_one_clear_error(kind: str) -> None:
    make, error, message = MISTAKES[kind]
    with pytest.raises(error, match=message):
        make()


def test_without_optax_the_error_names_the_extra() -> None:
    program = """
    import sys
    sys.modules["optax"] = None
    import adamas
    try:
        import adamas.optax
    except ImportError as error:
        print(error)
    """
    assert "adamas[jax]" in fresh_python(program)
