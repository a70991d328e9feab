"""Powers and quotients in float64 for generated Triton kernels, a block of numbers at once.

A power is that of the whole part of its exponent, in pairs of numbers that hold twice the digits, times one
of an exponent below one, if there is a rest. Pairs need products that are not fused with sums: whole powers
then have the same bits on a GPU of any make and in Triton's interpreter, nearly always those of C's `pow`,
which Python calls. For a rest the machine's exponential and logarithm are called, whose last bits differ.
"""

import triton
import triton.language as tl

__all__ = ["floor_quotient", "power", "remainder"]

SPLIT = tl.constexpr(2.0**27 + 1)
INFINITY = tl.constexpr(float("inf"))


@triton.jit
def pair_product(x, x_rest, y, y_rest):
    """The product of two pairs, each a number and what its rounding has lost (Dekker)."""
    product = x * y
    # Each number in two of half as many digits (Veltkamp), whose products are exact.
    x_scaled, y_scaled = x * SPLIT, y * SPLIT
    x_upper, y_upper = x_scaled - (x_scaled - x), y_scaled - (y_scaled - y)
    x_lower, y_lower = x - x_upper, y - y_upper
    lost = ((x_upper * y_upper - product) + x_upper * y_lower + x_lower * y_upper) + x_lower * y_lower
    lost = lost + (x * y_rest + x_rest * y)
    # Where the product overflows, nothing is known of what is lost.
    lost = tl.where(tl.abs(lost) < INFINITY, lost, 0.0)
    total = product + lost
    rest = lost - (total - product)
    return total, tl.where(tl.abs(rest) < INFINITY, rest, 0.0)


@triton.jit
def whole_power_of(x, n):
    """`x` to the power of an int64 `n` of at most 53 bits, by repeated squaring."""
    left = tl.abs(n)
    most = tl.max(left, axis=0)
    result, rest = tl.full(x.shape, 1.0, tl.float64), tl.full(x.shape, 0.0, tl.float64)
    square, square_rest = x, rest
    while most > 0:
        product, product_rest = pair_product(result, rest, square, square_rest)
        odd = (left & 1) != 0
        result, rest = tl.where(odd, product, result), tl.where(odd, product_rest, rest)
        square, square_rest = pair_product(square, square_rest, square, square_rest)
        left, most = left >> 1, most >> 1
    return tl.where(n < 0, 1.0 / result, result)


@triton.jit
def power(x, y):
    """`x` to the power of `y`, at least one of them a block; NaN of negative numbers to fractional powers."""
    x, y = tl.where(y == y, x, x), tl.where(x == x, y, y)
    # Beyond 2^53 every number is even.
    countable = tl.abs(y) < 9007199254740992.0
    whole = tl.where(countable, tl.where(y < 0, tl.ceil(y), tl.floor(y)), 0.0)
    part = y - whole
    result = whole_power_of(x, whole.to(tl.int64))
    fractional = part != 0
    if tl.max(fractional.to(tl.int32), axis=0) != 0:
        base = tl.where(countable, x, tl.abs(x))
        result = result * tl.where(fractional, tl.exp(part * tl.log(base)), 1.0)
    return result


@triton.jit
def floor_quotient(x, y):
    """`x // y`, exact for whole numbers below 2^53."""
    return tl.floor(x / y)


@triton.jit
def remainder(x, y):
    """`x % y`, exact for whole numbers below 2^53."""
    return x - tl.floor(x / y) * y
