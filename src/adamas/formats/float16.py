"""float16: IEEE half precision, rounded stochastically so that the mean is kept, as in bfloat16.

A positive second moment is a divisor and must not become zero: below 2^-24 it is 2^-24. State saturates at
65,504, where its mean is lost; slots of squares, which gradients of 256 bring there, are refused.
"""

from typing import Any

import numpy as np

from ._base import Format, xp


def decode(code):
    """uint16 to float32, exactly."""
    return xp.half_to_float(code)


def encode(x, random):
    """float32 to uint16; below the normal numbers the noise is one step of the fixed grid of 2^-24."""
    bits = xp.bits(x)
    normal = xp.from_bits(xp.u32(xp.u32(bits + xp.u32(random >> xp.u32(19))) & xp.u32(0xFFFFE000)))
    noise = xp.f32(xp.u32(random >> xp.u32(20))) * xp.f32(2.0**-36) + xp.f32(2.0**-37 - 2.0**-25)
    # Between 0 and 2^-14, without the ends: noise would give a zero another sign.
    small = xp.u32(xp.u32(bits & xp.u32(0x7FFFFFFF)) - xp.u32(1)) < xp.u32(0x387FFFFF)
    return xp.float_to_half(xp.where(x != x, x, xp.where(small, x + noise, normal)))


def encode_nonnegative(x, random):
    """The same, but positive to positive."""
    raised = xp.where(x > xp.f32(0), xp.maximum(x, xp.f32(2.0**-24)), x)
    return encode(raised, random)  # type: ignore[no-untyped-call]


def encode_nearest(x, random):
    """The nearest code, of two the even one."""
    return xp.float_to_half(x)


_COMMON = ("float16", np.dtype(np.uint16), np.dtype(np.float32), decode)
_NAMES: Any = {
    "largest": 65504.0,
    "nearest": encode_nearest,
    "torch_dtype": "float16",
    "aliases": ("fp16", "half"),
}
FORMATS = {
    True: Format(*_COMMON, encode, rounds=True, **_NAMES),
    False: Format(*_COMMON, encode_nonnegative, rounds=True, signed=False, **_NAMES),
}
