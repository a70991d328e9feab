"""The vectors of the CPU that Numba compiles for: how wide they are, and how a kernel asks for the widest.

LLVM prefers vectors of 256 bits on Intel's servers, where 512 once slowed the clock. Attributes of a function
ask for more. llvmlite knows a fixed list of attributes, which is extended on the function at hand.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from llvmlite import ir
from numba import types
from numba.core.registry import cpu_target
from numba.extending import intrinsic

__all__ = ["Vectors", "vectors", "widest_vectors"]

_WIDEST = '"prefer-vector-width"="512"'
# The raw estimates of LLVM where a quotient of vectors is marked (of the reciprocal of a root, another one),
# without its refinement, which makes NaN of infinity: `estimates.over` has its own. Scalars, which another
# instruction would estimate, stay exact.
_ESTIMATES = '"reciprocal-estimates"="vec-divf:0,vec-sqrtf:0"'


@dataclass(frozen=True)
class Vectors:
    """What kernels are compiled for.

    Attributes:
        bits: the width of a vector.
        reciprocal: the instruction from which kernels of 8-bit and 4-bit state refine quotients; None where
            they divide exactly.
    """

    bits: int
    reciprocal: str | None


def vectors() -> Vectors:
    """The vectors of the CPU that Numba compiles for, which is this one unless its settings say another."""
    features = set(_features().split(","))
    # 512 bits also need instructions on bytes and words and on shorter vectors: all servers have these.
    if {"+avx512f", "+avx512bw", "+avx512dq", "+avx512vl"} <= features:
        return Vectors(512, "vrcp14ps")
    return Vectors(256 if "+avx2" in features else 128, None)


def _features() -> str:
    """LLVM's features of the CPU, as Numba has them; also part of the key of what it keeps on disk."""
    features: str = cpu_target.target_context.codegen()._tm_features
    return features


def _add(function: ir.Function, *attributes: str) -> None:
    function.attributes._known = function.attributes._known | {*attributes}
    for attribute in attributes:
        function.attributes.add(attribute)


@intrinsic
def widest_vectors(typing_context: Any) -> Any:
    """Ask for vectors as wide as the CPU has, in the function that calls this."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        if vectors().bits == 512:
            _add(builder.function, _WIDEST, _ESTIMATES)
        return context.get_dummy_value()

    return types.void(), generate
