"""Two codes of 16 bits in a word of 32."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

__all__ = ["half_of", "with_half"]

_WORD = ir.IntType(32)


@intrinsic
def half_of(typing_context: Any, word: Any, half: Any) -> Any:
    """The lower (0) or upper (1) 16 bits of 32."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        shift = builder.shl(builder.trunc(args[1], _WORD), ir.Constant(_WORD, 4))
        return builder.trunc(builder.lshr(args[0], shift), ir.IntType(16))

    return types.uint16(types.uint32, types.int64), generate


@intrinsic
def with_half(typing_context: Any, word: Any, half: Any, code: Any) -> Any:
    """A word with a 16-bit code put in a half that is zero."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        shift = builder.shl(builder.trunc(args[1], _WORD), ir.Constant(_WORD, 4))
        return builder.or_(args[0], builder.shl(builder.zext(args[2], _WORD), shift))

    return types.uint32(types.uint32, types.int64, types.uint16), generate
