"""Counter-based random bits for rounding: a function of key and element, whatever the order of elements.

The counter of element i of a tensor is i * 0x9E3779B9 plus the upper half of the key. The lower half is mixed
in afterwards, so that no two keys give the same sequence at shifted elements. Each array of an element has
its own multiplier; the higher a bit of the product, the more bits of the counter it depends on. The functions
are LLVM intrinsics because Numba would multiply 32-bit numbers in 64 bits, which halves the vectors.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .toolbox import inline

__all__ = ["MULTIPLIERS", "counter_at", "draw", "mixed", "next_counter", "tile_key"]

# One for each array. Found by search: for elements up to 2^17 apart, and for two arrays of one element, the
# upper four bits coincide about as rarely as those of true random numbers.
MULTIPLIERS = (0x2618B891, 0x75970953, 0xF0E5709F, 0x99D7AFD3, 0x583A215F)

_WORD = ir.IntType(32)
_STRIDE = ir.Constant(_WORD, 0x9E3779B9)


@inline
def tile_key(key, ordinal):  # type: ignore[no-untyped-def]
    """The key of a tensor's random bits in one step, from the step's key and the tensor's number."""
    mixed = np.uint64(key) + np.uint64(ordinal) * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.uint64(mixed ^ (mixed >> np.uint64(31)))


@intrinsic
def counter_at(typing_context: Any, key: Any, index: Any) -> Any:
    """The counter of an element."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        start = builder.trunc(builder.lshr(args[0], ir.Constant(ir.IntType(64), 32)), _WORD)
        return builder.add(start, builder.mul(builder.trunc(args[1], _WORD), _STRIDE))

    return types.uint32(types.uint64, types.int64), generate


@intrinsic
def next_counter(typing_context: Any, counter: Any) -> Any:
    """The counter of the next element."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.add(args[0], _STRIDE)

    return types.uint32(types.uint32), generate


@intrinsic
def mixed(typing_context: Any, counter: Any, key: Any) -> Any:
    """The counter with its lower half made to depend on its upper half."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        folded = builder.xor(args[0], builder.lshr(args[0], ir.Constant(_WORD, 17)))
        return builder.xor(folded, builder.trunc(args[1], _WORD))

    return types.uint32(types.uint32, types.uint64), generate


@intrinsic
def draw(typing_context: Any, counter: Any, multiplier: Any) -> Any:
    """Random bits from a mixed counter."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.mul(*args)

    return types.uint32(types.uint32, types.uint32), generate
