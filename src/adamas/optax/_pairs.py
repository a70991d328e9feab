"""Traced numbers with twice the digits of JAX's widest float: each a pair, its value the sum of both.

A rule computes its scalars of the step number, as 1 - β^t, of which float32 keeps four digits at t = 1, and
float32 is all that JAX has unless it is told otherwise. A sum of pairs keeps what its rounding has lost
(Knuth), and a product is made of halves whose products are exact: a compiler may fuse them into sums and
change nothing.
"""

from __future__ import annotations

import decimal
import functools
import math
import operator
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ..rules._base import Live

__all__ = ["NAMESPACE", "Pair", "as_pair", "widest"]

_WORDS: dict[Any, tuple[Any, int]] = {
    np.dtype(np.float32): (jnp.uint32, 0xFFFFF000),
    np.dtype(np.float64): (jnp.uint64, 0xFFFFFFFFF8000000),
}


def widest() -> np.dtype[Any]:
    """The widest float that JAX has now: float64 where x64 is enabled."""
    return np.dtype(jax.dtypes.canonicalize_dtype(np.float64))


class Pair(Live):
    """A traced number: `upper`, rounded to nearest, and `lower`, what the rounding has lost.

    Arithmetic with numbers and other pairs gives pairs, comparisons give traced conditions. Derivatives are
    those of the exact arithmetic.
    """

    __array_ufunc__ = None  # NumPy's numbers then leave arithmetic with a pair to the pair
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, upper: Any, lower: Any, whole: Any = None) -> None:
        self.upper, self.lower, self.whole = upper, lower, whole

    def value(self) -> Any:
        """The number, rounded once."""
        return self.upper + self.lower  # not `upper` alone: derivatives pass through both

    def __neg__(self) -> Pair:
        return Pair(-self.upper, -self.lower)

    def __pos__(self) -> Pair:
        return self

    def __abs__(self) -> Pair:
        return where(self.upper < 0, -self, self)

    def __add__(self, other: Any) -> Pair:
        other = as_pair(other)
        total, lost = _sum(self.upper, other.upper)
        return _normal(total, lost + (self.lower + other.lower))

    def __sub__(self, other: Any) -> Pair:
        return self + -as_pair(other)

    def __rsub__(self, other: Any) -> Pair:
        return as_pair(other) + -self

    def __mul__(self, other: Any) -> Pair:
        other = as_pair(other)
        total, lost = _product(self.upper, other.upper)
        return _normal(total, lost + (self.upper * other.lower + self.lower * other.upper))

    def __truediv__(self, other: Any) -> Pair:
        other = as_pair(other)
        first = Pair(self.upper / other.upper, jnp.zeros_like(self.upper))
        rest = self - first * other
        return first + Pair(rest.upper / other.upper, jnp.zeros_like(self.upper))

    def __rtruediv__(self, other: Any) -> Pair:
        return as_pair(other) / self

    def __pow__(self, other: Any) -> Pair:
        if isinstance(other, (int, float)) and other == 0.5:
            return sqrt(self)
        if isinstance(other, int) and 0 <= other <= 4:
            return functools.reduce(lambda x, y: x * y, [self] * other, as_pair(1.0))
        return _power(self, as_pair(other))

    def __rpow__(self, other: Any) -> Pair:
        return _power(other, self)

    __radd__, __rmul__ = __add__, __mul__


def as_pair(x: Any) -> Pair:
    """A pair of a number: a traced one, an int32 too, or Python's, to all its digits."""
    if isinstance(x, Pair):
        return x
    dtype = widest()
    if isinstance(x, (bool, int, float, np.number)):
        upper = dtype.type(x)
        lower = dtype.type(float(x) - float(upper)) if math.isfinite(upper) else dtype.type(0)
        return Pair(jnp.asarray(upper), jnp.asarray(lower))
    upper = jnp.asarray(x).astype(dtype)
    if not jnp.issubdtype(x.dtype, jnp.integer):
        rest = jnp.zeros_like(upper) if x.dtype.itemsize <= dtype.itemsize else x - upper.astype(x.dtype)
        return Pair(upper, rest.astype(dtype))
    # The greatest int32 is rounded up, and would not go back.
    near = jnp.where(upper < 2.0**31, upper, 0).astype(x.dtype)
    return Pair(upper, (x - near).astype(dtype), whole=x)


