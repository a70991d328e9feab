"""Hyperparameters that are numbers, traced numbers or schedules, and what a step makes of them."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from .._tools.names import suggestion
from ..backends import array_carry, array_scalars
from ..rules import Rule
from ..rules._base import Live
from ._pairs import NAMESPACE, Pair, as_pair, widest

__all__ = ["Numbers", "Scalars", "changes", "initial_of", "next_count", "value_of"]


def next_count(count: Any) -> Any:
    """The number of the step after so many; the greatest int32 stays."""
    return count + (count < 2**31 - 1).astype(jnp.int32)


def changes(x: Any) -> bool:
    """Whether a number may be another at another step: an array of JAX, traced or not, or a schedule."""
    return isinstance(x, jax.Array) or callable(x)


class _InUse(float, Live):
    """What stands for a number that is not known where it is asked for what a rule stores: it is not 0."""

    later: Any


@dataclass(frozen=True)
class Scalars:
    """What a step needs beside arrays: `update`'s scalars, and the options that are numbers."""

    update: tuple[Any, ...]
    carried: dict[str, Any]
    options: dict[str, Any]


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
        known = {name: x for name, x in hyperparameters.items() if name not in later}
        rule = dataclasses.replace(rule, **known) if known else copy.copy(rule)  # type: ignore[type-var]
        for name in later.keys() & set(fields):
            stand_in = _InUse(0.5)
            stand_in.later = later[name]
            object.__setattr__(rule, name, stand_in)
        return cls(rule, options, later)

    def at(self, count: Any, carried: Mapping[str, Any]) -> Scalars:
        """The scalars of the step after `count` steps, a traced int32."""
        found = {name: as_pair(x(count) if callable(x) else x) for name, x in self.later.items()}
        rule = copy.copy(self.rule)
        for name in found.keys() - self.options.keys():
            object.__setattr__(rule, name, found[name])
        t = as_pair(next_count(count))
        old = [as_pair(carried[name]) for name in rule.carried]
        new = array_carry(rule, t, *old, xp=NAMESPACE) if old else ()
        update = array_scalars(rule, t, *new, xp=NAMESPACE)
        options = {name: found.get(name, x) for name, x in self.options.items()}
        options["decay_rate"] = options["weight_decay"] * (
            rule.lr if options["decoupled_weight_decay"] else 1.0
        )
        if options["average"] is not None:
            options["average"] = (1 - options["average"]) / (1 - options["average"] ** t)
        named = zip(rule.carried, new, strict=True)
        return Scalars(update, {name: value_of(x, widest()) for name, x in named}, options)


def value_of(x: Any, dtype: Any) -> Any:
    """A scalar for arithmetic in a type; Python's numbers stay, and are rounded once."""
    return x.value().astype(dtype) if isinstance(x, Pair) else x


def initial_of(value: Any, dtype: Any) -> Any:
    """The initial value of a slot, which may be a hyperparameter that is not known yet."""
    later = getattr(value, "later", value)
    if callable(later):
        later = later(jnp.zeros((), jnp.int32))
    return value_of(as_pair(later), dtype)
