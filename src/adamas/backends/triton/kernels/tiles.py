"""Tiles of a gradient: a vector of 16 bytes for each thread."""

from ..toolbox import bits_of, tl, triton

__all__ = ["THREADS", "aligned", "magnitude", "offsets_of", "tile_at"]

# The threads of a program, each of which has a vector of 16 bytes of a tile, and sums of its own.
THREADS = tl.constexpr(128)


@triton.jit
def aligned(address, stored: tl.constexpr):
    """The pointer at a multiple of 16 bytes, where a thread loads a vector at once."""
    return tl.multiple_of((address & -16).to(tl.pointer_type(stored)), 16)


@triton.jit
def offsets_of(stored: tl.constexpr):
    """The places of a tile's elements: a vector a thread, side by side."""
    vector: tl.constexpr = 128 // stored.primitive_bitwidth
    return tl.arange(0, THREADS)[:, None] * vector + tl.arange(0, vector)[None, :]


@triton.jit
def tile_at(address, i, n, stored: tl.constexpr):
    """The elements of a tile from the i-th on, and zeros from the n-th on."""
    offsets = offsets_of(stored)
    address += i * (stored.primitive_bitwidth // 8)
    if (address & 15 == 0) & (n - i >= THREADS * (128 // stored.primitive_bitwidth)):
        elements = tl.load(aligned(address, stored) + offsets)
    else:
        elements = tl.load(address.to(tl.pointer_type(stored)) + offsets, offsets < n - i, 0)
    return elements


@triton.jit
def magnitude(x):
    """The bits of a float32 or float64 without its sign, in the order of the numbers; NaN comes last."""
    if x.dtype == tl.float64:
        return (bits_of(x) & 0x7FFFFFFFFFFFFFFF).to(tl.int64)
    else:
        return (bits_of(x) & 0x7FFFFFFF).to(tl.int32)
