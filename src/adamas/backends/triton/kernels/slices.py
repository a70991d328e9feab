"""Exact sums of products of slices of float32 numbers.

A number plus 1.5 x 2^e is rounded to a multiple of 2^(e - 23), and its bits count these multiples, up to 2^22
of them; what rounding took off is exact, and makes the next slice, 23 bits lower. Squares are the products of
slices, integers of 44 bits, whose sums do not depend on the order. So an element costs additions of float32,
which a GPU has most of, and one multiplication of integers for each pair of slices: two slices hold 45 bits,
three hold 68.

`top` is the window of a pass: slices hold numbers up to 2^top, to their last digit from `least` on.
"""

from ..toolbox import bits_of, tl, triton
from .tiles import THREADS, aligned, magnitude, offsets_of, tile_at

__all__ = ["sums_at", "sums_in"]


@triton.jit
def float_of(bits):
    """The float32 with these bits."""
    return bits.to(tl.int32).to(tl.float32, bitcast=True)


@triton.jit
def power(e):
    """2^e as a float32."""
    return float_of((e + 127) << 23)


@triton.jit
def slice_of(x, magic):
    """The slice of x on a grid, as an integer, and the rest of x."""
    sliced = x + magic
    return sliced.to(tl.int32, bitcast=True) - magic.to(tl.int32, bitcast=True), x - (sliced - magic)


@triton.jit
def product(x, y):
    """The sum of the products of two slices over the elements of each thread."""
    return tl.sum(x.to(tl.int64) * y.to(tl.int64), 1)


@triton.jit
def add_tile(x, top, three: tl.constexpr, sums):
    """Add the products of the slices of a tile to their sums."""
    s00, s01, s11, s02, s12, s22 = sums
    a, rest = slice_of(x, power(top + 1) * 1.5)
    b, rest = slice_of(rest, power(top - 22) * 1.5)
    s00, s01, s11 = s00 + product(a, a), s01 + product(a, b), s11 + product(b, b)
    if three:
        c, rest = slice_of(rest, power(top - 45) * 1.5)
        s02, s12, s22 = s02 + product(a, c), s12 + product(b, c), s22 + product(c, c)
    return s00, s01, s11, s02, s12, s22


@triton.jit
def add_tile_seen(x, top, three: tl.constexpr, sums, seen):
    """Also keep the largest magnitude, and of the smallest that is not zero its bits twice less one."""
    largest = tl.maximum(seen[0], tl.abs(x), propagate_nan=tl.PropagateNan.ALL)
    return add_tile(x, top, three, sums), (largest, tl.minimum(seen[1], tl.min(bits_of(x) * 2 - 1, 1)))


@triton.jit
def four(a, b, c, d):
    """The numbers of each thread side by side."""
    return tl.join(tl.join(a, c), tl.join(b, d))


@triton.jit
def together(sums, missed, three: tl.constexpr):
    """The sums over all threads, `missed` last."""
    s00, s01, s11, s02, s12, s22 = sums
    if three:
        halves = tl.join(four(s00, s11, s12, missed * 0), four(s01, s02, s22, missed))
        return tl.sum(tl.reshape(halves, [THREADS, 8]), 0)
    else:
        return tl.sum(tl.reshape(four(s00, s01, s11, missed), [THREADS, 4]), 0)


@triton.jit
def nothing():
    """The sums of no products."""
    zero = tl.zeros([THREADS], tl.int64)
    return zero, zero, zero, zero, zero, zero


@triton.jit
def sums_at(address, n, top, least, stored: tl.constexpr, decode: tl.constexpr, three: tl.constexpr):
    """The sums of products over n elements, and last how many threads had one outside the window."""
    vector: tl.constexpr = 128 // stored.primitive_bitwidth
    tile: tl.constexpr = THREADS * vector
    sums, k = nothing(), 0
    seen = tl.zeros([THREADS, vector], tl.float32), tl.full([THREADS], 0xFFFFFFFF, tl.uint32)
    whole = tl.where(address & 15 == 0, n // (THREADS * 16), 0)
    while k < whole:
        at = aligned(address, stored) + k * (THREADS * 16) + offsets_of(stored)
        # Vectors of 16 elements a thread are on their way at once; registers would not hold more.
        x, y = tl.load(at), tl.load(at + tile)
        if vector == 4:
            z, w = tl.load(at + 2 * tile), tl.load(at + 3 * tile)
        sums, seen = add_tile_seen(decode(x), top, three, sums, seen)
        sums, seen = add_tile_seen(decode(y), top, three, sums, seen)
        if vector == 4:
            sums, seen = add_tile_seen(decode(z), top, three, sums, seen)
            sums, seen = add_tile_seen(decode(w), top, three, sums, seen)
        k += 1
    i = k * (THREADS * 16)
    while i < n:
        sums, seen = add_tile_seen(decode(tile_at(address, i, n, stored)), top, three, sums, seen)
        i += tile
    # NaN fails the first comparison; zeros are no less than anything.
    above = tl.max(tl.where(seen[0] <= power(top), 0, 1), 1)
    below = tl.where((seen[1] < 2 * least.to(tl.uint32) - 1) & (least > 0), 1, 0)
    return together(sums, (above | below).to(tl.int64), three)


@triton.jit
def sums_in(
    address, n, largest, top, beyond, least, stored: tl.constexpr, decode: tl.constexpr, three: tl.constexpr
):
    """The same over the elements from `least` to `largest`, and the largest of those below; all as bits.

    The window is 2^beyond higher than it may be: what is in it is multiplied by 2^-beyond.
    """
    sums, below, i = nothing(), tl.zeros([THREADS], tl.int32), 0
    while i < n:
        x = decode(tile_at(address, i, n, stored))
        size = magnitude(x)
        below = tl.maximum(below, tl.max(tl.where(size < least, size, 0), 1))
        x = tl.where((size >= least) & (size <= largest), x * power(-beyond), 0.0)
        sums, i = add_tile(x, top - beyond, three, sums), i + THREADS * (128 // stored.primitive_bitwidth)
    return together(sums, tl.zeros([THREADS], tl.int64), three), tl.max(below)
