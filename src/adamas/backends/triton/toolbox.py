"""Functions of generated Triton kernels: the `xp` of device blocks, and the random bits of the CPU's kernels.

Every kernel file begins with `from adamas.backends.triton.toolbox import *`. Arithmetic is IEEE's, each
operation rounded once: with fusion off and division and roots rounded to nearest, a GPU of any make and
Triton's interpreter give the same bits.
"""

import math
import os

import triton
import triton.language as tl

from .._arctangent import ARCTANGENT

__all__ = [
    "atan2",
    "below_normal",
    "bits_of",
    "counter_at",
    "draw",
    "flush",
    "fused",
    "int_at",
    "load",
    "lower_bits",
    "maximum",
    "minimum",
    "mixed",
    "multiplier_of",
    "negated",
    "packed",
    "saturated",
    "scattered",
    "sign",
    "store",
    "stored_as",
    "tile_key",
    "tl",
    "triton",
    "unpacked",
    "whole_power",
]


@triton.jit
def nothing(address):
    """A kernel that shows that kernels run."""
    tl.store(address, 0)


@triton.jit
def int_at(address, index):
    """The int64 of a table, by a pointer and an index."""
    return tl.load(address + index)


# The `xp` of a rule; NaN goes through all of them.


@triton.jit
def maximum(x, y):
    """The larger, or NaN where one is NaN."""
    return tl.where((x > y) | (x != x), x, y)


@triton.jit
def minimum(x, y):
    """The smaller, or NaN where one is NaN."""
    return tl.where((x < y) | (x != x), x, y)


@triton.jit
def sign(x):
    """-1, 0 or 1; NaN of NaN."""
    one = tl.full([], 1.0, x.dtype)
    return tl.where(x > 0, one, tl.where(x < 0, -one, x))


_NARROW, _WIDE = tl.constexpr(ARCTANGENT[32]), tl.constexpr(ARCTANGENT[64])
_PI = tl.constexpr(math.pi)


@triton.jit
def atan2(y, x):
    """The angle of the point (x, y), by `backends._arctangent`."""
    sign_of_y, negative = signed(y), signed(x)
    steep = tl.abs(y) > tl.abs(x)
    low, high = tl.where(steep, tl.abs(x), tl.abs(y)), tl.where(steep, tl.abs(y), tl.abs(x))
    one = tl.full([], 1.0, x.dtype)
    if x.dtype == tl.float64:
        ratio = tl.where(low == high, tl.where(low == 0, 0 * one, one), low / tl.where(high == 0, one, high))
        angle = ratio + ratio * (ratio * ratio * _series(ratio * ratio, _WIDE, 20))
    else:
        quotient = tl.div_rn(low, tl.where(high == 0, one, high))
        ratio = tl.where(low == high, tl.where(low == 0, 0 * one, one), quotient)
        angle = ratio + ratio * (ratio * ratio * _series(ratio * ratio, _NARROW, 9))
    angle = tl.where(steep ^ negative, -angle, angle)
    start = tl.where(steep, one * (_PI / 2), tl.where(negative, one * _PI, 0 * one))
    angle = tl.where(sign_of_y, -(start + angle), start + angle)
    return tl.where((x != x) | (y != y), x + y, angle)


@triton.jit
def signed(x):
    """Whether a number has its sign bit set; -0 has."""
    if x.dtype == tl.float64:
        return bits_of(x) >= 0x8000000000000000
    else:
        return bits_of(x) >= 0x80000000


@triton.jit
def _series(x, COEFFICIENTS: tl.constexpr, COUNT: tl.constexpr):
    """The polynomial with these coefficients, from that of the highest power down."""
    total = tl.full([], 0.0, x.dtype)
    for k in tl.static_range(COUNT):
        total = total * x + COEFFICIENTS[k]
    return total


@triton.jit
def whole_power(x, n: tl.constexpr):
    """The product of n >= 0 equal factors."""
    product = tl.full([], 1.0, x.dtype)
    for _ in tl.static_range(n):
        product = product * x
    return product


@triton.jit
def stored_as(x, like, pointer):
    """A number for each of `like`, in the type that a pointer is to."""
    return tl.where(like == like, x, x).to(pointer.dtype.element_ty)


