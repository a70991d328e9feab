"""Many runs in parallel processes, each stored the moment it ends."""

from __future__ import annotations

import contextlib
import dataclasses
import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass

from .runs import Run
from .store import Store


@dataclass(frozen=True)
class Failure:
    """A run that raised, with its traceback."""

    run: Run
    traceback: str


def prepare(runs: Sequence[Run]) -> None:
    """Gets and checks the data of all these runs, so that no two processes do it at once.

    Raises:
        ExperimentError: data cannot be had.
    """
    for run in runs:
        run.prepare()


def execute(runs: Sequence[Run], store: Store, jobs: int) -> Generator[Run | Failure]:
    """Executes and stores the runs in `jobs` processes; yields each as it ends, in no certain order.

    A run that raises is yielded as a `Failure`, and the rest goes on. Closing the iterator, or an interrupt,
    ends the processes at once; what is stored stays.
    """
    pool = ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), _start_worker)
    try:
        with _interrupts_ignored():  # which the workers inherit: Ctrl-C is for this process alone
            futures = {pool.submit(_run, run, store): run for run in runs}
        for future in as_completed(futures):
            yield _ended(futures[future], future)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for worker in multiprocessing.active_children():
            worker.terminate()


def _ended(run: Run, future: Future[None]) -> Run | Failure:
    try:
        future.result()
    except BrokenProcessPool:
        return Failure(
            run, "its process, or another of the pool, was killed: out of memory? Try fewer --jobs\n"
        )
    except Exception as error:
        return Failure(run, "".join(traceback.format_exception(error)))
    return run


def _run(run: Run, store: Store) -> None:
    store.write(run.configuration(), dataclasses.asdict(run.execute()))


def _start_worker() -> None:
    import torch

    torch.set_num_threads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    # A pool's worker waits for tasks for ever when its parent is killed.
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
    os._exit(1)


@contextlib.contextmanager
def _interrupts_ignored() -> Iterator[None]:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
