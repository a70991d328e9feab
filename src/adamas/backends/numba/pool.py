"""Threads that run one C function `void f(int64 *job)` together."""

from __future__ import annotations

import ctypes
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

__all__ = ["Pool", "ThreadPool"]

_SIGNATURE = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


class Pool(Protocol):
    """A fixed set of threads."""

    def size(self) -> int:
        """How many threads `run` uses."""
        ...

    def run(self, function: int, job: int) -> None:
        """Call the C function at address `function` with address `job` once on every thread; wait for all."""
        ...


def available_cpus() -> int:
    """The CPUs this process may use; where the system does not say (macOS, Windows), those there are."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class ThreadPool:
    """Python threads, which run a C function without holding the interpreter's lock.

    They need no OpenMP library of their own beside another one in the process, and nothing compiled.
    """

    def __init__(self, size: int | None = None) -> None:
        self._size = size or available_cpus()
        self._executor: ThreadPoolExecutor | None = None
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._forget)  # a fork has no threads but the one that forked

    def size(self) -> int:
        return self._size

    def run(self, function: int, job: int) -> None:
        if self._executor is None:
            self._executor = ThreadPoolExecutor(self._size, thread_name_prefix="adamas")
        call = _SIGNATURE(function)
        others = [self._executor.submit(call, job) for _ in range(self._size - 1)]
        call(job)
        for other in others:
            other.result()

    def _forget(self) -> None:
        self._executor = None
