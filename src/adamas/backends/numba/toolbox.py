"""Building blocks of generated kernels: typed access to addresses, the `xp` of a scalar, the chunk counter.

Every kernel file begins with `from adamas.backends.numba.toolbox import *`, and the same of `randomness`.
"""

from __future__ import annotations

import types as python_types
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from llvmlite import ir
from numba import cfunc, njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from .arctangent import atan2
from .halves import half_of, with_half
from .machine import fuses, widest_vectors

__all__ = [
    "access",
    "below_normal",
    "bind",
    "bitcast",
    "claim_chunk",
    "copy_bytes",
    "flush",
    "fused",
    "half_of",
    "inline",
    "inline_late",
    "int_at",
    "kernel",
    "packed",
    "prefetch",
    "saturated",
    "scratch",
    "short_nan",
    "subnormal_scale",
    "unpacked",
    "where",
    "widest_vectors",
    "with_half",
    "xp",
]

# Contraction only: a fused multiply-add gives the same bits in a vector and in the scalar remainder of a
# loop, so no result depends on where a chunk begins. Reassociation and approximate division would not.
# Without nnan and ninf, NaN and infinity survive: a NaN gradient must come out as NaN.
_OPTIONS: dict[str, Any] = {"fastmath": {"nsz", "contract"}, "error_model": "numpy"}

inline = njit(inline="always", **_OPTIONS)
# For large functions with two callers: Numba compiles them once, and LLVM still inlines both calls.
inline_late = njit(forceinline=True, **_OPTIONS)


def kernel(function: Callable[[int], None]) -> Any:
    """Compile `function(job)` to a C function of one address, cached on disk beside its source."""
    return cfunc(types.void(types.int64), cache=True, **_OPTIONS)(function)


def _scopes(module: Any, arrays: Sequence[str]) -> Any:
    """LLVM's metadata of the alias scopes of these arrays."""
    domain = module.add_metadata([ir.MetaDataString(module, "adamas")])
    return module.add_metadata(
        [module.add_metadata([ir.MetaDataString(module, f"adamas.{array}"), domain]) for array in arrays]
    )


