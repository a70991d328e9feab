"""Lists of rows: which lag, which a gradient has, and where they are in memory.

The functions below are compiled as they stand.
"""

from __future__ import annotations

import functools
from types import ModuleType
from typing import Any

import numpy as np

from . import toolbox
from .functions import compile_functions

__all__ = ["row_lists"]

# How far ahead the lines of rows anywhere in memory are asked for.
_AHEAD = 24
# An intrinsic, which takes an address where it is compiled.
prefetch: Any = toolbox.prefetch

_Integers = np.ndarray[Any, Any]


def lagging(
    wanted: _Integers,
    last: _Integers,
    now: int,
    mark: _Integers,
    rows: _Integers,
    place: _Integers,
    starts: _Integers,
) -> tuple[int, int]:
    """List the rows of `wanted` that are behind `now`, once each, and mark them in `last` as -1 - start.

    Args:
        wanted: row numbers; those that are no rows are left out.
        last: the step up to which each row is.
        mark: -1 for each step; scratch.
        rows, place: written: the rows, and the number of the step in `starts` from which each lags.
        starts: written: these steps.

    Returns:
        How many rows, and how many steps.
    """
    found, distinct, address = 0, 0, last.ctypes.data
    for k in range(len(wanted)):
        prefetch(address + last.itemsize * wanted[min(k + _AHEAD, len(wanted) - 1)])
        r = wanted[k]
        if r < 0 or r >= len(last):
            continue
        s = last[r]
        if s < 0 or s >= now:
            continue
        last[r] = -1 - s
        if mark[s] < 0:
            mark[s] = distinct
            starts[distinct] = s
            distinct += 1
        rows[found], place[found] = r, mark[s]
        found += 1
    for k in range(distinct):
        mark[starts[k]] = -1
    return found, distinct


def settled(rows: _Integers, last: _Integers, now: int) -> None:
    """Mark rows as being at step `now`."""
    for r in rows:
        last[r] = now


def unique(
    indices: _Integers, first: _Integers, rows: _Integers, positions: _Integers, again: _Integers
) -> tuple[int, int]:
    """List the rows of a gradient once each.

    Args:
        indices: the row of each of its parts.
        first: -1 for each row; scratch.
        rows, positions: written: the rows, and where the first part of each is.
        again: written: pairs, the position of a later part of a row, and the number of the row in `rows`.

    Returns:
        How many rows, or -1 where an index is no row; and how many pairs.
    """
    found, repeated, address = 0, 0, first.ctypes.data
    for k in range(len(indices)):
        prefetch(address + first.itemsize * indices[min(k + _AHEAD, len(indices) - 1)])
        r = indices[k]
        if r < 0 or r >= len(first):
            found = -1 - found
            break
        if first[r] < 0:
            first[r] = found
            rows[found], positions[found] = r, k
            found += 1
        else:
            again[repeated, 0], again[repeated, 1] = k, first[r]
            repeated += 1
    for k in range(found if found >= 0 else -1 - found):
        first[rows[k]] = -1
    return (found, repeated) if found >= 0 else (-1, 0)


def addressed(
    rows: _Integers, bases: _Integers, strides: _Integers, column: int, g: _Integers, table: _Integers
) -> None:
    """Write the addresses of rows of matrices; those in `column` are `g`, unless that is empty."""
    for k in range(len(rows)):
        for j in range(len(bases)):
            table[k, j] = bases[j] + strides[j] * rows[k]
        if len(g) > 0:
            table[k, column] = g[k]


def added(values: Any, again: _Integers, number: _Integers, sums: Any) -> None:
    """Add up the later parts of rows: `sums` has the first ones, in the places that `number` says."""
    for k in range(len(again)):
        target, source = sums[number[again[k, 1]]], values[again[k, 0]]
        for i in range(len(target)):
            target[i] += source[i]


@functools.cache
def row_lists() -> ModuleType:
    """The functions of this module, compiled."""
    return compile_functions("row_lists", [lagging, settled, unique, addressed, added], globals())
