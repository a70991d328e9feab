"""The GPU backend: a step is one launch for all parameters, compiled by Triton.

It imports Triton, which is an extra: `pip install adamas[triton]`.
"""

from . import launch, norm, scalars, sums, toolbox
from .kernel import THREADS, Kernel, SumsKernel, chunk_size, compile_rule, compile_sums
from .kernels.sums import add_chunks
from .launch import interpreted

__all__ = [
    "THREADS",
    "Kernel",
    "SumsKernel",
    "add_chunks",
    "chunk_size",
    "compile_rule",
    "compile_sums",
    "interpreted",
    "launch",
    "norm",
    "scalars",
    "sums",
    "toolbox",
]
