"""Building blocks of kernels that measure: sums in any order, and the results of a chunk."""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .slices import MAGNITUDE, float_bits, from_float_bits
from .toolbox import access, inline, where

__all__ = ["MAGNITUDE", "NONE", "add_to", "float_bits", "from_float_bits", "plus", "raise_to", "tally"]

NONE = np.uint32(0)

_load, _store = access("sums", "sums", types.float64)


@intrinsic
def plus(typing_context: Any, total: Any, x: Any) -> Any:
    """A sum whose terms may be added in any order, so that a loop of them becomes vectors."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.fadd(*args, flags=["reassoc", "contract"])

    return total(total, total), generate


@intrinsic
def tally(typing_context: Any, total: Any, condition: Any) -> Any:
    """A count, one more where the condition holds."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.add(args[0], builder.zext(args[1], ir.IntType(32)))

    return types.uint32(types.uint32, types.boolean), generate


@inline
def add_to(sums, k, x):  # type: ignore[no-untyped-def]
    """Add to number k of a chunk."""
    _store(sums, k, _load(sums, k) + np.float64(x))


@inline
def raise_to(sums, k, x):  # type: ignore[no-untyped-def]
    """Raise number k of a chunk to at least x; a NaN stays."""
    x, before = np.float64(x), _load(sums, k)
    _store(sums, k, where((x > before) | (x != x), x, before))
