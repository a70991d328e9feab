"""Mistakes in a rule's definition, found before its first step, with what to write instead."""

from __future__ import annotations

import inspect
import types
from typing import Any

import numpy as np

from ..rules import Rule
from ..rules._base import Form, check_slots
from ._base import RuleSourceError
from ._bind import bind, host_carry, host_scalars
from ._trace import place, trace

__all__ = ["check_rule", "input_names"]

# What has been found to be right: the class, its slots and the code of its update, which this keeps alive.
_RIGHT: dict[tuple[type[Rule], int, tuple[str, ...]], Any] = {}
# Gradients of both signs and none, whose moments change sign.
_PROBE = np.array([[-1.0, 0.5, 0.0, 3.0], [0.25, -2.0, 0.0, 1e-3], [0.0, 0.0, 1.0, -3.0]])


def check_rule(rule: Rule) -> Form:
    """The rule's form, once it has been seen that slots, scalars and `update` fit together.

    Raises:
        TypeError, ValueError: they do not; one sentence names the rule, the line, and what to write.
    """
    form = rule.form()
    slots, update = form
    code = getattr(update, "__code__", None)
    key = type(rule), id(code), tuple(slots)
    if key in _RIGHT:
        return form
    check_slots(type(rule), slots)
    names = input_names(rule, form)
    try:
        trace(type(rule).__name__, update, names, 2 + len(slots))
    except RuleSourceError:
        pass  # whole arrays may take it
    _probe(rule, form)
    _RIGHT[key] = code
    return form


def input_names(rule: Rule, form: Form) -> list[str]:
    """The names of `update`'s arguments, one for each array and scalar.

    Raises:
        TypeError: they are not p, g, the slots in order, and one for each scalar.
    """
    title, update = type(rule).__name__, form.update
    if not isinstance(update, types.FunctionType):
        raise TypeError(f"{title}: write update(p, g, ...) as a static method of Python, not {type(update).__name__}")
    line = place((update.__code__.co_filename, update.__code__.co_firstlineno))
    parameters = inspect.signature(update).parameters.values()
    names = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    needed = sum(p.default is p.empty for p in parameters if p.name in names)
    rest = next((p.name for p in parameters if p.kind is p.VAR_POSITIONAL), None)
    if any(p.kind is p.KEYWORD_ONLY and p.default is p.empty for p in parameters):
        raise TypeError(f"{title}.update takes positional arguments alone, without a * between them{line}")
    arrays = ["p", "g", *form.slots]
    if names[:1] == ["self"]:
        raise TypeError(f"{title}.update takes no self: write @staticmethod above it and update({', '.join(arrays)}, ...){line}")
    if names[: len(arrays)] != arrays[: len(names)] or (len(names) < len(arrays) and rest is None):
        raise TypeError(f"{title}.update takes ({', '.join(arrays)}, ...) by the names and order of slots, not ({', '.join(names)}){line}")
    count = len(arrays) + len(_scalars(rule))
    if count < needed or (count > len(names) and rest is None):
        raise TypeError(
            f"{title}: scalars(t) returns {count - len(arrays)} numbers and update takes {len(names) - len(arrays)} after "
            f"{', '.join(arrays)}: make them agree, or name a state array in slots{line}"
        )
    return [*names[:count], *(f"{rest}_{k}" for k in range(count - len(names)))]


def _scalars(rule: Rule) -> tuple[float, ...]:
    """The scalars of the first step, seen to be a tuple of as many numbers at every step."""
    title, function = type(rule).__name__, type(rule).scalars
    line = place((function.__code__.co_filename, function.__code__.co_firstlineno)) if hasattr(function, "__code__") else ""
    parameters = list(inspect.signature(function).parameters.values())
    if len([p for p in parameters if p.kind is not p.VAR_KEYWORD]) < 2:
        raise TypeError(f"{title}: write scalars(self, t): it takes the number of the step{line}")
    carried = rule.carry(1, *rule.carried.values())
    found = rule.scalars(1, *carried)
    if not isinstance(found, tuple):
        raise TypeError(f"{title}.scalars(t) returns a tuple, such as `return self.lr,`, not {type(found).__name__}{line}")
    for k, x in enumerate(found):
        try:
            float(x)
        except (TypeError, ValueError):
            raise TypeError(f"{title}.scalars(t) returns numbers, and number {k + 1} is {str(x)[:60]!r}{line}") from None
    for t in (2, 3, 1000):
        try:
            later = rule.scalars(t, *carried)
        except Exception:
            break  # it is for the step that meets it to say so
        if len(later) != len(found):
            raise TypeError(f"{title}.scalars(t) returns {len(found)} numbers at t = 1 and {len(later)} at t = {t}{line}")
    return found


def _probe(rule: Rule, form: Form) -> None:
    """A few steps on NumPy's arrays, whole and by elements."""
    title = type(rule).__name__
    p = np.array([1.0, -2.0, 0.5, 3.0])
    whole, parts = [(p, *(np.full_like(p, slot.initial) for slot in form.slots.values()))] * 2
    update, carried = bind(form.update, np), tuple(rule.carried.values())
    for t, g in enumerate(_PROBE, start=1):
        try:
            with np.errstate(all="ignore"):
                carried = host_carry(rule, t, *carried)
                scalars = host_scalars(rule, t, *carried)
                whole = _stepped(update, whole, g, scalars)
                pieces = [_stepped(update, tuple(x[k : k + 1] for x in parts), g[k : k + 1], scalars) for k in range(p.size)]
                parts = tuple(map(np.concatenate, zip(*pieces, strict=True)))
        except Exception:
            return  # NumPy may lack what another namespace has
        for name, one, other in zip(["p", *form.slots], whole, parts, strict=True):
            if not np.allclose(one, other, rtol=1e-9, atol=0, equal_nan=True):
                raise ValueError(f"{title}.update is not elementwise: {name} of one element depends on others; an update sees each by itself")
        for (name, slot), values in zip(form.slots.items(), whole[1:], strict=True):
            if not slot.signed and (values < 0).any():
                raise ValueError(f"{title}: slot {name!r} is NONNEGATIVE and becomes {values.min():.3g}; declare it SIGNED")


def _stepped(update: Any, state: tuple[Any, ...], g: Any, scalars: tuple[float, ...]) -> tuple[Any, ...]:
    p, *slots = state
    new = update(p, g, *slots, *scalars)
    return tuple(np.broadcast_to(np.asarray(x, np.float64), p.shape) for x in new)
