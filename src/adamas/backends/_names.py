"""The global names and closures a rule's functions use: what they stand for, and whether that has changed."""

from __future__ import annotations

import builtins
import dis
import functools
import numbers
import sys
import types
from collections.abc import Callable, Hashable, Iterator
from typing import Any, NamedTuple

import numpy as np

from ..rules._base import Form, Rule, Update
from ..rules._reduction import Reduction

__all__ = [
    "FUNCTIONS",
    "Name",
    "array_modules",
    "names_of",
    "same_form",
    "same_kernel",
    "text_key",
    "uses_names",
    "watch",
]

# What `xp` has in every namespace.
FUNCTIONS = ("sqrt", "abs", "maximum", "minimum", "where", "sign", "log", "atan2")
_ABSENT = object()


class Name(NamedTuple):
    """A name that a function looks up outside of itself.

    `attribute` is what is taken from it at once (`sqrt` of `xp.sqrt`), if anything; `value` is what the
    name stands for, `_ABSENT` where it is not defined.
    """

    name: str
    attribute: str | None
    value: Any

    @property
    def resolved(self) -> Any:
        """The value of the name, or of its attribute where it is a module."""
        if self.attribute is not None and isinstance(self.value, types.ModuleType):
            return getattr(self.value, self.attribute, _ABSENT)
        return self.value

    @property
    def is_xp(self) -> bool:
        """Whether the name is the namespace of arrays, under whatever name it was imported."""
        return self.name == "xp" or (
            isinstance(self.value, types.ModuleType) and self.value in array_modules()
        )

    @property
    def defined(self) -> bool:
        """Whether there is such a name."""
        return self.resolved is not _ABSENT


def array_modules() -> list[types.ModuleType]:
    """Modules whose `sqrt`, `abs`, ... mean those of `xp`; those that nobody has imported are not."""
    import math

    loaded = (sys.modules.get(name) for name in ("torch", "jax.numpy"))
    return [np, math, *(module for module in loaded if module is not None)]


@functools.lru_cache(maxsize=1024)
def _looked_up(code: types.CodeType) -> tuple[tuple[str, str | None, bool], ...]:
    """(name, attribute, whether of a closure) of each look-up outside of the code, in order, each once."""
    found: dict[tuple[str, str | None, bool], None] = {}
    instructions = [
        i for i in dis.get_instructions(code) if i.opname not in ("CACHE", "PUSH_NULL", "EXTENDED_ARG")
    ]
    for instruction, following in zip(instructions, [*instructions[1:], None], strict=True):
        free = (
            instruction.opname in ("LOAD_DEREF", "LOAD_CLASSDEREF") and instruction.argval in code.co_freevars
        )
        if free or instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            taken = following is not None and following.opname in ("LOAD_ATTR", "LOAD_METHOD")
            found[instruction.argval, following.argval if taken and following else None, free] = None
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            found.update(dict.fromkeys(_looked_up(constant)))
    return tuple(found)


def names_of(function: Update) -> Iterator[Name]:
    """What a function looks up outside of itself."""
    assert isinstance(function, types.FunctionType)
    for name, attribute, free in _looked_up(function.__code__):
        yield Name(name, attribute, _closure(function, name) if free else _global(function, name))


def _closure(function: types.FunctionType, name: str) -> Any:
    names = function.__code__.co_freevars
    if name not in names or function.__closure__ is None:
        return _ABSENT
    try:
        return function.__closure__[names.index(name)].cell_contents
    except ValueError:  # it is not assigned yet
        return _ABSENT


def _global(function: types.FunctionType, name: str) -> Any:
    return function.__globals__.get(name, getattr(builtins, name, _ABSENT))


def text_key(function: Update) -> Hashable:
    """A key of what a function computes: its code with every name resolved, equal for equal text.

    Numbers go in by value and other functions by their own keys. A function made anew by the same
    text (by `form`, or by running a cell of a notebook again) has the same key; one whose constant has
    changed has another.
    """
    return _key(function, ())


