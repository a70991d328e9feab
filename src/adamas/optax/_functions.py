"""One function a rule, made from the rule's own fields: what is new in `adamas.rules` needs no line here."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import Any

import optax

from ..rules import Adam, Rule
from ..rules._found import rule_classes
from ._numbers import changes
from ._transformation import from_rule

__all__ = ["function_names", "rule_function"]

# Other names of a rule with options that it is known by; the defaults are torch's.
_VARIANTS: dict[str, tuple[type[Rule], dict[str, Any]]] = {
    "adamw": (Adam, {"weight_decay": 0.01, "decoupled_weight_decay": True}),
}


@functools.cache
def _rules() -> dict[str, tuple[type[Rule], dict[str, Any]]]:
    return {**{name.lower(): (rule, {}) for name, rule in rule_classes().items()}, **_VARIANTS}


def function_names() -> list[str]:
    """The names of the functions there are, sorted."""
    return sorted(_rules())


@functools.cache
def rule_function(name: str) -> Callable[..., optax.GradientTransformation]:
    """The function that makes a transformation of a rule from its hyperparameters."""
    rule, defaults = _rules()[name]
    signature = _signature(rule, defaults)
    fields = {field.name for field in dataclasses.fields(rule)}  # type: ignore[arg-type]

    def function(*args: Any, **kwargs: Any) -> optax.GradientTransformation:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        changing = {key: x for key, x in bound.arguments.items() if key in fields and changes(x)}
        options = {key: x for key, x in bound.arguments.items() if key not in fields}
        # One half lies within the range of every hyperparameter, and is replaced at once.
        fixed = {key: 0.5 if key in changing else bound.arguments[key] for key in fields}
        return from_rule(rule(**fixed), **options, **changing)

    function.__name__ = function.__qualname__ = name
    function.__module__ = "adamas.optax"
    function.__signature__ = signature  # type: ignore[attr-defined]
    function.__doc__ = (
        f"{inspect.getdoc(rule)}\n\nA hyperparameter may be a number, a traced number, or a schedule: a "
        f"function from the number of\nsteps taken to its value. The keyword arguments are those of "
        f"`adamas.optax.from_rule`.\n"
    )
    return function


def _signature(rule: type[Rule], defaults: dict[str, Any]) -> inspect.Signature:
    """The fields of the rule, then the options of `from_rule`."""
    own = inspect.signature(rule).parameters
    defaults = {"weight_decay": 0.0, **defaults}
    options = [
        parameter.replace(default=defaults.get(name, parameter.default))
        for name, parameter in inspect.signature(from_rule).parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
        and not ("weight_decay" in own and "decay" in name)
    ]
    return inspect.signature(rule).replace(
        parameters=[*own.values(), *options],
        return_annotation=optax.GradientTransformation,
    )
