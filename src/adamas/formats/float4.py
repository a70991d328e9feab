"""float4: 4-bit floats, two a byte, with a float32 scale for each 128: sign+2+1 bits, or 2+2 if not negative.

As in `float8`, a code is the exponent and mantissa of |x| + o, cut off after stochastic rounding. A second
moment has no zero, which one in sixteen codes could not afford: o is 15/16 of the smallest number with that
exponent, so that the smallest code is 1/209 of the largest (the zero point is excluded in Li, Chen and Zhu,
"Memory Efficient Optimizers with 4-bit States", 2023, section 4.1). Smaller values become it: their mean is
not kept, and their steps are the shorter.

Seven magnitudes of a momentum are noise, which a division by the root of a second moment makes harmless, and
nothing else does: rules without one, of which Lion takes the sign, are refused.
"""

from typing import Any

import numpy as np

from ._base import Format, xp

# The float32 bits of 2^-3. Above the 22 and 21 that a code does not keep they are a multiple of 16, less 8,
# and one of 16.
_LOWEST = (127 - 3) << 23


def decode_signed(code, scale):
    """4 bits to float32."""
    code = xp.u32(code)
    sign = xp.u32(xp.u32(code & xp.u32(8)) << xp.u32(28))
    bits = xp.u32(xp.u32(xp.u32(code & xp.u32(7)) << xp.u32(22)) + xp.u32(sign | xp.u32(_LOWEST)))
    return (xp.from_bits(bits) - xp.from_bits(xp.u32(sign | xp.u32(_LOWEST)))) * scale


def encode_signed(x, inverse, random):
    """float32, at most 1.375 in magnitude by `inverse`, to the code below or above."""
    offset = xp.u32(xp.u32(xp.bits(x) & xp.u32(0x80000000)) | xp.u32(_LOWEST))
    bits = xp.bits(xp.fma(x, inverse, xp.from_bits(offset)))
    code = xp.u32(xp.u32(bits + xp.u32(random >> xp.u32(10))) >> xp.u32(22))
    return xp.u8(xp.u32(code & xp.u32(7)) | xp.u32(xp.u32(bits >> xp.u32(28)) & xp.u32(8)))


def decode_nonnegative(code, scale):
    """4 bits to float32."""
    bits = xp.u32(xp.u32(xp.u32(code) << xp.u32(21)) + xp.u32(_LOWEST))
    return (xp.from_bits(bits) - xp.f32(0.1171875)) * scale


def encode_nonnegative(x, inverse, random):
    """float32, at most 1.6328125 by `inverse`, to the code below or above, or to the smallest."""
    bits = xp.bits(xp.fma(x, inverse, xp.f32(0.1171875)))
    rounded = xp.maximum(xp.u32(bits + xp.u32(random >> xp.u32(11))), xp.u32(_LOWEST))
    return xp.u8(xp.u32(rounded >> xp.u32(21)) & xp.u32(15))


# As in `float8`.
_ABOVE = 1 + 2.0**-20
_COMMON = ("float4", np.dtype(np.uint8), np.dtype(np.float32))
_NAMES: Any = {"rounds": True, "scaled": True, "packs": 2, "needs_divisor": True, "aliases": ("fp4",)}
FORMATS = {
    True: Format(
        *_COMMON, decode_signed, encode_signed, scale_factor=_ABOVE / 1.375, largest=2.0**63, **_NAMES
    ),
    False: Format(
        *_COMMON,
        decode_nonnegative,
        encode_nonnegative,
        signed=False,
        scale_factor=_ABOVE / 1.6328125,
        **_NAMES,
    ),
}
