"""The root of an exact sum of squares on a GPU, to the bits of `backends.exact.root`."""

from ... import exact
from ..toolbox import tl, triton

__all__ = ["root_of"]

LEAST, INFINITE, NAN = tl.constexpr(exact.LEAST), tl.constexpr(exact.INFINITE), tl.constexpr(exact.NAN)


@triton.jit
def power_of_float64(e):
    """2^e, of an exponent of normal numbers."""
    return ((e + 1023) << 52).to(tl.float64, bitcast=True)


@triton.jit
def root_of(words, first: tl.constexpr = 0, last: tl.constexpr = INFINITE):
    """The root of the sum in words, as a float64; NaN or infinite where a number is.

    The sum is rounded once before, to nearest, ties to even. Words outside `first` to before `last` are zero.
    """
    # Digits of 32 bits, from the lowest: the last three, and whether any below is not zero.
    zero = tl.load(words + NAN) * 0
    carry, one_below, two_below, more_below = zero, zero, zero, zero
    # The same of the highest digit that is not zero, and where it is.
    place, high, middle, low, rest = zero, zero, zero, zero, zero
    for j in tl.static_range(first, last):
        word = tl.load(words + j) + carry
        digit, carry = word & 0xFFFFFFFF, word >> 32
        found = digit != 0
        place, high = tl.where(found, j, place), tl.where(found, digit, high)
        middle, low = tl.where(found, one_below, middle), tl.where(found, two_below, low)
        rest = tl.where(found, more_below, rest)
        more_below, two_below, one_below = more_below | two_below, one_below, digit
    # 64 bits from the highest one; of those below, whether any is not zero.
    zeros = 31 - ((tl.maximum(high, 1).to(tl.float64).to(tl.int64, bitcast=True) >> 52) - 1023)
    top = ((high << 32) | middle).to(tl.uint64) << zeros.to(tl.uint64)
    top |= low.to(tl.uint64) >> (32 - zeros).to(tl.uint64)
    below = ((low << zeros) & 0xFFFFFFFF) | rest
    kept, lost = (top >> 11).to(tl.int64), (top & 0x7FF).to(tl.int64)
    rounded = kept + tl.where((lost > 0x400) | ((lost == 0x400) & ((below != 0) | (kept & 1 == 1))), 1, 0)
    # An even power of two, whose root is exact.
    e = 32 * place - 32 - zeros + 11
    root = tl.sqrt((rounded << (e & 1)).to(tl.float64))
    e = (e - (e & 1) + LEAST) >> 1
    # Two factors, of which only the second may round: the first alone can be too small for a float64.
    root = root * power_of_float64(e >> 1) * power_of_float64(e - (e >> 1))
    root = tl.where(tl.load(words + INFINITE) != 0, float("inf"), root)
    return tl.where(tl.load(words + NAN) != 0, float("nan"), root)
