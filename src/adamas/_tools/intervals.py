"""Ranges of numbers in the vocabulary of annotated-types, and the checks of values against them."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterator
from typing import Any, get_args

import annotated_types as at
import numpy as np

__all__ = ["as_number", "check_choice", "check_number", "interval_of", "interval_text"]

_TESTS = {"gt": operator.gt, "ge": operator.ge, "lt": operator.lt, "le": operator.le}
_NUMBERS = (int, float, np.floating, np.integer)


def interval_of(hint: Any) -> at.Interval:
    """The range of an annotation: `Annotated[float, Ge(0), Lt(1)]`, or with one `Interval(ge=0, lt=1)`.

    Raises:
        TypeError: it holds no bounds.
    """
    bounds: dict[str, Any] = {}
    for constraint in _flattened(get_args(hint)[1:]):
        for name in _TESTS:
            if hasattr(constraint, name):
                bounds[name] = getattr(constraint, name)
    if not bounds:
        raise TypeError(f"{hint!r} has no bounds: write Annotated[float, annotated_types.Ge(0)], say")
    return at.Interval(**bounds)


def _flattened(constraints: Any) -> Iterator[Any]:
    for constraint in constraints:
        if isinstance(constraint, at.GroupedMetadata):
            yield from _flattened(constraint)
        else:
            yield constraint


def interval_text(interval: at.Interval) -> str:
    """The range in the notation of mathematics: "[0, 1)"."""
    low = f"[{interval.ge}" if interval.ge is not None else f"({_or_infinity(interval.gt, '-inf')}"
    high = f"{interval.le}]" if interval.le is not None else f"{_or_infinity(interval.lt, 'inf')})"
    return f"{low}, {high}"


def _or_infinity(bound: Any, infinity: str) -> str:
    return infinity if bound is None else str(bound)


def contains(interval: at.Interval, number: float) -> bool:
    """Whether a number lies in a range; NaN lies in none."""
    return not math.isnan(number) and all(
        test(number, bound) for name, test in _TESTS.items() if (bound := getattr(interval, name)) is not None
    )


def as_number(value: Any) -> float | None:
    """A number, or an array or tensor without dimensions, as a float; None for anything else."""
    if not isinstance(value, _NUMBERS) and getattr(value, "ndim", None) == 0 and hasattr(value, "item"):
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, _NUMBERS):
        return None
    return float(value)


def check_number(interval: at.Interval, name: str, value: Any) -> float:
    """The value as a float.

    Raises:
        ValueError: it is no number, or lies outside the range; the message has the name, value and range.
    """
    number = as_number(value)
    if number is None:
        raise ValueError(f"{name} must be a number in {interval_text(interval)}, got {value!r}")
    if not contains(interval, number):
        raise ValueError(f"{name} must lie in {interval_text(interval)}, got {value!r}")
    return number


def check_choice(choices: tuple[Any, ...], name: str, value: object) -> Any:
    """The one of the choices that equals the value.

    Raises:
        ValueError: none does; the message has the name, value and choices.
    """
    try:
        return choices[choices.index(value)]
    except ValueError:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, got {value!r}") from None
