"""Exact sums of squares on a GPU, in the words of `backends.exact`: the functions of `norm`'s kernels.

A float32 plus 1.5 x 2^e is rounded to a multiple of 2^(e - 23), and its bits count these multiples, up to 2^22
of them; what rounding took off is exact, and makes the next slice, 23 bits lower. Squares are the products
of such slices, integers of 44 bits, whose sums do not depend on the order. So an element costs additions of
float32, which a GPU has most of, and one multiplication of integers for each pair of slices.

`top` is the window of a pass: slices hold numbers below 2^top, to the last digit where that is not below the
last slice. A pass guesses it by the first numbers. Where they mislead, further passes take the numbers that
one window holds, the largest first.
"""

from .. import exact
from .toolbox import bits_of, tl, triton

__all__ = ["LANES", "SPAN", "add_chunk", "tl", "triton"]

# The threads of a program, each of which has a vector of 16 bytes of a tile, and sums of its own.
LANES = tl.constexpr(128)
# The elements that are summed before they are added to the words: 2^18 products of 44 bits fit in 63.
SPAN = tl.constexpr(1 << 16)
# How far the window is above the largest of the first numbers.
MARGIN = tl.constexpr(10)
LEAST = tl.constexpr(exact.LEAST)
INFINITE, NAN = tl.constexpr(exact.INFINITE), tl.constexpr(exact.NAN)
INFINITY32, INFINITY64 = tl.constexpr(0x7F800000), tl.constexpr(0x7FF0000000000000)


# Elements.


@triton.jit
def offsets_of(vector: tl.constexpr):
    """The places of a tile's elements: a vector a thread, side by side."""
    return tl.arange(0, LANES)[:, None] * vector + tl.arange(0, vector)[None, :]


@triton.jit
def part_of_tile(pointer, left, vector: tl.constexpr):
    """The elements of a tile of which `left` exist, and zeros."""
    offsets = offsets_of(vector)
    return tl.load(pointer + offsets, offsets < left, 0)


@triton.jit
def magnitude(x):
    """The bits of a float32 or float64 without its sign, in the order of the numbers; NaN is above infinity."""
    if x.dtype == tl.float64:
        return (bits_of(x) & 0x7FFFFFFFFFFFFFFF).to(tl.int64)
    else:
        return (bits_of(x) & 0x7FFFFFFF).to(tl.int32)


@triton.jit
def largest_of(pointer, n, vector: tl.constexpr, decode: tl.constexpr):
    """The largest magnitude of n elements, as bits."""
    lanes, i = tl.zeros([LANES], tl.int32), 0
    while i < n:
        size = magnitude(decode(part_of_tile(pointer + i, n - i, vector)))
        lanes, i = tl.maximum(lanes, tl.max(size, 1)), i + LANES * vector
    return tl.max(lanes)


@triton.jit
def float_of(bits):
    """The float32 with these bits."""
    return bits.to(tl.int32).to(tl.float32, bitcast=True)


@triton.jit
def power(e):
    """2^e as a float32."""
    return float_of((e + 127) << 23)


# Slices.


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
def four(a, b, c, d):
    """The numbers of each lane side by side."""
    return tl.join(tl.join(a, c), tl.join(b, d))


@triton.jit
def together(sums, missed, three: tl.constexpr):
    """The sums over all threads, `missed` last."""
    s00, s01, s11, s02, s12, s22 = sums
    if three:
        halves = tl.join(four(s00, s11, s12, missed * 0), four(s01, s02, s22, missed))
        return tl.sum(tl.reshape(halves, [LANES, 8]), 0)
    else:
        return tl.sum(tl.reshape(four(s00, s01, s11, missed), [LANES, 4]), 0)


@triton.jit
def nothing():
    """The sums of no products."""
    zero = tl.zeros([LANES], tl.int64)
    return zero, zero, zero, zero, zero, zero


