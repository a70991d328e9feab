"""Every rule through `adamas.optax`: the float64 reference, and the peer of the same name in optax."""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any

import numpy as np
import pytest
from optax_support import as_f32, train
from rule_cases import (
    CASES,
    RULES,
    every_case,
    every_form,
    gradients,
    parameters,
    run_reference,
    state_names,
)

import adamas.optax
from adamas.backends import Envelope, host_carry, host_scalars, only_shifts
from adamas.optax._numbers import Numbers
from adamas.rules import SGD, RMSprop, Rule

jax = pytest.importorskip("jax")
optax = pytest.importorskip("optax")
jnp = jax.numpy

STEPS, N = 20, 30
NO_OPTIONS = {"weight_decay": 0.0, "decoupled_weight_decay": False, "average": None}


@every_case
def test_in_float64_it_is_the_reference(name: str) -> None:
    rule, p, grads = CASES[name], parameters(N), gradients(STEPS, N)
    expected = run_reference(rule, p, grads)[-1]
    with jax.enable_x64(True):
        moved, state = train(adamas.optax.from_rule(rule), jnp.asarray(p), jnp.asarray(grads))
        slots = [{**state.slots, **state.kept}[name] for name in state_names(rule)]
    for a, b in zip([moved, *slots], expected, strict=True):
        assert a.dtype == np.float64
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14)


@every_form
def test_in_float32_it_is_as_near_as_the_reference_in_float32(name: str) -> None:
    """Scalars are rounded once, so that the arrays' own roundings are all that there is."""
    rule, p, grads = CASES[name], parameters(N), gradients(STEPS, N)
    exact = run_reference(rule, p, grads)[-1][0]
    near = run_reference(rule, np.float32(p), np.float32(grads))[-1][0]
    moved, _ = train(adamas.optax.from_rule(rule), as_f32(p), as_f32(grads))
    assert moved.dtype == np.float32
    # Fused and in another order, some roundings fall otherwise.
    worst = np.abs(near - exact).max() + np.spacing(np.float32(np.abs(exact).max()))
    assert np.abs(moved - exact).max() <= 2 * worst


# Every t to 50, then to 10^6.
TIMES = np.unique(np.concatenate([np.arange(1, 51), np.geomspace(50, 1e6, 50)]).astype(np.int32))
# Rules whose scalars need t, at decays so near to 1 that float32 keeps no digit of 1 - β^t.
TIMED: dict[str, Rule] = {name: rule() for name, rule in RULES.items() if rule().carried or rule.counts_steps}
TIMED |= {
    f"{name}-late": dataclasses.replace(rule, beta2=0.9999)  # type: ignore[call-arg]
    for name, rule in TIMED.items()
    if hasattr(rule, "beta2")
}


@pytest.mark.optimized
@pytest.mark.parametrize(
    "name", [pytest.param(x, marks=[pytest.mark.slow] * (x not in ("Adam", "RAdam-late"))) for x in TIMED]
)
def test_scalars_of_a_traced_step_are_rounded_once(name: str) -> None:
    """2^-24 is half a unit in the last place; with float32 alone 1 - .999^t is 6e-5 off at t = 1."""
    rule = TIMED[name]
    carried = [tuple(rule.carried.values())]
    for t in range(1, TIMES[-1] + 1 if rule.carried else 1):
        carried.append(host_carry(rule, t, *carried[-1]))
    before = [carried[t - 1 if rule.carried else 0] for t in TIMES]
    expected = [
        host_scalars(rule, int(t), *host_carry(rule, int(t), *c)) for t, c in zip(TIMES, before, strict=True)
    ]

    def scalars(count: Any, *values: Any) -> list[Any]:
        named = dict(zip(rule.carried, values, strict=True))
        options = {name: x for name, x in NO_OPTIONS.items() if not hasattr(rule, name)}
        found = Numbers.of(rule, {}, options).at(count, named).update
        return [adamas.optax._numbers.value_of(x, jnp.float32) * jnp.float32(1) for x in found]

    columns = [np.float32(column) for column in zip(*before, strict=True)]
    found = np.stack(jax.jit(jax.vmap(scalars))(TIMES - 1, *columns))
    limit = 2.0**-23 if rule.carried else 2.0**-24  # a carried value was rounded before
    np.testing.assert_allclose(found, np.array(expected).T, rtol=limit, atol=0)


