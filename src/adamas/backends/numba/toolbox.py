"""What generated kernels are made of: typed access to addresses, the `xp` of a scalar, the tile counter.

Every kernel file begins with `from adamas.backends.numba.toolbox import *`.
"""

from __future__ import annotations

import types as python_types
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from llvmlite import ir
from numba import cfunc, njit, types
from numba.extending import intrinsic

from .._base import bind as rebind

__all__ = [
    "access",
    "advanced_key",
    "bind",
    "claim_tile",
    "flush",
    "inline",
    "inline_late",
    "int_at",
    "kernel",
    "kernel_of_sums",
    "more_bits",
    "random_bits",
    "scratch",
    "tile_key",
    "where",
    "xp",
]

# Contraction alone: a fused multiply-add is the same in a vector and in the scalar rest of a loop,
# so no result depends on where a tile begins. Reassociation and approximate division are not. NaN
# and infinity are kept (no nnan, no ninf): a NaN gradient must come out as NaN.
_OPTIONS: dict[str, Any] = {"fastmath": {"nsz", "contract"}, "error_model": "numpy"}

inline = njit(inline="always", **_OPTIONS)
# For what is large and called twice: Numba compiles it once, and LLVM inlines it all the same.
inline_late = njit(forceinline=True, **_OPTIONS)


def kernel(function: Callable[[int], None]) -> Any:
    """Compile `function(job)` to a C function of one address, cached on disk beside its source."""
    return cfunc(types.void(types.int64), cache=True, **_OPTIONS)(function)


def kernel_of_sums(function: Callable[[int], None]) -> Any:
    """The same for sums, which are vectors of partial sums only if LLVM may reorder them."""
    options = _OPTIONS | {"fastmath": _OPTIONS["fastmath"] | {"reassoc"}}
    return cfunc(types.void(types.int64), cache=True, **options)(function)


def _scopes(module: Any, arrays: Sequence[str]) -> Any:
    """LLVM's metadata of the alias scopes of these arrays."""
    domain = module.add_metadata([ir.MetaDataString(module, "adamas")])
    return module.add_metadata(
        [module.add_metadata([ir.MetaDataString(module, f"adamas.{array}"), domain]) for array in arrays]
    )


