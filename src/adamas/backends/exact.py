"""The exact sum of squares as a vector of integers: vectors add up, and in any order to the same bits.

A square is rounded to 53 bits whatever its exponent: it neither overflows nor underflows. Those of numbers of
32 bits or fewer are exact.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

__all__ = ["INFINITE", "LEAST", "LENGTH", "NAN", "root", "words_of"]

# Word j is worth 2^(32 j + LEAST), from below the smallest square of a float64 to above the largest. Single
# words are below 2^33 for each 4096 elements, so that vectors of 2^40 elements can be added up.
LEAST = -2304
# Positive where a number is infinite, and where one is NaN.
INFINITE, NAN = 142, 143
LENGTH = 144


def words_of(total: int) -> np.ndarray[Any, Any]:
    """The vector, `LENGTH` int64, of a sum of squares in units of 2^LEAST."""
    words = np.zeros(LENGTH, np.int64)
    words[:INFINITE] = np.frombuffer(total.to_bytes(4 * INFINITE, "little"), "<u4")
    return words


def root(words: np.ndarray[Any, Any]) -> float:
    """The root of the sum of squares, which is rounded once before; NaN or infinite where a number is."""
    if words[NAN]:
        return math.nan
    if words[INFINITE]:
        return math.inf
    places = words.nonzero()[0].tolist()
    total = sum([word << 32 * place for place, word in zip(places, words[places].tolist(), strict=True)])
    # An even power of two brings any sum into the range of float64.
    power = total.bit_length() & ~1
    try:
        return math.ldexp(math.sqrt(total / (1 << power)), (power + LEAST) // 2)
    except OverflowError:
        return math.inf
