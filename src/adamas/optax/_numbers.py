"""Hyperparameters that are numbers, traced numbers or schedules, and what a step makes of them."""

from __future__ import annotations

import copy
import dataclasses
import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from .._tools.names import suggestion
from ..backends import array_carry, array_scalars
from ..rules import Rule
from ..rules._base import Live
from ._pairs import NAMESPACE, Pair, as_pair, widest

__all__ = ["Numbers", "Scalars", "changes", "check_decay", "initial_of", "next_count", "value_of"]


def next_count(count: Any) -> Any:
    """The number of the step after so many; the greatest int32 stays."""
    return count + (count < 2**31 - 1).astype(jnp.int32)


def changes(x: Any) -> bool:
    """Whether a number may be another at another step: an array of JAX, traced or not, or a schedule."""
    return isinstance(x, jax.Array) or callable(x)


class _InUse(float, Live):
    """What stands for a number that is not known where it is asked for what a rule stores: it is not 0."""

    name: str


class _Unknown(Pair):
    """A hyperparameter that is traced: an `if` on it goes as that on its stand-in."""


class _Choice:
    """A condition on a traced hyperparameter, an array, which an `if` takes to be `expected`."""

    def __init__(self, condition: Any, expected: bool) -> None:
        self.condition, self.expected = condition, expected

    def __bool__(self) -> bool:
        return self.expected

    def __jax_array__(self) -> Any:
        return self.condition

    def __and__(self, other: Any) -> Any:
        return jnp.logical_and(self.condition, jnp.asarray(other))

    def __or__(self, other: Any) -> Any:
        return jnp.logical_or(self.condition, jnp.asarray(other))

    __rand__, __ror__ = __and__, __or__


def _comparison(name: str) -> Callable[[Any, Any], Any]:
    def compared(self: Any, other: Any) -> Any:
        condition = getattr(Pair, name)(self, other)
        if not isinstance(other, (int, float)):
            return condition
        return _Choice(condition, getattr(float, name)(_STAND_IN, float(other)))

    return compared


_STAND_IN = 0.5
for _name in ("__lt__", "__le__", "__gt__", "__ge__", "__eq__", "__ne__"):
    setattr(_Unknown, _name, _comparison(_name))


class Scalars(NamedTuple):
    """What a step needs beside arrays, in JAX's widest float.

    Attributes:
        update: the scalars of the rule's `update`.
        carried: the rule's new carried values.
        decay: the factor on p in the gradient, or in the step where the decay is decoupled.
        average: the weight of this step in the average; None where none is kept.
    """

    update: tuple[Any, ...]
    carried: dict[str, Any]
    decay: Any
    average: Any


@dataclass(frozen=True)
class Numbers:
    """A rule, and other options by name; `later` holds those of both that are traced or schedules.

    Attributes:
        rule: with stand-ins for what is in `later`.
        options: other options.
        later: traced numbers and schedules by name.
    """

    rule: Rule
    options: Mapping[str, Any]
    later: Mapping[str, Any]

    @classmethod
    def of(cls, rule: Rule, hyperparameters: Mapping[str, Any], options: Mapping[str, Any]) -> Numbers:
        """Those of a rule with some of its hyperparameters replaced.

        Raises:
            TypeError: the rule has no such hyperparameter, or one that is named like an option.
            ValueError: a number is out of its range, or an array has dimensions.
        """
        fields = [field.name for field in dataclasses.fields(rule)]  # type: ignore[arg-type]
        title = type(rule).__name__
        for name in hyperparameters:
            if name not in fields:
                raise TypeError(f"{title} has no hyperparameter {name!r}{suggestion(name, fields)}")
        if taken := sorted(options.keys() & set(fields)):
            raise TypeError(
                f"{title} has the field {taken[0]!r}, and from_rule an option of that name; rename the field"
            )
        given = {**options, **hyperparameters}
        later = {name: x for name, x in given.items() if changes(x)}
        for name, x in later.items():
            if getattr(x, "ndim", 0):
                raise ValueError(f"{title}: {name} must be one number, got an array of shape {x.shape}")
            if isinstance(x, jax.Array) and x.dtype.itemsize < 4 and jnp.issubdtype(x.dtype, jnp.floating):
                raise ValueError(
                    f"{title}: {name} is {x.dtype}, in which .999 may be 1: make it float32, as "
                    f"optax.inject_hyperparams(..., hyperparam_dtype=jnp.float32) does"
                )
        known = {name: x for name, x in hyperparameters.items() if name not in later}
        rule = dataclasses.replace(rule, **known) if known else copy.copy(rule)  # type: ignore[type-var]
        for name in later.keys() & set(fields):
            stand_in = _InUse(_STAND_IN)
            stand_in.name = name
            object.__setattr__(rule, name, stand_in)
        return cls(rule, options, later)

    def at(self, count: Any, carried: Mapping[str, Any]) -> Scalars:
        """The scalars of the step after `count` steps, a traced int32."""
        later = {name: jnp.asarray(x(count) if callable(x) else x) for name, x in self.later.items()}
        known = tuple((name, None if name in later else x) for name, x in self.options.items())
        scalars: Scalars = _scalars(self.rule, known, later, count, dict(carried))
        return scalars


