"""What the tests of codes share: every format there is, its codes, and the distances between them."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from adamas import formats
from adamas.formats import Format
from adamas.rules import Rule

Values = npt.NDArray[Any]

# Formats that store something else than what is computed.
STORED = [name for name in formats.names() if formats.get(name).encode is not None]
SCALED = [name for name in STORED if formats.get(name).scaled]
UNSCALED = [name for name in STORED if not formats.get(name).scaled]
every_stored = pytest.mark.parametrize("name", STORED)
every_scaled = pytest.mark.parametrize("name", SCALED)
every_unscaled = pytest.mark.parametrize("name", UNSCALED)
both_signs = pytest.mark.parametrize("signed", [True, False], ids=["signed", "nonnegative"])
# The largest error of a value through its scale, its inverse and a product, and the margin of the scale.
MARGIN = 2.0**-20 + 4 * float(np.finfo(np.float32).eps)


def codes_of(format: Format) -> Values:
    """All of them: 65,536, 256 or 16."""
    return np.arange(1 << 8 * format.stored.itemsize // format.packs).astype(format.stored)


def decode(format: Format, codes: Any, scale: Any = 1.0) -> Values:
    """Codes, not packed, to values."""
    assert format.decode is not None
    with np.errstate(invalid="ignore", over="ignore"):
        return format.decode(
            np.asarray(codes, format.stored), *([np.asarray(scale, np.float32)] if format.scaled else [])
        )


@functools.cache
def grid(name: str, signed: bool) -> Values:
    """The values of all codes, in their order, at a scale of one."""
    return decode(formats.get(name, signed), codes_of(formats.get(name, signed)))


@functools.cache
def numbers(name: str, signed: bool) -> Values:
    """All finite values in ascending order, at a scale of one, in float64."""
    values = grid(name, signed)
    return np.unique(values[np.isfinite(values)].astype(np.float64))


@functools.cache
def magnitudes(name: str, signed: bool) -> Values:
    """All finite magnitudes in ascending order, and zero, at a scale of one, in float64."""
    return np.unique([0.0, *np.abs(numbers(name, signed))])


def smallest(name: str, signed: bool) -> float:
    """The smallest positive magnitude at a scale of one."""
    return float(magnitudes(name, signed)[1])


def limit_of(name: str, signed: bool) -> float:
    """The magnitude at which state saturates, infinity too; infinite where it does not."""
    format = formats.get(name, signed)
    largest = np.inf if format.largest is None else format.largest
    return min(largest, float(np.finfo(np.float32).max) * (1 - 2.0**-18)) if format.scaled else largest


def spacing(format: Format, values: Values, scale: Any = 1.0) -> Values:
    """The distance of the two codes beside each value, of which it becomes one.

    Where a value is next to a code, which its last bits may lead it past, the longer of the distances on
    both sides.
    """
    size = np.abs(np.asarray(values, np.float64))
    if format.encode is None:
        return size * 0
    points = magnitudes(format.name, format.signed)
    gaps = np.append(np.diff(points), 0.0)
    scale = np.asarray(scale, np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        size = np.where(scale > 0, size / scale, 0)
    near = [np.searchsorted(points, size * factor, side="right") - 1 for factor in (1 - 1e-5, 1, 1 + 1e-5)]
    longest: Values = np.max(gaps[np.array(near)], axis=0) * scale
    return longest


def fits_rule(rule: Rule, name: str) -> bool:
    """Whether a format is fit for all slots of a rule, as front ends have it."""
    slots, format = rule.form().slots.values(), formats.get(name)
    divides = any(not slot.signed for slot in slots)
    fine = all(format.bits >= slot.least_bits for slot in slots)
    ends = format.largest is not None and not format.scaled and divides
    return fine and not ends and (divides or not slots or not format.needs_divisor)


def coarseness(name: str) -> float:
    """The largest distance of two codes over the lower one, of normal numbers of either sign: 2^-7 of
    bfloat16's."""
    found = []
    for signed in (True, False):
        points = magnitudes(name, signed)
        upper = points[points >= points[-1] * 0.2]
        found.append(float((np.diff(upper) / upper[:-1]).max()))
    return max(found)