def _sum(x: Any, y: Any) -> tuple[Any, Any]:
    """A sum, and what its rounding has lost."""
    total = _kept(x + y)
    part = _kept(total - x)
    return total, (x - _kept(total - part)) + (y - part)


def _sum_of_small(x: Any, y: Any) -> tuple[Any, Any]:
    """The same where the second number is no larger than the first (Dekker)."""
    total = _kept(x + y)
    return total, y - _kept(total - x)


def _kept(x: Any) -> Any:
    """The number, which the compiler may not put together with other constants: (x + 1) - 1 is not x."""
    info = np.finfo(x.dtype)
    return lax.reduce_precision(x, exponent_bits=info.nexp, mantissa_bits=info.nmant)


def _product(x: Any, y: Any) -> tuple[Any, Any]:
    """A product, and what its rounding has lost."""
    (x_upper, x_lower), (y_upper, y_lower) = _halves(x), _halves(y)
    total, lost = _sum_of_small(x_upper * y_upper, x_upper * y_lower)
    total, more = _sum_of_small(total, x_lower * y_upper)
    finite = jnp.isfinite(total)
    return jnp.where(finite, total, x * y), jnp.where(finite, x_lower * y_lower + lost + more, 0)


def _halves(x: Any) -> tuple[Any, Any]:
    """A number in two of half as many digits."""
    word, mask = _WORDS[x.dtype]
    upper = lax.bitcast_convert_type(lax.bitcast_convert_type(x, word) & word(mask), x.dtype)
    return upper, x - upper


def _normal(x: Any, y: Any) -> Pair:
    """The pair of a sum whose second part is small."""
    total, lost = _sum_of_small(x, y)
    return Pair(total, jnp.where(jnp.isfinite(total), lost, 0))


def _power(base: Any, exponent: Pair) -> Pair:
    """A power: exact to the digits of a pair for a whole exponent, else to those of one number.

    So is its difference to 1: near 0, e^x is 1 and e^x - 1, which has digits of its own.
    """
    if exponent.whole is not None:
        return _whole_power(base, exponent.whole)
    log = exponent * _log(base)
    near = jnp.abs(log.upper) < 0.5
    power = where(near, as_pair(jnp.expm1(log.upper)) + 1.0, as_pair(jnp.exp(log.upper)))
    # log(0) times 0 is NaN.
    return where(exponent.upper == 0, 1.0, power + power.upper * log.lower)


def _whole_power(base: Any, n: Any) -> Pair:
    """The product of the factors that the digits of the exponent choose, two by two."""
    left = _chosen_squares(base, jnp.abs(n)) if isinstance(base, Pair) else _tabled(float(base), jnp.abs(n))
    while left.upper.shape[-1] > 1:
        left = _places(left, slice(0, None, 2)) * _places(left, slice(1, None, 2))
    power = _places(left, 0)
    return where(n < 0, 1.0 / power, power)


def _places(x: Pair, places: Any) -> Pair:
    return Pair(x.upper[..., places], x.lower[..., places])


def _tabled(base: float, n: Any) -> Pair:
    """The power for each digit of n to the base 256, from a table that the host makes."""
    digits = jnp.asarray(n)[..., None] >> np.arange(0, 32, 8, dtype=np.int32) & 255
    upper, lower = (jnp.asarray(x)[np.arange(4), digits] for x in _table(base, widest()))
    return Pair(upper, lower)