@functools.partial(jax.jit, static_argnums=(0, 1))
def _scalars(
    rule: Rule, known: tuple[tuple[str, Any], ...], later: dict[str, Any], count: Any, carried: dict[str, Any]
) -> Scalars:
    """Compiled by itself, so that a step outside of `jax.jit` does not call each operation."""
    options = {name: as_pair(later[name]) if name in later else x for name, x in known}
    rule = copy.copy(rule)
    for name in later.keys() - options.keys():
        x = as_pair(later[name])
        object.__setattr__(rule, name, _Unknown(x.upper, x.lower))
    t = as_pair(next_count(count))
    old = [as_pair(carried[name]) for name in rule.carried]
    new = array_carry(rule, t, *old, xp=NAMESPACE) if old else ()
    update = array_scalars(rule, t, *new, xp=NAMESPACE)
    decay = options.get("weight_decay", 0.0)
    if options["decoupled_weight_decay"]:
        decay = decay * _scale_of_decay(rule.lr, str(options["decay_scaling"]), options["lr_max"])
    average = options["average"]
    if average is not None:
        average = value_of((1 - average) / (1 - average**t), widest())
    numbers = [tuple(value_of(x, widest()) for x in values) for values in (update, new, [decay])]
    return Scalars(numbers[0], dict(zip(rule.carried, numbers[1], strict=True)), numbers[2][0], average)


def _scale_of_decay(lr: Any, scaling: str, largest: Any) -> Any:
    """What λ is multiplied by in a step of decoupled decay."""
    if scaling == "lr":
        return lr
    share = 1.0 if largest is None else lr / largest
    return lr * share if scaling == "squared" else share


def check_decay(numbers: Numbers, decays: bool, cautious: bool) -> None:
    """Raise a ValueError where there can be no such decay."""
    scaling, largest = (numbers.options[name] for name in ("decay_scaling", "lr_max"))
    if scaling not in ("lr", "squared", "independent"):
        raise ValueError(f"decay_scaling must be 'lr', 'squared' or 'independent', got {scaling!r}")
    asked = "cautious_decay=True" if cautious else f"decay_scaling={scaling!r}"
    if cautious or scaling != "lr":
        if getattr(numbers.rule, "weight_decay", 0) != 0:
            title = type(numbers.rule).__name__
            raise ValueError(
                f"{asked}: {title} decays parameters itself, by its own weight_decay; leave it out"
            )
        if decays and not numbers.options["decoupled_weight_decay"]:
            raise ValueError(
                f"{asked} is of decoupled decay, and weight_decay is added to the gradient: pass "
                f"decoupled_weight_decay=True"
            )
    lr, later = numbers.rule.lr, numbers.later
    if scaling == "lr" or "lr_max" in later:
        return
    if largest is None and "lr" in later:
        raise ValueError(f"decay_scaling={scaling!r} needs lr_max, the largest lr of the schedule")
    if largest is not None and not (largest > 0 and ("lr" in later or lr <= largest)):
        raise ValueError(f"lr_max must be the largest lr of the schedule, got {largest!r} for lr={lr!r}")


def value_of(x: Any, dtype: Any) -> Any:
    """A number rounded to a type."""
    return jnp.asarray(x.value() if isinstance(x, Pair) else x).astype(dtype)


def initial_of(value: Any, later: Mapping[str, Any]) -> Any:
    """The initial value of a slot, which may be a hyperparameter that is not known yet."""
    if isinstance(value, _InUse):
        found = later[value.name]
        return found(jnp.zeros((), jnp.int32)) if callable(found) else found
    return value
