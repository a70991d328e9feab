"""The CPU that kernels are compiled for, and what they use of it."""

from __future__ import annotations

import llvmlite.binding as llvm

__all__ = ["architecture", "low_bit_instructions", "vector_bits"]


def architecture() -> str:
    """LLVM's name of this CPU, by which it schedules instructions."""
    return str(llvm.get_host_cpu_name())


def vector_bits() -> int:
    """The width of the vectors in kernels.

    LLVM prefers 256 bits on Intel CPUs that have 512.
    """
    features = llvm.get_host_cpu_features()
    if features.get("avx512f") and architecture().startswith("znver"):
        return 512
    return 256 if features.get("avx2") else 128


def low_bit_instructions() -> str:
    """How kernels with state in 8 bits and fewer take roots and divide."""
    return "exact square root and division"