def _key(value: Any, above: tuple[Any, ...]) -> Hashable:
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, numbers.Real):
        return type(value).__name__, float(value).hex()
    if isinstance(value, (tuple, list)):
        return tuple(_key(x, above) for x in value)
    if _is_number_array(value):
        return _key(value.item(), above)
    if not isinstance(value, types.FunctionType):
        return id(value)
    if value in above:  # recursion
        return above.index(value)
    above = (*above, value)
    return (
        value.__code__,
        _key(value.__defaults__, above),
        *(_key(name.resolved, above) for name in names_of(value) if not name.is_xp),
    )


def uses_names(function: Update) -> bool:
    """Whether a function looks up anything outside of itself but the namespace of arrays."""
    return any(not name.is_xp for name in names_of(function))


def _is_number_array(value: Any) -> bool:
    """Whether it is an array or a tensor without dimensions."""
    return getattr(value, "ndim", None) == 0 and hasattr(value, "item")


def same_form(one: Form, other: Form) -> bool:
    """Whether two forms store and compute the same, though their functions be other objects."""
    return (
        list(one.slots.items()) == list(other.slots.items())
        and _same_text(one.update, other.update)
        and _same_sums(one.reduction, other.reduction)
    )


def _same_sums(one: Reduction | None, other: Reduction | None) -> bool:
    if one is None or other is None:
        return one is other
    same = (one.scope, list(one.kept.items())) == (other.scope, list(other.kept.items()))
    return same and _same_text(one.measure, other.measure) and _same_text(one.factors, other.factors)


def _same_text(one: Update, other: Update) -> bool:
    return one is other or text_key(one) == text_key(other)


def same_kernel(rule: Rule, other: Rule) -> bool:
    """Whether two rules share a kernel: the same slots and update, whatever their scalars.

    ε is compared too, because a kernel keeps subnormal state where ε is too small to hide it.
    """
    return getattr(rule, "eps", None) == getattr(other, "eps", None) and same_form(rule.form(), other.form())


def watch(function: Update) -> Callable[[], bool]:
    """A check, cheap enough for every step, of whether `text_key(function)` may still be what it is now.

    It compares the objects that names stand for, in the functions called too, by identity, and the contents
    of those that can change in place. False says that one was replaced, perhaps by its equal.
    """
    codes: list[tuple[types.FunctionType, types.CodeType]] = []
    places: list[tuple[Any, str, Any]] = []
    cells: list[tuple[Any, Any]] = []
    _watch(function, codes, places, cells)
    changeable = [
        (value, _key(value, ()))
        for value in (*(place[2] for place in places), *(cell[1] for cell in cells))
        if isinstance(value, list) or (_is_number_array(value) and not isinstance(value, np.generic))
    ]

    def unchanged() -> bool:
        for owner, code in codes:
            if owner.__code__ is not code:
                return False
        for scope, name, value in places:
            if scope.get(name, _ABSENT) is not value:
                return False
        for cell, value in cells:
            if cell.cell_contents is not value:
                return False
        for value, key in changeable:  # noqa: SIM110
            if _key(value, ()) != key:
                return False
        return True

    return unchanged


def _watch(function: Any, codes: list[Any], places: list[Any], cells: list[Any]) -> None:
    if any(function is seen for seen, _ in codes):
        return
    codes.append((function, function.__code__))
    for name in names_of(function):
        if name.is_xp or not name.defined:
            continue
        if name.name in function.__code__.co_freevars:
            cells.append((function.__closure__[function.__code__.co_freevars.index(name.name)], name.value))
        else:
            scope = function.__globals__
            places.append((scope, name.name, scope.get(name.name, _ABSENT)))
        if name.value is not name.resolved:
            places.append(
                (name.value.__dict__, name.attribute, name.value.__dict__.get(name.attribute, _ABSENT))
            )
        if isinstance(name.resolved, types.FunctionType):
            _watch(name.resolved, codes, places, cells)
