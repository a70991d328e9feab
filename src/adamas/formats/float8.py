"""float8: 8-bit floats with a float32 scale for each 128: sign+4+3 bits, or 5+3 where nothing is negative.

The largest magnitude of a block is the largest code, 1.875. Signed values are rounded to nearest; the code
of 2^-15 is zero. Non-negative values are second moments: rounding must keep their mean, the range must
be wide enough for their roots, and a positive one is a divisor and must not become zero.
"""

from typing import Any

import numpy as np

from ._base import Format, xp

# The float32 bits of the smallest code. A code is added to them above the 20 bits it does not keep.
_SIGNED, _NONNEGATIVE = (127 - 15) << 23, (127 - 31) << 23
# The bits of half the smallest positive signed code, 1.125 * 2^-15: larger values round away from zero.
_HALF = ((127 - 16) << 23) + (1 << 20)
# The bits of the smallest value that rounds to the code after the smallest.
_ONE = _SIGNED + (1 << 20) - 0x7FFFF


def decode_signed(code):
    """uint8 to float32, exactly."""
    spread = xp.u32(xp.u32(xp.i32(xp.i8(code))) << xp.u32(20))
    bits = xp.u32(xp.u32(spread & xp.u32(0x87F00000)) | xp.u32(_SIGNED))
    return xp.from_bits(xp.where(xp.u32(spread & xp.u32(0x07F00000)) == xp.u32(0), xp.u32(0), bits))


def encode_signed(x, random):
    """float32 below 1.9375 in magnitude to the nearest uint8 code."""
    bits = xp.bits(x)
    magnitude = xp.u32(bits & xp.u32(0x7FFFFFFF))
    rounded = xp.u32(xp.maximum(magnitude, xp.u32(_ONE)) + xp.u32(0x7FFFF - _SIGNED & 0xFFFFFFFF))
    code = xp.where(magnitude > xp.u32(_HALF), xp.u32(rounded >> xp.u32(20)), xp.u32(0))
    return xp.u8(xp.where(bits > xp.u32(0x7FFFFFFF), xp.u32(code | xp.u32(128)), code))


def decode_nonnegative(code):
    """uint8 to float32, exactly."""
    code = xp.u32(code)
    bits = xp.u32(xp.u32(code << xp.u32(20)) + xp.u32(_NONNEGATIVE))
    return xp.from_bits(xp.where(code == xp.u32(0), xp.u32(0), bits))


def encode_nonnegative(x, random):
    """float32 in [0, 1.875] to the uint8 code below or above, keeping the mean; positive stays so."""
    bits = xp.bits(x)
    rounded = xp.maximum(xp.u32(bits + xp.u32(random >> xp.u32(12))), xp.u32(_NONNEGATIVE + (1 << 20)))
    return xp.u8(xp.where(bits == xp.u32(0), xp.u32(0), xp.u32(rounded >> xp.u32(20))))


# The largest magnitude becomes the largest code. Stochastically rounded slots use a scale 2^-20 larger, so
# that value + noise never overflows the top code; the mean is kept all the same. Slots rounded to nearest do
# not: they would grow by that factor at every step.
_TOP = 1 / 1.875
_COMMON = ("float8", np.dtype(np.uint8), np.dtype(np.float32))
_NAMES: Any = {"id": 0, "aliases": ("fp8",)}
FORMATS = {
    True: Format(*_COMMON, decode_signed, encode_signed, scaled=True, scale_factor=_TOP, **_NAMES),
    False: Format(
        *_COMMON,
        decode_nonnegative,
        encode_nonnegative,
        rounds=True,
        signed=False,
        scaled=True,
        scale_factor=(1 + 2.0**-20) * _TOP,
        **_NAMES,
    ),
}
