"""The CPU backend: a step is one call for all parameters, compiled by Numba."""

from .cache import cache_folder
from .job import Job, NormJob
from .kernel import Kernel, compile_conversion, compile_rule
from .machine import architecture, vector_bits
from .pool import Pool, ThreadPool
from .source import RuleSourceError

__all__ = [
    "Job",
    "Kernel",
    "NormJob",
    "Pool",
    "RuleSourceError",
    "ThreadPool",
    "architecture",
    "cache_folder",
    "compile_conversion",
    "compile_rule",
    "vector_bits",
]