def access(name: str, arrays: str, stored: Any, unit: int = 1) -> tuple[Any, Any]:
    """`load(address, i)` and `store(address, i, x)` of array `name` among `arrays` (names, space-separated).

    The arrays of a step do not overlap, and alias scopes tell LLVM so. Without them it checks all pairs of
    arrays at run time, and above about five arrays gives up both the checks and the vectors.
    """
    others = [array for array in arrays.split() if array != name]
    align = stored.bitwidth // 8 // unit

    def element(context: Any, builder: Any, address: Any, index: Any) -> Any:
        pointer = builder.inttoptr(address, ir.PointerType(ir.IntType(stored.bitwidth // unit)))
        return builder.bitcast(builder.gep(pointer, [index]), ir.PointerType(context.get_data_type(stored)))

    def mark(builder: Any, instruction: Any) -> Any:
        instruction.set_metadata("alias.scope", _scopes(builder.module, [name]))
        instruction.set_metadata("noalias", _scopes(builder.module, others))
        return instruction

    @intrinsic
    def load(typing_context: Any, address: Any, index: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return mark(builder, builder.load(element(context, builder, *args), align=align))

        return stored(types.int64, types.int64), generate

    @intrinsic
    def store(typing_context: Any, address: Any, index: Any, value: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            mark(builder, builder.store(args[2], element(context, builder, *args[:2]), align=align))
            return context.get_dummy_value()

        return types.void(types.int64, types.int64, stored), generate

    return load, store


@intrinsic
def int_at(typing_context: Any, address: Any, index: Any) -> Any:
    """The int64 at `address[index]`, of a table, a tile or a job."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = builder.inttoptr(args[0], ir.PointerType(ir.IntType(64)))
        return builder.load(builder.gep(pointer, [args[1]]))

    return types.int64(types.int64, types.int64), generate


@intrinsic
def claim_chunk(typing_context: Any, job: Any) -> Any:
    """The next chunk of a job that no thread has taken, from the atomic counter at the job's address."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = builder.inttoptr(args[0], ir.PointerType(ir.IntType(64)))
        return builder.atomic_rmw("add", pointer, ir.Constant(ir.IntType(64), 1), "monotonic")

    return types.int64(types.int64), generate


@intrinsic
def prefetch(typing_context: Any, address: Any) -> Any:
    """Ask for the cache line at an address, which will be read and written; any address is allowed."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = ir.PointerType(ir.IntType(8))
        number = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [pointer, number, number, number])
        insert: Any = cgutils.get_or_insert_function
        function = insert(builder.module, kind, "llvm.prefetch.p0i8")
        numbers = [ir.Constant(number, n) for n in (1, 3, 1)]  # to write, into all caches, data
        builder.call(function, [builder.inttoptr(args[0], pointer), *numbers])
        return context.get_dummy_value()

    return types.none(types.int64), generate


def scratch(elements: int, stored: Any) -> Any:
    """A function that returns the address of a stack buffer of that many elements."""

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


@intrinsic
def copy_bytes(typing_context: Any, target: Any, source: Any, count: Any) -> Any:
    """Copy bytes between arrays that do not overlap, whatever their alias scopes."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        to, at = (builder.inttoptr(address, ir.PointerType(ir.IntType(8))) for address in args[:2])
        cgutils.raw_memcpy(builder, to, at, args[2], 1)  # type: ignore[no-untyped-call]
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), generate


def bitcast(source: Any, target: Any) -> Any:
    """A function that takes the bits of a number of one type as another."""

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


@intrinsic
def fused(typing_context: Any, x: Any, y: Any, z: Any) -> Any:
    """x y + z, rounded once where the CPU has an instruction for it."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        if fuses():
            return builder.fma(*args)
        return builder.fadd(builder.fmul(args[0], args[1]), args[2])

    return x(x, x, x), generate


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


@intrinsic
def below_normal(typing_context: Any, x: Any) -> Any:
    """Whether a number is zero or subnormal: one test of the exponent, not a magnitude and a comparison."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        width, exponent = (32, 0x7F800000) if x == types.float32 else (64, 0x7FF0000000000000)
        word = ir.IntType(width)
        masked = builder.and_(builder.bitcast(args[0], word), ir.Constant(word, exponent))
        return builder.icmp_unsigned("==", masked, ir.Constant(word, 0))

    return types.boolean(x), generate


@inline
def flush(x, zero):  # type: ignore[no-untyped-def]
    """Zero for subnormal numbers, in which decaying state would end and arithmetic is slow."""
    return where(below_normal(x), zero, x)  # type: ignore[call-arg]


@inline
def saturated(x, largest):  # type: ignore[no-untyped-def]
    """A number brought into a range; NaN stays."""
    return xp.maximum(xp.minimum(x, largest), -largest)


# Below it, a scale times the smallest code of any format, 2^-34, is subnormal.
subnormal_scale = np.float32(2.0**35) * np.finfo(np.float32).tiny


@inline
def unpacked(both):  # type: ignore[no-untyped-def]
    """Two codes of 4 bits in a byte, the first in its lower half, to a byte each of 16 bits."""
    both = np.uint16(both)
    return np.uint16((both & np.uint16(15)) | ((both << np.uint16(4)) & np.uint16(0xF00)))


@inline
def packed(both):  # type: ignore[no-untyped-def]
    """The opposite of `unpacked`."""
    return np.uint8((both & np.uint16(15)) | (both >> np.uint16(4)))


@inline
def short_nan(x):  # type: ignore[no-untyped-def]
    """A float32 unchanged, but NaN with an empty lower half."""
    return xp.from_bits(where(x != x, np.uint32(0x7FC00000), xp.bits(x)))


@inline
def _fma(x, y, z):  # type: ignore[no-untyped-def]
    return x * y + z  # contracted, by the options above


# Numba resolves attributes of modules only, so the namespace of kernels is a module.
xp: Any = python_types.ModuleType("xp")
xp.sqrt, xp.abs, xp.sign, xp.log, xp.atan2 = np.sqrt, np.abs, np.sign, np.log, atan2
xp.where, xp.maximum, xp.minimum = where, _maximum, _minimum
xp.u8, xp.u16, xp.u32, xp.i8, xp.i32, xp.f32 = np.uint8, np.uint16, np.uint32, np.int8, np.int32, np.float32
xp.bits, xp.from_bits = bitcast(types.float32, types.uint32), bitcast(types.uint32, types.float32)
xp.fma = _fma
xp.half_to_float, xp.float_to_half = _half_to_float, _float_to_half


def bind(function: Callable[..., Any]) -> Any:
    """Compile a format's `decode` or `encode`, with the functions beside it that it calls."""
    return inline(_rebound(function))


def _rebound(function: Any) -> Any:
    """The function with the `xp` of kernels, and compiled functions for those that it calls."""
    names = {**function.__globals__, "xp": xp}
    for name in function.__code__.co_names:
        if isinstance(names.get(name), python_types.FunctionType):
            names[name] = inline(_rebound(names[name]))
    return python_types.FunctionType(function.__code__, names, function.__name__, function.__defaults__)
