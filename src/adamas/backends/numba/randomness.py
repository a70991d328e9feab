"""Counter-based random bits for rounding: a function of key and element, whatever the order of elements.

The counter of element i of a tensor is i * 0x9E3779B9 plus the upper half of the key. The lower half is mixed
in afterwards, so that no two keys give the same sequence at shifted elements. Each array of an element has
its own multiplier; the higher a bit of the product, the more bits of the counter it depends on. The functions
are LLVM intrinsics because Numba would multiply 32-bit numbers in 64 bits, which halves the vectors.

Where elements come in blocks, a block has a key of its own, hashed at no cost worth counting. Its upper half
is mixed into a constant for each place in a block, and its lower half multiplies them: that makes the bits of
any two places independent, since no two constants agree in their lower seven bits. Two arrays share a
product, its upper bits and its lower ones: 2 instructions of a vector for both, where counters take 5.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ...formats import BLOCK
from .._draws import MULTIPLIERS
from .toolbox import inline

__all__ = [
    "MULTIPLIERS",
    "counter_at",
    "draw",
    "lower_bits",
    "mixed",
    "multiplier_of",
    "next_counter",
    "scattered",
    "tile_key",
]

_WORD = ir.IntType(32)
_LONG = ir.IntType(64)
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
        start = builder.trunc(builder.lshr(args[0], ir.Constant(_LONG, 32)), _WORD)
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


def _places() -> list[int]:
    """A constant for each place in a block."""
    weyl = [place * 0x9E3779B9 & 0xFFFFFFFF for place in range(BLOCK)]
    # Differences of constants alone would repeat: the sum of a block's noise would be too large too often.
    return [w ^ (w >> 15 & ~(BLOCK - 1)) for w in weyl]


@intrinsic
def scattered(typing_context: Any, key: Any, place: Any) -> Any:
    """What an element of a block draws from, by the key of the block and the element's place in it."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        name, table = "adamas.places", ir.ArrayType(_WORD, BLOCK)
        constants = builder.module.globals.get(name)
        if constants is None:
            constants = ir.GlobalVariable(builder.module, table, name)
            constants.initializer = ir.Constant(table, _places())
            constants.global_constant, constants.linkage = True, "internal"
            constants.align = 64
        constant = builder.load(builder.gep(constants, [ir.Constant(_LONG, 0), args[1]]), align=4)
        return builder.xor(constant, builder.trunc(builder.lshr(args[0], ir.Constant(_LONG, 32)), _WORD))

    return types.uint32(types.uint64, types.int64), generate


@inline
def multiplier_of(key, ordinal):  # type: ignore[no-untyped-def]
    """The multiplier of a block's numbered product."""
    return np.uint32(tile_key(key, ordinal)) | np.uint32(1)


@intrinsic
def lower_bits(typing_context: Any, drawn: Any) -> Any:
    """Random bits from the lower 20 of a product, whose upper 12 another array has most use of."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.shl(args[0], ir.Constant(_WORD, 12))

    return types.uint32(types.uint32), generate