def access(name: str, arrays: str, stored: Any) -> tuple[Any, Any]:
    """`load(address, i)` and `store(address, i, x)` of array `name` among `arrays` (names, space-separated).

    The arrays of a step do not overlap. Telling LLVM so, with alias scopes, spares the run-time
    checks between all pairs of arrays, which it gives up on, and the vectors with them, above
    about five arrays.
    """
    others = [array for array in arrays.split() if array != name]

    def element(context: Any, builder: Any, address: Any, index: Any) -> Any:
        pointer = builder.inttoptr(address, ir.PointerType(context.get_data_type(stored)))
        return builder.gep(pointer, [index])

    def mark(builder: Any, instruction: Any) -> Any:
        instruction.set_metadata("alias.scope", _scopes(builder.module, [name]))
        instruction.set_metadata("noalias", _scopes(builder.module, others))
        return instruction

    @intrinsic
    def load(typing_context: Any, address: Any, index: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return mark(builder, builder.load(element(context, builder, *args)))

        return stored(types.int64, types.int64), generate

    @intrinsic
    def store(typing_context: Any, address: Any, index: Any, value: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            mark(builder, builder.store(args[2], element(context, builder, args[0], args[1])))
            return context.get_dummy_value()

        return types.void(types.int64, types.int64, stored), generate

    return load, store


@intrinsic
def int_at(typing_context: Any, address: Any, index: Any) -> Any:
    """The int64 at `address[index]`: tables, tiles and jobs are read by it."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = builder.inttoptr(args[0], ir.PointerType(ir.IntType(64)))
        return builder.load(builder.gep(pointer, [args[1]]))

    return types.int64(types.int64, types.int64), generate


@intrinsic
def claim_tile(typing_context: Any, job: Any) -> Any:
    """The number of the next tile of a job that no thread has taken yet: an atomic counter at its address."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = builder.inttoptr(args[0], ir.PointerType(ir.IntType(64)))
        return builder.atomic_rmw("add", pointer, ir.Constant(ir.IntType(64), 1), "monotonic")

    return types.int64(types.int64), generate


def scratch(elements: int, stored: Any) -> Any:
    """A function that returns the address of room on the stack for that many elements."""

    @intrinsic
    def make(typing_context: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            array = ir.ArrayType(context.get_data_type(stored), elements)
            with builder.goto_entry_block():
                room = builder.alloca(array)
            room.align = 64
            return builder.ptrtoint(room, ir.IntType(64))

        return types.int64(), generate

    return make


def _bitcast(source: Any, target: Any) -> Any:
    @intrinsic
    def cast(typing_context: Any, x: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return builder.bitcast(args[0], context.get_data_type(target))

        return target(source), generate

    return cast


@intrinsic
def _half_to_float(typing_context: Any, code: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.fpext(builder.bitcast(args[0], ir.HalfType()), ir.FloatType())

    return types.float32(types.uint16), generate


@intrinsic
def _float_to_half(typing_context: Any, x: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(builder.fptrunc(args[0], ir.HalfType()), ir.IntType(16))

    return types.uint16(types.float32), generate


@inline
def where(condition, x, y):  # type: ignore[no-untyped-def]
    """`x` where the condition holds, else `y`: a select, not a branch."""
    return x if condition else y


@inline
def _maximum(x, y):  # type: ignore[no-untyped-def]
    return x if x > y or x != x else y


@inline
def _minimum(x, y):  # type: ignore[no-untyped-def]
    return x if x < y or x != x else y


@inline
def flush(x, tiny):  # type: ignore[no-untyped-def]
    """Zero below the smallest normal number: decaying state must not end in denormals, which are slow."""
    return where(abs(x) < tiny, tiny - tiny, x)  # a literal 0 would widen


@inline
def tile_key(key, ordinal):  # type: ignore[no-untyped-def]
    """The key of a tensor's random bits in one step, from the step's key and the tensor's number."""
    mixed = np.uint64(key) + np.uint64(ordinal) * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    return np.uint32(mixed >> np.uint64(32))


@intrinsic
def random_bits(typing_context: Any, key: Any, index: Any) -> Any:
    """32 bits for element i: a counter, mixed as MurmurHash3 does, so that order does not matter.

    Written in LLVM's terms because Numba multiplies 32-bit numbers in 64, which costs vectors dearly.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        word = ir.IntType(32)
        x = builder.mul(builder.trunc(args[1], word), ir.Constant(word, 0x9E3779B9))
        x = builder.add(x, args[0])
        x = builder.xor(x, builder.lshr(x, ir.Constant(word, 16)))
        x = builder.mul(x, ir.Constant(word, 0x85EBCA6B))
        return builder.xor(x, builder.lshr(x, ir.Constant(word, 13)))

    return types.uint32(types.uint32, types.int64), generate


@intrinsic
def advanced_key(typing_context: Any, key: Any, first: Any) -> Any:
    """The key for which `random_bits(_, j)` are those of element first + j of the tensor."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        word = ir.IntType(32)
        return builder.add(args[0], builder.mul(builder.trunc(args[1], word), ir.Constant(word, 0x9E3779B9)))

    return types.uint32(types.uint32, types.int64), generate


@intrinsic
def more_bits(typing_context: Any, bits: Any, shift: Any) -> Any:
    """The bits from `shift`, at most 12, on: twenty for another array of the same element."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.lshr(args[0], args[1])

    return types.uint32(types.uint32, types.uint32), generate


# Numba resolves attributes of modules only, so the namespace of a kernel is one.
xp: Any = python_types.ModuleType("xp")
xp.sqrt, xp.abs, xp.sign = np.sqrt, np.abs, np.sign
xp.where, xp.maximum, xp.minimum = where, _maximum, _minimum
xp.u8, xp.u16, xp.u32, xp.f32 = np.uint8, np.uint16, np.uint32, np.float32
xp.bits, xp.from_bits = _bitcast(types.float32, types.uint32), _bitcast(types.uint32, types.float32)
xp.half_to_float, xp.float_to_half = _half_to_float, _float_to_half


def bind(function: Callable[..., Any]) -> Any:
    """A format's `decode` or `encode`, compiled, with the functions beside it that it calls."""
    bound = rebind(function, xp)
    names = bound.__globals__
    for name in function.__code__.co_names:
        if isinstance(names.get(name), python_types.FunctionType):
            names[name] = inline(names[name])
    return inline(bound)
