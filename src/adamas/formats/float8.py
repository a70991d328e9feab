"""float8: 8-bit floats with a float32 scale for each 128: sign+4+3 bits, or 5+3 where nothing is negative.

A code is the exponent and mantissa of |x| + o, cut off; o is the smallest number with that exponent, so that
zero is a code, and steps become even below o instead of ending there. Both are rounded stochastically: a
moving average that is rounded to nearest stops where a step no longer reaches half a code, and when
gradients turn it goes on in the old direction. `adamas bench codes` measures other codes beside these: one
more bit of mantissa halves the noise of momentum, but one large element then drowns neighbours a thousand
times smaller, and moves them too far.

Non-negative values are second moments. The range is wide enough for their roots, and a positive one is a
divisor and must not become zero: below the smallest positive code, 2^-34, the mean is not kept.

Both saturate, second moments at the largest number and others at 2^63, about its root, so that no step
becomes longer by it: an infinite scale would take all elements of its block along.
"""

from typing import Any

import numpy as np

from ._base import Format, xp

# The float32 bits of the offsets o, 2^-15 and 2^-31. Those above the 20 that a code does not keep are a
# multiple of 256 less 128, and of 256: cut to a byte, a code needs no difference.
_SIGNED, _NONNEGATIVE = (127 - 15) << 23, (127 - 31) << 23


def decode_signed(code, scale):
    """uint8 to float32."""
    spread = xp.u32(xp.u32(xp.i32(xp.i8(code))) << xp.u32(20))
    bits = xp.u32(xp.u32(spread & xp.u32(0x87F00000)) | xp.u32(_SIGNED))
    sign = xp.u32(spread & xp.u32(0x80000000))
    offset = xp.from_bits(xp.u32(xp.bits(scale * xp.f32(-(2.0**-15))) ^ sign))
    return xp.fma(xp.from_bits(bits), scale, offset)


def encode_signed(x, inverse, random):
    """float32, at most 1.875 - o in magnitude by `inverse`, to the uint8 code below or above."""
    offset = xp.u32(xp.u32(xp.bits(x) & xp.u32(0x80000000)) | xp.u32(_SIGNED))
    bits = xp.bits(xp.fma(x, inverse, xp.from_bits(offset)))
    rounded = xp.u32(bits + xp.u32(random >> xp.u32(12)))
    # The bit above those of the code is set in every exponent, and makes way for the sign.
    sign = xp.u32(xp.u32(bits >> xp.u32(4)) | xp.u32(~(1 << 27) & 0xFFFFFFFF))
    return xp.u8(xp.u32(xp.u32(rounded & sign) >> xp.u32(20)))


def decode_nonnegative(code, scale):
    """uint8 to float32."""
    bits = xp.u32(xp.u32(xp.u32(code) << xp.u32(20)) + xp.u32(_NONNEGATIVE))
    return xp.fma(xp.from_bits(bits), scale, scale * xp.f32(-(2.0**-31)))


def encode_nonnegative(x, inverse, random):
    """float32, at most 1.875 by `inverse`, to the uint8 code below or above; positive stays so."""
    bits = xp.bits(xp.fma(x, inverse, xp.f32(2.0**-31)))
    rounded = xp.u32(bits + xp.u32(random >> xp.u32(12)))
    raised = xp.maximum(rounded, xp.u32(_NONNEGATIVE + (1 << 20)))
    return xp.u8(xp.u32(xp.where(x > xp.f32(0), raised, rounded) >> xp.u32(20)))


# The largest magnitude of a block becomes the largest code. Its scale is 2^-20 larger than that, so that
# value and noise never overflow the code; the mean is kept all the same.
_ABOVE = 1 + 2.0**-20
_COMMON = ("float8", np.dtype(np.uint8), np.dtype(np.float32))
_NAMES: Any = {"rounds": True, "scaled": True, "aliases": ("fp8",)}
FORMATS = {
    True: Format(
        *_COMMON,
        decode_signed,
        encode_signed,
        scale_factor=_ABOVE / (1.875 - 2.0**-15),
        largest=2.0**63,
        **_NAMES,
    ),
    False: Format(
        *_COMMON,
        decode_nonnegative,
        encode_nonnegative,
        signed=False,
        scale_factor=_ABOVE / (1.875 - 2.0**-31),
        **_NAMES,
    ),
}
