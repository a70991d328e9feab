"""What every storage format has: how a stored code becomes a number, and a number a code.

`decode` and `encode` are elementwise and use `xp` for what arrays and compiled scalars spell
differently, as the rules do: `xp.bits(x)`, the 32 bits of a float32; `xp.from_bits(b)`, back;
`xp.u32(x)`, a conversion, as `u8`, `u16`, `i8`, `i32`, `f32`; `xp.fma(x, y, z)`, x y + z rounded once;
`xp.where/minimum/maximum`. Every operation on codes is wrapped in `xp.u32`: a compiled unsigned number would
widen.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np

from ._blocks import BLOCK

__all__ = ["Format", "numpy_bits", "xp"]


def _from_bits(b: Any) -> Any:
    return np.asarray(b, np.uint32).view(np.float32)


def _fma(x: Any, y: Any, z: Any) -> Any:
    # The product is exact in float64, and of a sum's 53 bits the last is almost never the one that decides.
    return (np.asarray(x, np.float64) * np.float64(y) + np.float64(z)).astype(np.float32)


# NumPy's spelling of what formats use; kernels have their own.
numpy_bits: Any = SimpleNamespace(
    bits=lambda x: np.asarray(x, np.float32).view(np.uint32),
    from_bits=_from_bits,
    i8=lambda x: np.asarray(x).astype(np.int8),
    i32=lambda x: np.asarray(x).astype(np.int32),
    u8=lambda x: np.asarray(x).astype(np.uint8),
    u16=lambda x: np.asarray(x).astype(np.uint16),
    u32=lambda x: np.asarray(x).astype(np.uint32),
    f32=lambda x: np.asarray(x, np.float32),
    fma=_fma,
    where=np.where,
    minimum=np.minimum,
    maximum=np.maximum,
    half_to_float=lambda code: np.asarray(code, np.uint16).view(np.float16).astype(np.float32),
    float_to_half=lambda x: np.asarray(x, np.float32).astype(np.float16).view(np.uint16),
)
xp: Any = numpy_bits


@dataclass(frozen=True)
class Format:
    """A way to store numbers.

    Attributes:
        name: as users write it.
        stored: dtype of a stored element.
        compute: dtype of its value, float32 or float64.
        decode: code to value; None where they are the same. That of a scaled format takes the scale too.
        encode: value and 32 random bits, the highest of which count most, to code. That of a scaled format
            takes one over the scale before the bits.
        rounds: whether `encode` uses the random bits.
        signed: whether values may be negative.
        scaled: whether each `BLOCK` elements share a scale, the largest magnitude times `scale_factor`; all
            codes are zero for zeros, and the smallest positive one is at least 2^-34.
        nearest: `encode` that rounds to nearest, ties to even, whatever the random bits, for copies of wider
            parameters; in the same file. None where there is none.
        packs: how many codes share a stored element; with 2 the first is in its lower bits.
        largest: the magnitude at which state saturates, if that is not the largest number of the type of the
            computation: infinite, it would never come back.
        needs_divisor: whether it is fit only for rules that divide by the root of a second moment.
        packed16: `encode` for kernels that compute with formats that have this alone; two elements are
            then read as one word of 32 bits, and written as one.
        torch_dtype: the name in `torch` of the dtype with the same codes; None where there is none.
        aliases: what else users may write.
    """

    name: str
    stored: np.dtype[Any]
    compute: np.dtype[Any]
    decode: Callable[..., Any] | None = None
    encode: Callable[..., Any] | None = None
    rounds: bool = False
    signed: bool = True
    scaled: bool = False
    scale_factor: float = 1.0
    packed16: Callable[..., Any] | None = None
    nearest: Callable[..., Any] | None = field(default=None, kw_only=True)
    packs: int = field(default=1, kw_only=True)
    largest: float | None = field(default=None, kw_only=True)
    needs_divisor: bool = field(default=False, kw_only=True)
    torch_dtype: str | None = field(default=None, kw_only=True)
    aliases: tuple[str, ...] = field(default=(), kw_only=True)

    @property
    def bits(self) -> int:
        """The bits of a code."""
        return 8 * self.stored.itemsize // self.packs

    @property
    def bytes(self) -> float:
        """The size of an element, its share of a scale included."""
        return self.stored.itemsize / self.packs + (4 / BLOCK if self.scaled else 0)
