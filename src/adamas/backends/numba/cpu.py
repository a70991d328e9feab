"""The CPU that kernels are compiled for, in words."""

from __future__ import annotations

import llvmlite.binding as llvm

from .machine import vectors

__all__ = ["architecture", "low_bit_instructions", "vector_bits"]


def architecture() -> str:
    """LLVM's name of this CPU, by which it schedules instructions."""
    return str(llvm.get_host_cpu_name())


def vector_bits() -> int:
    """The width of the vectors in kernels."""
    return vectors().bits


def low_bit_instructions() -> str:
    """How kernels with state in 8 bits and fewer take roots and divide."""
    reciprocal = vectors().reciprocal
    if reciprocal is None:
        return "exact square root and division"  # ARM's NEON too: it has no estimate of 14 bits
    return f"exact square root; division by {reciprocal} and a Newton step"