# Triton's interpreter rounds the product of `tl.fma` too.
_INTERPRETED = tl.constexpr(os.environ.get("TRITON_INTERPRET") == "1")


@triton.jit
def fused(x, y, z):
    """`x * y + z` in float32, rounded once."""
    if _INTERPRETED:
        return (x.to(tl.float64) * y + z).to(tl.float32)
    else:
        return tl.fma(x, y, z)


@triton.jit
def negated(condition):
    """Whether a condition does not hold."""
    return condition == False  # noqa: E712


# State without subnormal numbers.


@triton.jit
def bits_of(x):
    """The bits of a float32 or float64 as an unsigned integer."""
    if x.dtype == tl.float64:
        return x.to(tl.uint64, bitcast=True)
    else:
        return x.to(tl.uint32, bitcast=True)


@triton.jit
def below_normal(x):
    """Whether a number is zero or subnormal: one test of the exponent."""
    if x.dtype == tl.float64:
        return (bits_of(x) & 0x7FF0000000000000) == 0
    else:
        return (bits_of(x) & 0x7F800000) == 0


@triton.jit
def flush(x):
    """Zero for subnormal numbers, in which decaying state would end."""
    return tl.where(below_normal(x), tl.full([], 0.0, x.dtype), x)


@triton.jit
def saturated(x, largest):
    """A number brought into a range; NaN stays."""
    return maximum(minimum(x, largest), -largest)


# Random bits: the arithmetic of `backends.numba.randomness`, where it is explained.


@triton.jit
def tile_key(key, ordinal):
    """The key of a tensor's, or of a block's, random bits in one step."""
    mixed = key.to(tl.uint64) + ordinal.to(tl.uint64) * 0x9E3779B97F4A7C15
    mixed = (mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9
    mixed = (mixed ^ (mixed >> 27)) * 0x94D049BB133111EB
    return mixed ^ (mixed >> 31)


@triton.jit
def counter_at(key, index):
    """The counter of an element."""
    return (key >> 32).to(tl.uint32) + index.to(tl.uint32) * 0x9E3779B9


@triton.jit
def mixed(counter, key):
    """The counter with its lower half made to depend on its upper half."""
    return (counter ^ (counter >> 17)) ^ key.to(tl.uint32)


@triton.jit
def draw(bits, multiplier):
    """Random bits from a mixed counter."""
    return bits * multiplier


@triton.jit
def scattered(key, place):
    """What an element of a block draws from, by the key of the block and the element's place in it."""
    weyl = place.to(tl.uint32) * 0x9E3779B9
    return (weyl ^ ((weyl >> 15) & 0xFFFFFF80)) ^ (key >> 32).to(tl.uint32)


@triton.jit
def multiplier_of(key, ordinal: tl.constexpr):
    """The multiplier of a block's numbered product."""
    return tile_key(key, tl.full([], ordinal, tl.uint64)).to(tl.uint32) | 1


@triton.jit
def lower_bits(drawn):
    """Random bits from the lower 20 of a product."""
    return drawn << 12


# Memory, by addresses.


@triton.jit
def load(address, place, inside, stored: tl.constexpr, WHOLE: tl.constexpr):
    """The elements at these places; where not `WHOLE`, those inside, and zeros."""
    if WHOLE:
        return tl.load(tl.multiple_of(address.to(tl.pointer_type(stored)), 16) + place)
    else:
        return tl.load(address.to(tl.pointer_type(stored)) + place, inside, 0)


@triton.jit
def store(address, place, inside, value, stored: tl.constexpr, WHOLE: tl.constexpr):
    """Write elements at these places; where not `WHOLE`, those inside."""
    if WHOLE:
        tl.store(tl.multiple_of(address.to(tl.pointer_type(stored)), 16) + place, value)
    else:
        tl.store(address.to(tl.pointer_type(stored)) + place, value, inside)


# Two codes of 4 bits in a byte, the first in its lower half.


@triton.jit
def unpacked(both):
    """Bytes to twice as many codes, along the last dimension."""
    return tl.interleave(both & 15, both >> 4)


@triton.jit
def packed(codes, BLOCKS: tl.constexpr):
    """Codes to half as many bytes."""
    first, second = tl.split(tl.reshape(codes, [BLOCKS, 64, 2]))
    return first | (second << 4)