@triton.jit
def sums_at(
    pointer,
    n,
    top,
    least,
    vector: tl.constexpr,
    decode: tl.constexpr,
    three: tl.constexpr,
    aligned: tl.constexpr,
):
    """The sums of products over n elements, and in the last place of how many threads one is not in the window."""
    sums, tile, i = nothing(), LANES * vector, 0
    seen = tl.zeros([LANES, vector], tl.float32), tl.full([LANES], 0xFFFFFFFF, tl.uint32)
    if aligned:
        k = 0
        while k < n // (LANES * 16):
            at = pointer + k * (LANES * 16) + offsets_of(vector)
            # The vectors of 16 elements a thread are on their way at once: more would not fit in registers.
            x, y = tl.load(at), tl.load(at + tile)
            if vector == 4:
                z, w = tl.load(at + 2 * tile), tl.load(at + 3 * tile)
            sums, seen = add_tile_seen(decode(x), top, three, sums, seen)
            sums, seen = add_tile_seen(decode(y), top, three, sums, seen)
            if vector == 4:
                sums, seen = add_tile_seen(decode(z), top, three, sums, seen)
                sums, seen = add_tile_seen(decode(w), top, three, sums, seen)
            k += 1
        i = k * (LANES * 16)
    while i < n:
        x = decode(part_of_tile(pointer + i, n - i, vector))
        sums, seen = add_tile_seen(x, top, three, sums, seen)
        i += tile
    # NaN fails the first comparison; zeros are no less than anything.
    above = tl.max(tl.where(seen[0] <= power(top), 0, 1), 1)
    below = tl.where((seen[1] < 2 * least.to(tl.uint32) - 1) & (least > 0), 1, 0)
    return together(sums, (above | below).to(tl.int64), three)


@triton.jit
def add_tile_seen(x, top, three: tl.constexpr, sums, seen):
    """The same as `add_tile`; and the largest number, and the bits of the smallest twice less one."""
    largest = tl.maximum(seen[0], tl.abs(x), propagate_nan=tl.PropagateNan.ALL)
    return add_tile(x, top, three, sums), (largest, tl.minimum(seen[1], tl.min(bits_of(x) * 2 - 1, 1)))


@triton.jit
def sums_in(pointer, n, largest, top, least, vector: tl.constexpr, decode: tl.constexpr, three: tl.constexpr):
    """The same over the elements from `least` to `largest`, and the largest of those below; all as bits."""
    sums, below, i = nothing(), tl.zeros([LANES], tl.int32), 0
    beyond = tl.maximum(top - 126, 0)
    while i < n:
        x = decode(part_of_tile(pointer + i, n - i, vector))
        size = magnitude(x)
        below = tl.maximum(below, tl.max(tl.where(size < least, size, 0), 1))
        x = tl.where((size >= least) & (size <= largest), x * power(-beyond), 0.0)
        sums, i = add_tile(x, top - beyond, three, sums), i + LANES * vector
    return together(sums, tl.zeros([LANES], tl.int64), three), tl.max(below)


@triton.jit
def add_sums(words, sums, top, three: tl.constexpr):
    """Add sums of products in a window to the words: a digit of 32 bits is in one word, all in at most eight."""
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
def add_span(
    words,
    counts,
    pointer,
    n,
    vector: tl.constexpr,
    decode: tl.constexpr,
    digits: tl.constexpr,
    aligned: tl.constexpr,
):
    """Add the squares of n elements, of so many digits, to the words."""
    three: tl.constexpr = digits > 12
    first = largest_of(pointer, tl.minimum(n, LANES * vector), vector, decode)
    # Zeros say nothing.
    top = tl.minimum(top_of(tl.where(first == 0, 118 << 23, first), three) + MARGIN, 126)
    sums = sums_at(pointer, n, top, least_of(top, digits, three), vector, decode, three, aligned)
    k = tl.arange(0, 8 if three else 4)
    if tl.sum(tl.where(k == (7 if three else 3), sums, 0)) == 0:
        if counts:
            add_sums(words, sums, top, three)
    else:
        add_in_windows(words, counts, pointer, n, vector, decode, digits)


