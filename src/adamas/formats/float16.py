"""float16: IEEE half precision, rounded up with the probability that keeps the mean, as bfloat16 is."""

import numpy as np

from ._base import Format, xp


def decode(code):
    """uint16 to float32, exactly."""
    return xp.half_to_float(code)


def encode(x, random):
    """float32 to uint16; below the normal numbers the noise is one step of the fixed grid of 2^-24."""
    normal = xp.from_bits(xp.u32(xp.u32(xp.bits(x) + xp.u32(random & xp.u32(0x1FFF))) & xp.u32(0xFFFFE000)))
    noise = xp.f32(xp.u32(random & xp.u32(0xFFF))) * xp.f32(2.0**-36) + xp.f32(2.0**-37 - 2.0**-25)
    small = xp.u32(xp.bits(x) & xp.u32(0x7FFFFFFF)) < xp.u32(0x38800000)  # 2^-14
    return xp.float_to_half(xp.where(x != x, x, xp.where(small, x + noise, normal)))


FORMATS = dict.fromkeys(
    (True, False), Format("float16", np.dtype(np.uint16), np.dtype(np.float32), decode, encode, rounds=True)
)
