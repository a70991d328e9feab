"""The steps that a row has missed, summed: what a run of steps without a gradient does, in a few numbers.

Between steps s and e without a gradient, θ moves by m_s Σ_j a_j / (r_j √v_s + ε_j), with a_j, r_j and ε_j
that do not depend on the element. With b_j = a_j / r_j and η_j = ε_j / r_j that is
m_s Σ_j b_j / (√v_s + η_j), and the η_j lie close together. Around their mean η, with w = η / (√v_s + η),
which lies in [0, 1],

    Σ_j b_j / (√v_s + η_j) = w/η Σ_n w^n Σ_j b_j (1 - η_j/η)^n:

a few coefficients for all elements and rows of that (s, e), whatever their v, and an error that is known
beforehand. Where η_j are too far apart for `ORDER` terms, as in the first steps, the sum is cut into parts.
This is the closed form without ε (n = 0, w = 0) made exact.

The functions below are compiled as they stand.
"""

from __future__ import annotations

import functools
import math
from types import ModuleType
from typing import Any

import numpy as np

from .functions import compile_functions

__all__ = ["KEPT", "ORDER", "compiled"]

# Terms of a part.
ORDER = 6
# What is kept of the sum from a step on, in this order: how many steps are in it; whether no later one moves
# a row; the products of the factors of what it moves along and over; what was left at the step before; η;
# then, all decaying as the parameter does, the error, the least that the sum may be, and the part: what moves
# undivided, a place for η, and the coefficients.
_COUNT, _ENDED, _PRODUCT, _ROOT, _LAST, _LAST_RATE, _MEAN, _ERROR, _LEAST, _PLAIN = range(10)
KEPT = _PLAIN + 2 + ORDER

_Floats = np.ndarray[Any, np.dtype[np.float64]]
_Integers = np.ndarray[Any, Any]


def product(factors: _Floats, logs: _Floats, zeros: _Integers, k: int, first: int, last: int) -> float:
    """The product of factors k of the steps from `first` to before `last`."""
    if zeros[k] > first:
        return 0.0
    if last - first < 64:
        result = 1.0
        for j in range(first, last):
            result *= factors[k, j]
        return result
    return math.exp(logs[k, last] - logs[k, first])


def part(
    weights: _Floats, shifts: _Floats, first: int, last: int, count: int, tolerance: float, out: _Floats
) -> bool:
    """Write the mean η and the coefficients of terms `first` to before `last`; whether they are close enough.

    Args:
        weights, shifts: b and η of each of `count` terms.
        tolerance: of the error, in units of the whole sum.
    """
    total, mean = 0.0, 0.0
    for j in range(first, last):
        total += abs(weights[j])
        mean += abs(weights[j]) * shifts[j]
    out[:] = 0.0
    if total == 0.0:
        out[0] = 1.0
        return True
    mean /= total
    out[0] = mean
    if mean == 0.0:
        for j in range(first, last):
            out[1] += weights[j]
        return True
    error = 0.0
    for j in range(first, last):
        ratio = 1.0 - shifts[j] / mean
        weight = weights[j]
        for n in range(ORDER):
            out[1 + n] += weight
            weight *= ratio
        # The rest of the series is its next term over 1 - ratio w.
        error += abs(weight) * max(1.0, mean / shifts[j])
    if last - first == 1:
        return True
    # Whatever v is, the whole sum is at least this over √v + η.
    least = 0.0
    for j in range(count):
        least += abs(weights[j]) * min(1.0, mean / shifts[j])
    return error <= tolerance * least


def begin(start: int, along: int, factors: _Floats, moves: _Floats, kept: _Floats) -> None:
    """Begin the sum of the steps after `start`, around the mean η that the betas of now would give."""
    kept[:] = 0.0
    kept[_PRODUCT], kept[_ROOT] = 1.0, 1.0
    shrunk, ratio = moves[3, start], moves[1, start]
    fading = factors[along, start] / shrunk if shrunk > 0.0 else 1.0
    if ratio > 0.0 and fading < 1.0:
        kept[_MEAN] = moves[2, start] / ratio / shrunk ** (1.0 / (1.0 - fading))
    else:
        kept[_MEAN] = 1.0


def term(
    j: int, before: float, moved: float, shrunk: float, moves: _Floats, signed: bool
) -> tuple[float, float, float]:
    """Return a, r and ε of step j of a row, from the products of factors before it and after it."""
    a = moves[0, j] * ((1.0 if before != 0.0 else 0.0) if signed else moved)
    return a, moves[1, j] * shrunk, moves[2, j]