@triton.jit
def add_in_windows(
    words, counts, pointer, n, vector: tl.constexpr, decode: tl.constexpr, digits: tl.constexpr
):
    """The same for any numbers, by as many passes as there are windows with numbers."""
    three: tl.constexpr = digits > 12
    largest = largest_of(pointer, n, vector, decode)
    if largest >= INFINITY32:
        tl.atomic_add(words + tl.where(largest == INFINITY32, INFINITE, NAN), 1, sem="relaxed")
        largest = 0
    if counts:
        while largest > 0:
            top = top_of(largest, three)
            least = least_of(top, digits, three)
            sums, below = sums_in(pointer, n, largest, top, least, vector, decode, three)
            add_sums(words, sums, top, three)
            largest = below


# Squares of float64, rounded to 53 bits: one word after the other.


@triton.jit
def add_word(words, place, parts, chosen):
    """Add the sum of chosen parts to a word."""
    tl.atomic_add(words + place, tl.sum(tl.sum(tl.where(chosen, parts, 0), 1), 0), sem="relaxed")


@triton.jit
def add_squares(words, x):
    """Add the squares of finite numbers to the words."""
    # Subnormal numbers are made normal; a square of a number from 1 to 2 is rounded as that of any other.
    small = magnitude(x) < (1 << 52)
    size = magnitude(tl.where(small, x * 18014398509481984.0, x))
    y = ((size & 0xFFFFFFFFFFFFF) | (1023 << 52)).to(tl.float64, bitcast=True)
    square = magnitude(y * y)
    e = 2 * ((size >> 52) - 1023 - tl.where(small, 54, 0)) + (square >> 52) - 1023 - 52
    digits, offset = (square & 0xFFFFFFFFFFFFF) | (1 << 52), e - LEAST
    low, high = (digits & 0xFFFFFFFF) << (offset & 31), (digits >> 32) << (offset & 31)
    first, second, third = low & 0xFFFFFFFF, (low >> 32) + (high & 0xFFFFFFFF), high >> 32
    places = tl.where(size == 0, -1, offset >> 5)
    place = tl.max(places)
    while place >= 0:
        chosen = places == place
        add_word(words, place, first, chosen)
        add_word(words, place + 1, second, chosen)
        add_word(words, place + 2, third, chosen)
        places = tl.where(chosen, -1, places)
        place = tl.max(places)


@triton.jit
def add_span_of_float64(words, counts, pointer, n, aligned: tl.constexpr):
    """Add the squares of n elements to the words."""
    i = 0
    if aligned:
        k = 0
        while k < n // (LANES * 2):
            add_tile_of_float64(words, counts, tl.load(pointer + k * (LANES * 2) + offsets_of(2)))
            k += 1
        i = k * (LANES * 2)
    while i < n:
        add_tile_of_float64(words, counts, part_of_tile(pointer + i, n - i, 2))
        i += LANES * 2


@triton.jit
def add_tile_of_float64(words, counts, x):
    """Add the squares of a tile, or what is not finite in it, to the words."""
    largest = tl.max(magnitude(x))
    if largest >= INFINITY64:
        tl.atomic_add(words + tl.where(largest == INFINITY64, INFINITE, NAN), 1, sem="relaxed")
    elif counts:
        add_squares(words, x)


# Chunks.


@triton.jit
def add_elements(
    words,
    counts,
    pointer,
    n,
    vector: tl.constexpr,
    decode: tl.constexpr,
    digits: tl.constexpr,
    aligned: tl.constexpr,
):
    """Add the squares of n elements to the words."""
    if digits == 53:
        add_span_of_float64(words, counts, pointer, n, aligned)
    else:
        add_span(words, counts, pointer, n, vector, decode, digits, aligned)


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
            if address & 15 == 0:
                pointer = tl.multiple_of((address & -16).to(tl.pointer_type(stored)), 16)
                add_elements(words, counted, pointer, n, 16 // size, decode, digits, True)
            else:
                pointer = address.to(tl.pointer_type(stored))
                add_elements(words, counted, pointer, n, 16 // size, decode, digits, False)
            start += SPAN
            address += SPAN * size
