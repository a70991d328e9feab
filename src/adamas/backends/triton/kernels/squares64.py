"""The squares of float64 numbers, each rounded to 53 bits, in the words of `backends.exact`."""

from ... import exact
from ..toolbox import tl, triton
from .tiles import THREADS, magnitude, tile_at

__all__ = ["add_span_of_float64"]

LEAST, INFINITE, NAN = tl.constexpr(exact.LEAST), tl.constexpr(exact.INFINITE), tl.constexpr(exact.NAN)
INFINITY = tl.constexpr(0x7FF0000000000000)


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
def add_tile_of_float64(words, counts, x):
    """Add the squares of a tile, or what is not finite in it, to the words."""
    largest = tl.max(magnitude(x))
    if largest >= INFINITY:
        tl.atomic_add(words + tl.where(largest == INFINITY, INFINITE, NAN), 1, sem="relaxed")
    elif counts:
        add_squares(words, x)


@triton.jit
def add_span_of_float64(words, counts, address, n):
    """Add the squares of n elements to the words."""
    i = 0
    while i < n:
        add_tile_of_float64(words, counts, tile_at(address, i, n, tl.float64))
        i += THREADS * 2