# optax: how to make it and how to make ours, at options where both say the same. `test_peers.py` says where
# the definitions differ.
BETAS, OURS = {"b1": 0.8, "b2": 0.95}, {"beta1": 0.8, "beta2": 0.95}
PEERS: dict[str, tuple[Any, Any]] = {
    "sgd": (
        lambda: optax.sgd(0.1, momentum=0.9, nesterov=True),
        {"lr": 0.1, "momentum": 0.9, "nesterov": True},
    ),
    "adagrad": (
        lambda: optax.adagrad(0.1, initial_accumulator_value=0.3, eps=0.0),
        {"lr": 0.1, "initial_accumulator_value": 0.3, "eps": 0.0},
    ),
    "rmsprop": (
        lambda: optax.rmsprop(0.01, decay=0.95, eps=0.1, eps_in_sqrt=False, momentum=0.9),
        {"alpha": 0.95, "eps": 0.1, "momentum": 0.9},
    ),
    "adadelta": (lambda: optax.adadelta(0.5, rho=0.8, eps=0.1), {"lr": 0.5, "rho": 0.8, "eps": 0.1}),
    "adam": (lambda: optax.adam(1e-3, **BETAS, eps=0.1), {**OURS, "eps": 0.1}),
    "adamw": (lambda: optax.adamw(1e-3, weight_decay=0.01), {}),
    "adamax": (lambda: optax.adamax(1e-3, **BETAS, eps=0.1), {"lr": 1e-3, **OURS, "eps": 0.1}),
    "amsgrad": (
        lambda: optax.amsgrad(1e-3, **BETAS, eps=0.1, bias_correction_mu=False, bias_correction_nu=False),
        {**OURS, "eps": 0.1, "bias_correction": False},
    ),
    "nadam": (
        lambda: optax.nadam(1e-3, **BETAS, eps=0.1),
        {"lr": 1e-3, **OURS, "eps": 0.1, "momentum_decay": 1e6},
    ),
    "radam": (lambda: optax.radam(1e-3, **BETAS, eps=0.0), {**OURS, "eps": 0.0}),
    "adabelief": (lambda: optax.adabelief(1e-3, **BETAS, eps=0.1, eps_root=0.1), {**OURS, "eps": 0.1}),
    "lion": (
        lambda: optax.lion(0.01, **BETAS, weight_decay=0.1),
        {"lr": 0.01, **OURS, "weight_decay": 0.1, "decoupled_weight_decay": True},
    ),
    "adopt": (lambda: optax.contrib.adopt(1e-3, **BETAS, eps=0.1), {**OURS, "eps": 0.1}),
    "signum": (lambda: optax.signum(0.01, beta=0.8), {"lr": 0.01, "beta": 0.8}),
    # Decay of the rule's own, and carried values.
    "schedulefreeadamw": (
        lambda: optax.contrib.schedule_free_adamw(0.01, **BETAS, eps=0.1, weight_decay=0.1),
        {"lr": 0.01, **OURS, "eps": 0.1, "weight_decay": 0.1},
    ),
}


@pytest.mark.parametrize(
    "name", [pytest.param(x, marks=[pytest.mark.slow] * (x not in ("adamw", "sgd", "lion"))) for x in PEERS]
)
def test_it_agrees_with_optax(name: str) -> None:
    make, options = PEERS[name]
    with jax.enable_x64(True):
        p, grads = jnp.asarray(parameters(N)), jnp.asarray(gradients(STEPS, N))
        expected, _ = train(make(), p, grads)
        moved, _ = train(getattr(adamas.optax, name)(**options), p, grads)
    np.testing.assert_allclose(moved, expected, rtol=1e-12, atol=1e-13)


