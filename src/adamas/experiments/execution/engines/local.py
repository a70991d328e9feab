"""Processes of this machine, one for each job at a time."""

from __future__ import annotations

import contextlib
import functools
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool

from ... import ExperimentError
from . import Done, Event, Execute, Job, Source, Started, attempt, ended, lost, retry_lost


@contextlib.contextmanager
def connect(jobs: int | None, address: str | None) -> Iterator[Execute]:
    """Provide processes, started once there are runs; see `Engine.connect`.

    Raises:
        ExperimentError: an address was given.
    """
    if address is not None:
        raise ExperimentError(f"the engine 'local' has no address, got {address!r}: add --engine ray")
    # A run that was killed is tried again alone, after all others: the likely reason is a lack of memory.
    yield functools.partial(retry_lost, functools.partial(_execute, jobs or os.cpu_count() or 1), _alone)


def _alone(source: Source) -> Generator[Event]:
    return _execute(1, source)


def _execute(jobs: int, source: Source) -> Generator[Event]:
    others = set(multiprocessing.active_children())
    waiting, idle = deque(source()), [_Worker() for _ in range(jobs)]
    workers = list(idle)
    busy: dict[Future[list[Done]], tuple[_Worker, Job]] = {}
    try:
        while waiting or busy:
            while waiting and idle:
                job, worker = waiting.popleft(), idle.pop()
                busy[worker.submit(job)] = worker, job
                yield from map(Started, job.runs)
            for future in wait(busy, return_when=FIRST_COMPLETED).done:
                worker, job = busy.pop(future)
                idle.append(worker)
                yield from _end(job, future)
            waiting.extend(source())
    finally:
        for worker in workers:
            worker.close()
        for process in set(multiprocessing.active_children()) - others:
            process.terminate()


def _end(job: Job, future: Future[list[Done]]) -> list[Event]:
    try:
        return ended(job, future.result())
    except BrokenProcessPool:
        return lost(job)


class _Worker:
    """One process, replaced when it was killed.

    Each is a pool of its own, because a pool that loses a process gives up all its jobs.
    """

    def __init__(self) -> None:
        self.pool: ProcessPoolExecutor | None = None

    def submit(self, job: Job) -> Future[list[Done]]:
        """Start the job."""
        with contextlib.suppress(BrokenProcessPool):
            if self.pool is not None:
                return self.pool.submit(attempt, job)
        self.pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), _start_worker)
        with _inherited():  # by the process, which is started with its first job
            return self.pool.submit(attempt, job)

    def close(self) -> None:
        """Let the process end after its job."""
        if self.pool is not None:
            self.pool.shutdown(wait=False, cancel_futures=True)


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # where `_inherited` cannot do it
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    # A pool's worker waits for tasks for ever when its parent is killed.
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
    os._exit(1)


@contextlib.contextmanager
def _inherited() -> Iterator[None]:
    """Set the signal mask and thread count that a process inherits if it is started meanwhile.

    It takes no interrupts, because Ctrl-C is for this process alone; one that arrives here meanwhile waits.
    And the libraries that the process loads use one thread.
    """
    mask = getattr(signal, "pthread_sigmask", None)  # which Windows lacks
    before = mask(signal.SIG_BLOCK, {signal.SIGINT}) if mask else None
    threads = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"
    try:
        yield
    finally:
        os.environ.pop("OMP_NUM_THREADS")
        if threads is not None:
            os.environ["OMP_NUM_THREADS"] = threads
        if mask:
            mask(signal.SIG_SETMASK, before)
