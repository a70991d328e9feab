"""The GPU backend: a step is one launch for all parameters, compiled by Triton.

It imports Triton, which is an extra: `pip install adamas[triton]`.
"""

from . import launch, norm, scalars, toolbox
from .kernel import THREADS, Kernel, chunk_size, compile_rule
from .launch import interpreted

__all__ = [
    "THREADS",
    "Kernel",
    "chunk_size",
    "compile_rule",
    "interpreted",
    "launch",
    "norm",
    "scalars",
    "toolbox",
]
