"""bfloat16: the upper half of a float32, rounded up with a probability equal to the lower half.

Stochastic rounding keeps the mean. Rounding to nearest would lose every update below 1/512 of the value, and
a decay of .999 would never move a second moment.
"""

import numpy as np

from ._base import Format, xp


def decode(code):
    """uint16 to float32, exactly."""
    return xp.from_bits(xp.u32(xp.u32(code) << xp.u32(16)))


def encode(x, random):
    """float32 to uint16; infinity and NaN stay, though the sum below could carry a NaN into a number."""
    rounded = xp.u32(xp.bits(x) + xp.u32(random >> xp.u32(16)))
    return xp.u16(xp.u32(xp.where(x != x, xp.u32(0x7FC00000), rounded)) >> xp.u32(16))


def encode_packed16(x, random):
    """The same for values computed from halves, whose NaN has an empty lower half: nothing to carry."""
    return xp.u16(xp.u32(xp.bits(x) + xp.u32(random >> xp.u32(16))) >> xp.u32(16))


def encode_nearest(x, random):
    """The nearest code, of two the even one."""
    bits = xp.bits(x)
    half = xp.u32(xp.u32(0x7FFF) + xp.u32(xp.u32(bits >> xp.u32(16)) & xp.u32(1)))
    return xp.u16(xp.u32(xp.where(x != x, xp.u32(0x7FC00000), xp.u32(bits + half))) >> xp.u32(16))


FORMATS = dict.fromkeys(
    (True, False),
    Format(
        "bfloat16",
        np.dtype(np.uint16),
        np.dtype(np.float32),
        decode,
        encode,
        rounds=True,
        packed16=encode_packed16,
        nearest=encode_nearest,
        torch_dtype="bfloat16",
        aliases=("bf16",),
    ),
)
