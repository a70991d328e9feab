"""The exact sum of the squares of gradients, in the words of `backends.exact`.

A pass guesses its window by the first numbers. Where they mislead, further passes take the numbers that one
window holds, the largest first.
"""

from ... import exact
from ..toolbox import tl, triton
from .slices import sums_at, sums_in
from .squares64 import add_span_of_float64
from .tiles import THREADS, magnitude, tile_at

__all__ = ["add_chunk", "tl", "triton"]

# The elements that are summed before they are added to the words: 2^18 products of 44 bits fit in 63.
SPAN = tl.constexpr(1 << 16)
# How far the window is above the largest of the first numbers.
MARGIN = tl.constexpr(10)
# The highest window in which numbers and 1.5 x 2^(top + 1) add up to less than infinity.
HIGHEST = tl.constexpr(125)
LEAST, INFINITE, NAN = tl.constexpr(exact.LEAST), tl.constexpr(exact.INFINITE), tl.constexpr(exact.NAN)
INFINITY = tl.constexpr(0x7F800000)


@triton.jit
def largest_of(address, n, stored: tl.constexpr, decode: tl.constexpr):
    """The largest magnitude of n elements, as bits."""
    largest, i = tl.zeros([THREADS], tl.int32), 0
    while i < n:
        size = magnitude(decode(tile_at(address, i, n, stored)))
        largest, i = tl.maximum(largest, tl.max(size, 1)), i + THREADS * (128 // stored.primitive_bitwidth)
    return tl.max(largest)


@triton.jit
def top_of(largest, three: tl.constexpr):
    """The window for numbers up to one with these bits, no lower than the last slice allows."""
    return tl.maximum((largest >> 23) - 126, -81 if three else -104)


@triton.jit
def least_of(top, digits: tl.constexpr, three: tl.constexpr):
    """The bits of the smallest number of which a window holds all digits."""
    e = top + digits - (69 if three else 46)
    # No digit of a subnormal number is lower than those of the smallest normal one.
    return tl.where(e > -126, (e + 127) << 23, 0)


@triton.jit
def add_sums(words, sums, top, three: tl.constexpr):
    """Add sums of products in a window to words, of which it takes eight at most."""
    count: tl.constexpr = 8 if three else 4
    k = tl.arange(0, count)
    # How far the units of the products are below that of the first; those of two slices count twice.
    depth = tl.where(k == 0, 0, tl.where(k == 1, 22, 46))
    if three:
        depth = tl.where(k < 3, depth, tl.where(k == 3, 45, tl.where(k == 4, 68, 92)))
    sums = tl.where(k < (6 if three else 3), sums, 0)
    offset = 2 * top - 44 - LEAST - depth
    first = (2 * top - 44 - LEAST - (92 if three else 46)) >> 5
    shift = (offset & 31).to(tl.int64)
    low, high = (sums & 0xFFFFFFFF) << shift, (sums >> 32) << shift
    parts = low & 0xFFFFFFFF, (low >> 32) + (high & 0xFFFFFFFF), high >> 32
    j = tl.arange(0, 8)
    at = j[:, None] - ((offset >> 5) - first)[None, :]
    spread = tl.where(at == 0, parts[0][None, :], 0) + tl.where(at == 1, parts[1][None, :], 0)
    found = tl.sum(spread + tl.where(at == 2, parts[2][None, :], 0), 1)
    tl.atomic_add(words + first + j, found, found != 0, sem="relaxed")


@triton.jit
def add_in_windows(
    words, counts, address, n, stored: tl.constexpr, decode: tl.constexpr, digits: tl.constexpr
):
    """The same as `add_span` for any numbers, by as many passes as there are windows with numbers."""
    three: tl.constexpr = digits > 12
    largest = largest_of(address, n, stored, decode)
    if largest >= INFINITY:
        tl.atomic_add(words + tl.where(largest == INFINITY, INFINITE, NAN), 1, sem="relaxed")
        largest = 0
    if counts:
        while largest > 0:
            top = top_of(largest, three)
            beyond, least = tl.maximum(top - HIGHEST, 0), least_of(top, digits, three)
            sums, below = sums_in(address, n, largest, top, beyond, least, stored, decode, three)
            add_sums(words, sums, top, three)
            largest = below


@triton.jit
def add_span(words, counts, address, n, stored: tl.constexpr, decode: tl.constexpr, digits: tl.constexpr):
    """Add the squares of n elements, of so many digits, to the words."""
    three: tl.constexpr = digits > 12
    first = largest_of(address, tl.minimum(n, THREADS * (128 // stored.primitive_bitwidth)), stored, decode)
    # Zeros say nothing.
    top = tl.minimum(top_of(tl.where(first == 0, 118 << 23, first), three) + MARGIN, HIGHEST)
    sums = sums_at(address, n, top, least_of(top, digits, three), stored, decode, three)
    k = tl.arange(0, 8 if three else 4)
    if tl.sum(tl.where(k == (7 if three else 3), sums, 0)) == 0:
        if counts:
            add_sums(words, sums, top, three)
    else:
        add_in_windows(words, counts, address, n, stored, decode, digits)


@triton.jit
def add_chunk(
    table,
    width,
    column,
    chunks,
    info,
    counts,
    words,
    stored: tl.constexpr,
    decode: tl.constexpr,
    digits: tl.constexpr,
):
    """Add the squares of this program's chunk to the words; `decode` makes float32 of elements `stored`."""
    # From the last to the first: what this pass reads last, the step reads first, out of the cache.
    chunk = chunks + 4 * (tl.num_programs(0) - 1 - tl.program_id(0))
    tensor = tl.load(chunk)
    if tl.load(info + 4 * tensor + 2) >= 0:
        size: tl.constexpr = stored.primitive_bitwidth // 8
        start, stop = tl.load(chunk + 1), tl.load(chunk + 2)
        address = tl.load(table + width * tensor + column) + start * size
        counted = tl.load(counts + tensor) != 0
        while start < stop:
            n = tl.minimum(stop - start, SPAN).to(tl.int32)
            if digits == 53:
                add_span_of_float64(words, counted, address, n)
            else:
                add_span(words, counted, address, n, stored, decode, digits)
            start += SPAN
            address += SPAN * size