def test_there_is_a_function_for_every_rule() -> None:
    """Other rules than those of `PEERS` are compared with the reference alone, which has peers of its own."""
    names = {name.lower() for name in RULES} | {"adamw"}
    assert set(adamas.optax.__all__) == names | {"from_rule", "RuleState"}
    assert set(PEERS) <= names


@pytest.mark.parametrize("name", RULES)
def test_a_function_has_the_fields_and_defaults_of_its_rule(name: str) -> None:
    function = getattr(adamas.optax, name.lower())
    parameters = inspect.signature(function).parameters
    for field in dataclasses.fields(RULES[name]):  # type: ignore[arg-type]
        assert parameters[field.name].default == field.default
    own = hasattr(RULES[name](), "weight_decay")
    assert own or parameters["weight_decay"].kind is inspect.Parameter.KEYWORD_ONLY
    assert function is getattr(adamas.optax, name.lower())
    assert function.__doc__


DECAYS = {
    "coupled": ({"weight_decay": 0.1}, Envelope(coupled_decay=0.1)),
    "decoupled": (
        {"weight_decay": 0.1, "decoupled_weight_decay": True},
        Envelope(decay_factor=1 - 1e-3 * 0.1),
    ),
}


@pytest.mark.parametrize("kind", DECAYS)
@pytest.mark.parametrize("rule", [RMSprop(lr=1e-3), SGD(momentum=0.9)], ids=["RMSprop", "SGD"])
def test_weight_decay_is_that_of_the_envelope(rule: Rule, kind: str) -> None:
    options, envelope = DECAYS[kind]
    p, grads = parameters(N), gradients(STEPS, N)
    with jax.enable_x64(True):
        moved, _ = train(adamas.optax.from_rule(rule, **options), jnp.asarray(p), jnp.asarray(grads))
    np.testing.assert_allclose(moved, run_reference(rule, p, grads, envelope)[-1][0], rtol=1e-12, atol=1e-13)


def test_adamw_is_that_of_torch() -> None:
    torch = pytest.importorskip("torch")
    given = inspect.signature(torch.optim.AdamW).parameters["weight_decay"].default
    assert inspect.signature(adamas.optax.adamw).parameters["weight_decay"].default == given


@dataclasses.dataclass(frozen=True)
class Rescaled(Rule):
    """A rule that does more with p than to subtract from it."""

    lr: float = 0.1

    def scalars(self, t):
        return (self.lr,)

    @staticmethod
    def update(p, g, lr):
        return (p / (1 + lr * g * g) - lr * g * p,)


def quotient(p, g, lr):
    return (p / (1 + lr * g * g),)


def twice(p, g, lr):
    return (p - lr * g - lr * p,)


def swapped(p, g, lr):
    return (lr * g - p,)


def doubled(p, g, lr):
    return (p + p,)


def still(p, g, lr):
    return (p,)


def shifted(p, g, lr):
    return (p - lr * g,)


def added(p, g, lr):
    return (lr * g + p,)


@pytest.mark.parametrize("update", [quotient, twice, swapped, doubled, still, shifted, added])
def test_it_is_seen_whether_an_update_only_adds_to_p(update: Any) -> None:
    made = dataclasses.make_dataclass(
        "Made",
        [],
        bases=(Rescaled,),
        frozen=True,
        namespace={"update": staticmethod(update)},
    )
    assert only_shifts(made()) == (update in (shifted, added))


def test_a_rule_that_multiplies_p_gets_it() -> None:
    p, grads = parameters(N), gradients(5, N) / 100
    with jax.enable_x64(True):
        moved, _ = train(adamas.optax.from_rule(Rescaled()), jnp.asarray(p), jnp.asarray(grads))
        with pytest.raises(ValueError, match="needs the parameters because"):
            adamas.optax.from_rule(Rescaled()).update(
                jnp.ones(3), adamas.optax.from_rule(Rescaled()).init(jnp.ones(3))
            )
    np.testing.assert_allclose(moved, run_reference(Rescaled(), p, grads)[-1][0], rtol=1e-12)
