"""The CPU backend: a step is one call for all parameters, compiled by Numba."""

from .cache import cache_folder
from .history import History, Sums, may_lag
from .job import Job, NormJob
from .kernel import Kernel, compile_conversion, compile_rule
from .machine import architecture, vector_bits
from .measure import LIMITS, MEASURES
from .measured_job import MeasuredJob
from .pool import Pool, ThreadPool
from .row_job import RowJob
from .row_lists import row_lists
from .source import RuleSourceError
from .sums_job import SumsJob

__all__ = [
    "LIMITS",
    "MEASURES",
    "History",
    "Job",
    "Kernel",
    "MeasuredJob",
    "NormJob",
    "Pool",
    "RowJob",
    "RuleSourceError",
    "Sums",
    "SumsJob",
    "ThreadPool",
    "architecture",
    "cache_folder",
    "compile_conversion",
    "compile_rule",
    "may_lag",
    "row_lists",
    "vector_bits",
]
