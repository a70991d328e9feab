"""Torch's own OpenMP threads for kernels that torch did not compile."""

from __future__ import annotations

import ctypes
import functools
import os
from pathlib import Path

import torch

from ..backends.numba import Pool, ThreadPool

__all__ = ["default_pool"]


class TorchOpenMP:
    """The threads of the libgomp that torch has loaded, as many as `torch.set_num_threads` says.

    A second OpenMP pool in the process (Numba's) costs milliseconds under contention: the idle
    threads of each pool spin while the other one works.
    """

    def __init__(self, libgomp: ctypes.CDLL) -> None:
        self._parallel = libgomp.GOMP_parallel
        self._parallel.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint]
        self._parallel.restype = None

    def size(self) -> int:
        return torch.get_num_threads()

    def run(self, function: int, job: int) -> None:
        self._parallel(function, job, torch.get_num_threads(), 0)


class TorchSizedThreads(ThreadPool):
    """Python threads, as many as `torch.set_num_threads` says, where torch has no libgomp."""

    def size(self) -> int:
        return min(torch.get_num_threads(), self._size)


@functools.cache
def default_pool() -> Pool:
    """Torch's threads where torch runs on libgomp (Linux); elsewhere Python's."""
    if "OpenMP" in torch.__config__.parallel_info() and hasattr(os, "RTLD_NOLOAD"):
        for path in sorted((Path(torch.__file__).parent / "lib").glob("libgomp*.so*")):
            try:  # only a library that is already in the process is torch's
                return TorchOpenMP(ctypes.CDLL(str(path), os.RTLD_NOLOAD | os.RTLD_NOW))
            except OSError:
                continue
    return TorchSizedThreads()
