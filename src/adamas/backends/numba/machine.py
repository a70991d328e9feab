"""The vectors of the CPU that Numba compiles for: how wide they are, and how a kernel asks for the widest.

LLVM prefers vectors of 256 bits on Intel's servers, where 512 once slowed the clock. Attributes of a function
ask for more. llvmlite knows a fixed list of attributes, which is extended on the function at hand.
"""

from __future__ import annotations

from typing import Any

import llvmlite.binding as llvm
from numba import types
from numba.core.registry import cpu_target
from numba.extending import intrinsic

__all__ = ["architecture", "fuses", "vector_bits", "widest_vectors"]

_WIDEST = '"prefer-vector-width"="512"'


def architecture() -> str:
    """LLVM's name of this CPU, by which it schedules instructions."""
    return str(llvm.get_host_cpu_name())


def vector_bits() -> int:
    """The width of the vectors of the CPU that Numba compiles for: this one, unless it is set to another."""
    features = set(_features().split(","))
    # 512 bits also need instructions on bytes and words and on shorter vectors: all servers have these.
    if {"+avx512f", "+avx512bw", "+avx512dq", "+avx512vl"} <= features:
        return 512
    return 256 if "+avx2" in features else 128


def fuses() -> bool:
    """Whether one instruction multiplies and adds: on all but old x86."""
    x86 = llvm.get_default_triple().startswith(("x86", "i386", "i686"))
    return not x86 or "+fma" in _features().split(",")


def _features() -> str:
    """LLVM's features of the CPU, as Numba has them; also part of the key of what it keeps on disk."""
    features: str = cpu_target.target_context.codegen()._tm_features
    return features


@intrinsic
def widest_vectors(typing_context: Any) -> Any:
    """Ask for vectors as wide as the CPU has, in the function that calls this."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        if vector_bits() == 512:
            attributes = builder.function.attributes
            attributes._known = attributes._known | {_WIDEST}
            attributes.add(_WIDEST)
        return context.get_dummy_value()

    return types.void(), generate
