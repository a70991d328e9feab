"""float8: 8-bit floats with a float32 scale for each 128: sign+3+4 bits, or 5+3 where nothing is negative.

A code is the exponent and mantissa of |x| + o, cut off; o is the smallest number with that exponent, so that
zero is a code, and steps become even below o instead of ending there. Both are rounded stochastically: a
moving average that is rounded to nearest stops where a step no longer reaches half a code, and when
gradients turn it goes on in the old direction. Measured beside other codes in `adamas bench codes`.

Non-negative values are second moments. The range is wide enough for their roots, and a positive one is a
divisor and must not become zero: the smallest positive code, 2^-34, is the one place where the mean is not kept.
"""

from typing import Any

import numpy as np

from ._base import Format, xp

# The offsets o, and their float32 bits, of which a code is the difference.
_SIGNED, _NONNEGATIVE = (127 - 7) << 23, (127 - 31) << 23
_SIGNED_OFFSET, _NONNEGATIVE_OFFSET = 2.0**-7, 2.0**-31


def decode_signed(code, scale):
    """uint8 to float32."""
    spread = xp.u32(xp.u32(xp.i32(xp.i8(code))) << xp.u32(19))
    bits = xp.u32(xp.u32(spread & xp.u32(0x83F80000)) | xp.u32(_SIGNED))
    sign = xp.u32(spread & xp.u32(0x80000000))
    offset = xp.from_bits(xp.u32(xp.bits(scale * xp.f32(-_SIGNED_OFFSET)) ^ sign))
    return xp.fma(xp.from_bits(bits), scale, offset)


def encode_signed(x, inverse, random):
    """float32, at most 1.9296875 in magnitude by `inverse`, to the uint8 code below or above."""
    sign = xp.u32(xp.bits(x) & xp.u32(0x80000000))
    bits = xp.bits(xp.fma(x, inverse, xp.from_bits(xp.u32(sign | xp.u32(_SIGNED)))))
    rounded = xp.u32(bits + xp.u32(random >> xp.u32(13)))
    # The bit above those of the code is set in every exponent; it makes way for the sign.
    beside = xp.u32(xp.u32(bits >> xp.u32(5)) | xp.u32(~(1 << 26) & 0xFFFFFFFF))
    return xp.u8(xp.u32(xp.u32(rounded & beside) >> xp.u32(19)))


def decode_nonnegative(code, scale):
    """uint8 to float32."""
    bits = xp.u32(xp.u32(xp.u32(code) << xp.u32(20)) + xp.u32(_NONNEGATIVE))
    return xp.fma(xp.from_bits(bits), scale, scale * xp.f32(-_NONNEGATIVE_OFFSET))


def encode_nonnegative(x, inverse, random):
    """float32, at most 1.875 by `inverse`, to the uint8 code below or above; positive stays so."""
    bits = xp.bits(xp.fma(x, inverse, xp.f32(_NONNEGATIVE_OFFSET)))
    rounded = xp.u32(bits + xp.u32(random >> xp.u32(12)))
    raised = xp.maximum(rounded, xp.u32(_NONNEGATIVE + (1 << 20)))
    return xp.u8(xp.u32(xp.where(x > xp.f32(0), raised, rounded) >> xp.u32(20)))


# The largest magnitude of a block becomes the largest code. Its scale is 2^-20 larger than that, so that value
# and noise never overflow the code; the mean is kept all the same.
_ABOVE = 1 + 2.0**-20
_COMMON = ("float8", np.dtype(np.uint8), np.dtype(np.float32))
_NAMES: Any = {"rounds": True, "scaled": True, "aliases": ("fp8",)}
FORMATS = {
    True: Format(
        *_COMMON, decode_signed, encode_signed, scale_factor=_ABOVE / (1.9375 - _SIGNED_OFFSET), **_NAMES
    ),
    False: Format(
        *_COMMON,
        decode_nonnegative,
        encode_nonnegative,
        signed=False,
        scale_factor=_ABOVE / (1.875 - _NONNEGATIVE_OFFSET),
        **_NAMES,
    ),
}
