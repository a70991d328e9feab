"""What the tests of exact sums share: numbers of any range, and sums of their squares by integers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from format_support import Stored

from adamas import formats
from adamas.backends import exact

Values = np.ndarray[Any, Any]
PLAIN = [name for name in formats.names() if not formats.get(name).scaled]


def numbers(name: str, n: int, span: int, zeros: float, seed: int) -> Values:
    """Numbers of a format, their exponents spread over 2^-span to 2^span, some of them zero."""
    random = np.random.default_rng(seed)
    format = formats.get(name)
    limit = {"float16": 15, "float64": 1023}.get(name, 127)
    least = {"float16": 24, "float64": 1074}.get(name, 149)
    powers = random.integers(-min(span, least), min(span, limit), n, endpoint=True)
    values = np.ldexp(random.uniform(0.5, 0.99, n) * random.choice([-1, 1], n), powers)
    values = np.where(random.random(n) < zeros, 0, values)
    return Stored(format, values).values.astype(np.float64)


def sum_in(words: Values) -> int:
    """The sum that words have, in units of 2^LEAST."""
    return sum(word << 32 * j for j, word in enumerate(words[: exact.INFINITE].tolist()))


def sum_of_squares(values: Values) -> int:
    """That of the squares, each rounded to 53 bits whatever its exponent."""
    mantissas, powers = np.frexp(values)
    squares = np.ldexp(mantissas * mantissas, 54).astype(np.int64).tolist()
    shifts = (2 * powers.astype(np.int64) - 54 - exact.LEAST).tolist()
    return sum(square << shift for square, shift in zip(squares, shifts, strict=True))


def root_of_squares(values: Values) -> float:
    """The root of the rounded sum."""
    total = sum_of_squares(values)
    power = total.bit_length() // 2
    try:
        return math.ldexp(math.sqrt(total / 4**power), power + exact.LEAST // 2)
    except OverflowError:
        return math.inf
