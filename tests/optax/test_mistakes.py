"""Mistakes with `adamas.optax`: each is one clear error."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from fresh_support import fresh_python

import adamas.optax
from adamas.rules import SGD, Adam

jax = pytest.importorskip("jax")
optax = pytest.importorskip("optax")
jnp = jax.numpy

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