def extend(
    start: int,
    now: int,
    along: int,
    over: int,
    factors: _Floats,
    moves: _Floats,
    tolerance: float,
    signed: bool,
    kept: _Floats,
) -> None:
    """Add the steps up to `now` to the sum of those after `start`, as long as they move a row."""
    mean = kept[_MEAN]
    while kept[_ENDED] == 0.0 and start + kept[_COUNT] < now:
        j = start + int(kept[_COUNT])
        before = kept[_PRODUCT]
        kept[_PRODUCT] *= factors[along, j]
        kept[_ROOT] *= moves[3, j]
        moved, shrunk = kept[_PRODUCT], kept[_ROOT]
        for k in range(_ERROR, len(kept)):
            kept[k] *= factors[0, j]
        kept[_COUNT] += 1.0
        a, r, eps = term(j, before, moved, shrunk, moves, signed)
        if over == 0:
            kept[_PLAIN] += a
        elif r == 0.0:
            kept[_PLAIN] += a / eps if a != 0.0 else 0.0
        else:
            weight, shift = a / r, eps / r
            ratio = 0.0 if shift == mean else 1.0 - shift / mean
            # At least this, over √v + η, whatever v is.
            kept[_LEAST] += abs(weight) * (1.0 if shift <= mean else mean / shift)
            for n in range(ORDER):
                kept[_PLAIN + 2 + n] += weight
                weight *= ratio
            # The rest of the series is its next term over 1 - ratio w.
            kept[_ERROR] += abs(weight) * (1.0 if shift >= mean else mean / shift)
        if signed:
            continue
        # What is left after step j, in units of a step, for the largest v and for the smallest.
        rate = moved / shrunk if shrunk > 0.0 else moved
        if moved == 0.0:
            kept[_ENDED] = 1.0
        elif kept[_LAST] > moved and kept[_LAST_RATE] > rate:
            slow = max(moved / kept[_LAST], rate / kept[_LAST_RATE])
            if max(moved, rate) * slow <= tolerance * (1.0 - slow):
                kept[_ENDED] = 1.0
        kept[_LAST], kept[_LAST_RATE] = moved, rate


def cut(
    start: int,
    count: int,
    along: int,
    over: int,
    factors: _Floats,
    moves: _Floats,
    tolerance: float,
    signed: bool,
    scratch: _Floats,
    used: int,
    out: _Floats,
) -> int:
    """Sum up `count` steps after `start` in as many parts as it takes; the number of parts written, or -1."""
    weights, shifts = scratch[0], scratch[1]
    moved, shrunk, undivided = 1.0, 1.0, 0.0
    for k in range(count):
        j = start + k
        before = moved
        moved *= factors[along, j]
        shrunk *= moves[3, j]
        a, r, eps = term(j, before, moved, shrunk, moves, signed)
        undivided *= factors[0, j]
        weights[k], shifts[k] = 0.0, 1.0
        if r != 0.0:
            weights[k], shifts[k] = a / r, eps / r
        elif a != 0.0:
            undivided += a / eps
    decay = 1.0
    for k in range(count - 1, -1, -1):
        weights[k] *= decay
        decay *= factors[0, start + k]
    stack = np.empty((64, 2), np.int64)
    begun, depth = used, 1
    stack[0, 0], stack[0, 1] = 0, count
    while depth > 0:
        depth -= 1
        first, last = stack[depth, 0], stack[depth, 1]
        if used >= len(out):
            return -1
        out[used, 0] = 0.0
        if part(weights, shifts, first, last, count, tolerance, out[used, 1:]):
            used += 1
        else:
            middle = (first + last) // 2
            stack[depth, 0], stack[depth, 1] = middle, last
            stack[depth + 1, 0], stack[depth + 1, 1] = first, middle
            depth += 2
    out[begun, 0] = undivided
    return used


def sums(
    starts: _Integers,
    now: int,
    along: int,
    over: int,
    signed: bool,
    tolerance: float,
    factors: _Floats,
    logs: _Floats,
    zeros: _Integers,
    offsets: _Floats,
    moves: _Floats,
    kept: _Floats,
    scratch: _Floats,
    products: _Floats,
    moved: _Integers,
    parts: _Integers,
    out: _Floats,
) -> int:
    """Sum up the steps from each of `starts` to `now`.

    Args:
        starts: distinct steps, from which rows lag.
        factors, logs, zeros: of each step the decay of the parameter and the factors of the slots; the sums
            of their logarithms before each step; the step after the last that is zero.
        offsets: what is added to each slot up to each step.
        moves: the step, ratio, ε, and the factor of what is divided by, of each step.
        kept: the sums from each step, as far as they are made; see `extend`.
        scratch: two rows, as long as the most steps of a sum.
        products: written, a row each start: products of factors, then sums of offsets.
        moved: written: the number of steps that move a row.
        parts: written: the number of the first part of each start; one more entry.
        out: written, a row a part: what moves undivided, η, and the coefficients.

    Returns:
        The number of parts, or -1 where `out` is too short.
    """
    kinds, used = len(factors), 0
    for u in range(len(starts)):
        s = starts[u]
        parts[u] = used
        for k in range(kinds):
            total = product(factors, logs, zeros, k, s, now)
            products[u, k] = total
            products[u, kinds + k] = offsets[k, now] - total * offsets[k, s]
        if used >= len(out):
            return -1
        mine = kept[s]
        if along == 0:
            moved[u] = 0
            out[used] = 0.0
            out[used, 1] = 1.0
            used += 1
            continue
        if mine[_COUNT] == 0.0:
            begin(s, along, factors, moves, mine)
        extend(s, now, along, over, factors, moves, tolerance, signed, mine)
        count = int(mine[_COUNT])
        moved[u] = count
        begun = used
        if mine[_ERROR] <= tolerance * mine[_LEAST]:
            out[used] = mine[_PLAIN:]
            out[used, 1] = mine[_MEAN]
            used += 1
        else:
            used = cut(s, count, along, over, factors, moves, tolerance, signed, scratch, used, out)
            if used < 0:
                return -1
        if s + count < now:
            decay = product(factors, logs, zeros, 0, s + count, now)
            for k in range(begun, used):
                out[k, 0] *= decay
                out[k, 2:] *= decay
    parts[len(starts)] = used
    return used


@functools.cache
def compiled() -> ModuleType:
    """The functions of this module, compiled."""
    return compile_functions("missed", [product, part, begin, term, extend, cut, sums], globals())
