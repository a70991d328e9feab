"""Exact sums of float64 numbers by slices of 51 bits, in kernels.

A number plus 1.5 x 2^e is rounded to a multiple of 2^(e - 52), and its bits count these multiples: integers,
whose sum does not depend on the order. What rounding took off is exact, and makes the next slice, 51 bits
lower. A grid is named by the exponent field of its 1.5 x 2^e: that of grid b has steps of 2^(b - 1075).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import cfunc, njit, types
from numba.extending import intrinsic

from .. import exact
from .toolbox import access, bitcast, fused, scratch

__all__ = [
    "ABOVE",
    "BITS",
    "INFINITE",
    "INFINITY",
    "MAGNITUDE",
    "NAN",
    "ONE",
    "PART",
    "ZERO",
    "add_sum",
    "add_words",
    "added",
    "clear_words",
    "exactly",
    "exponent",
    "field",
    "float_bits",
    "from_float_bits",
    "fused",
    "kernel_of_sums",
    "load_square",
    "load_word",
    "magic",
    "scratch_squares",
    "scratch_words",
    "store_square",
    "store_word",
]

# The bits of a slice, and how far its grid is above the exponent field of the largest number at least.
BITS = 51
ABOVE = 54 - BITS
# The elements of a block in each of its four places, and of a whole block: few enough for the L1 cache, and
# for a sum of as many slices to fit in an int64.
PART = 1 << 10
WHOLE = 4 * PART + 3
INFINITE, NAN = exact.INFINITE, exact.NAN
ZERO, ONE = np.uint64(0), np.uint64(1)
INFINITY = np.uint64(0x7FF0000000000000)
MAGNITUDE = np.uint64(0x7FFFFFFFFFFFFFFF)

# No flags: a square is rounded before it is sliced, and nothing may be reordered.
_OPTIONS: dict[str, Any] = {"error_model": "numpy"}
exactly = njit(forceinline=True, **_OPTIONS)


def kernel_of_sums(function: Callable[[int], None]) -> Any:
    """Compile `function(job)` to a C function of one address, cached on disk beside its source."""
    return cfunc(types.void(types.int64), cache=True, **_OPTIONS)(function)


# Unsigned, because sums of bits wrap, which LLVM takes for impossible in Numba's signed integers.
float_bits, from_float_bits = bitcast(types.float64, types.uint64), bitcast(types.uint64, types.float64)
scratch_squares, scratch_words = scratch(WHOLE, types.float64), scratch(exact.LENGTH, types.int64)
load_square, store_square = access("squares", "g squares words", types.float64)
load_word, store_word = access("words", "g squares words", types.int64)


@intrinsic
def added(typing_context: Any, address: Any, index: Any, value: Any) -> Any:
    """Add to the int64 at `address[index]`, whatever other threads do; what was there before."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = builder.inttoptr(args[0], ir.PointerType(ir.IntType(64)))
        return builder.atomic_rmw("add", builder.gep(pointer, [args[1]]), args[2], "monotonic")

    return types.int64(types.int64, types.int64, types.int64), generate


@exactly
def magic(grid):  # type: ignore[no-untyped-def]
    """The number of a grid that rounds to it by being added."""
    return from_float_bits(np.uint64((np.int64(grid) << 52) | np.int64(1 << 51)))


@exactly
def exponent(bits):  # type: ignore[no-untyped-def]
    """The exponent field of a float64 that is not negative: 0 below the normal numbers."""
    return np.int64(bits >> np.uint64(52))


@exactly
def field(magnitude):  # type: ignore[no-untyped-def]
    """The exponent field of the square of a float64 with these bits: 0 below the normal numbers."""
    g = from_float_bits(magnitude)
    return exponent(float_bits(g * g))


@exactly
def add_sum(words, bits, count, grid, doubled):  # type: ignore[no-untyped-def]
    """Add to words the sum of the bits of `count` numbers in a slice, times 2^-(2 doubled)."""
    total = np.int64(bits - np.uint64(count) * float_bits(magic(grid)))
    offset = grid - 1075 - 2 * doubled - exact.LEAST
    place, shift, mask = offset >> 5, offset & 31, np.int64(0xFFFFFFFF)
    low, high = (total & mask) << shift, (total >> 32) << shift
    store_word(words, place, load_word(words, place) + (low & mask))
    store_word(words, place + 1, load_word(words, place + 1) + (low >> 32) + (high & mask))
    store_word(words, place + 2, load_word(words, place + 2) + (high >> 32))


@exactly
def clear_words(words):  # type: ignore[no-untyped-def]
    """Set the words of one thread to zero."""
    for j in range(exact.LENGTH):
        store_word(words, j, np.int64(0))


@exactly
def add_words(total, words):  # type: ignore[no-untyped-def]
    """Add the words of one thread to those of all."""
    for j in range(exact.LENGTH):
        word = load_word(words, j)
        if word != 0:
            added(total, j, word)  # type: ignore[call-arg]