@functools.cache
def _table(base: float, dtype: np.dtype[Any]) -> tuple[Any, Any]:
    """β^d, β^(256 d), β^(65536 d) and β^(2^24 d) for d = 0 to 255."""
    with decimal.localcontext(prec=50):
        numbers, step = [], decimal.Decimal(base)
        for _ in range(4):
            power = decimal.Decimal(1)
            for _ in range(256):
                numbers.append(power)
                power *= step
            step = power
    return tuple(x.reshape(4, 256) for x in _of_decimals(numbers, dtype))


def _chosen_squares(base: Pair, n: Any) -> Pair:
    """β^1, β^2, β^4, ..., or 1 where the digit of n to the base 2 is 0."""

    def squared(x: tuple[Any, Any], _: None) -> tuple[tuple[Any, Any], tuple[Any, Any]]:
        square = Pair(*x) * Pair(*x)
        return (square.upper, square.lower), x

    _, (upper, lower) = lax.scan(squared, (base.upper, base.lower), None, length=32)
    squares = Pair(jnp.moveaxis(upper, 0, -1), jnp.moveaxis(lower, 0, -1))
    return where((n[..., None] >> np.arange(32, dtype=np.int32)) & 1 > 0, squares, 1.0)


def _log(base: Any) -> Pair:
    if isinstance(base, Pair):
        return as_pair(jnp.log(base.value()))
    with decimal.localcontext(prec=50):
        log = decimal.Decimal(float(base)).ln() if base > 0 else decimal.Decimal("-inf")
    upper, lower = _of_decimals([log], widest())
    return Pair(jnp.asarray(upper[0]), jnp.asarray(lower[0]))


def _of_decimals(numbers: list[decimal.Decimal], dtype: np.dtype[Any]) -> tuple[Any, Any]:
    """The numbers rounded to a type, and what the rounding has lost."""
    with np.errstate(over="ignore", under="ignore"):
        upper = np.array([float(x) for x in numbers]).astype(dtype)
        pairs = zip(numbers, upper.tolist(), strict=True)
        lower = [float(x - decimal.Decimal(y)) if math.isfinite(y) else 0.0 for x, y in pairs]
        return upper, np.array(lower).astype(dtype)


# The namespace of pairs.


def where(condition: Any, x: Any, y: Any) -> Pair:
    """`x` where the condition holds, else `y`."""
    x, y = as_pair(x), as_pair(y)
    return Pair(jnp.where(condition, x.upper, y.upper), jnp.where(condition, x.lower, y.lower))


def sqrt(x: Pair) -> Pair:
    """The square root."""
    root = jnp.sqrt(x.upper)
    rest = x - Pair(root, jnp.zeros_like(root)) * Pair(root, jnp.zeros_like(root))
    return _normal(root, jnp.where(root > 0, rest.upper / (2 * root), 0))


def _larger(x: Any, y: Any) -> Pair:
    x, y = as_pair(x), as_pair(y)
    return where((x > y) | (x.upper != x.upper), x, y)


def _smaller(x: Any, y: Any) -> Pair:
    return -_larger(-as_pair(x), -as_pair(y))


def _sign(x: Pair) -> Pair:
    return as_pair(jnp.sign(x.upper))


def _angle(y: Any, x: Any) -> Pair:
    """The angle of a point, to the digits of one number."""
    return as_pair(jnp.arctan2(as_pair(y).value(), as_pair(x).value()))


def _comparison(compare: Callable[[Any, Any], Any]) -> Callable[[Pair, Any], Any]:
    def compared(self: Pair, other: Any) -> Any:
        return compare((self - other).upper, 0)

    return compared


for _name in ("lt", "le", "gt", "ge", "eq", "ne"):
    setattr(Pair, f"__{_name}__", _comparison(getattr(operator, _name)))


class NAMESPACE:
    """The `xp` of pairs."""

    sqrt, where, abs = staticmethod(sqrt), staticmethod(where), staticmethod(abs)
    maximum, minimum, sign = staticmethod(_larger), staticmethod(_smaller), staticmethod(_sign)
    log, atan2 = staticmethod(_log), staticmethod(_angle)
