"""Tasks on a Ray cluster: one that runs already, or one started here for as long as the command takes.

Each of its machines needs what is installed here (Python, `adamas[experiments,ray]`), the same versions, and
the data: `ADAMAS_DATA` in the environment that Ray was started in there, or a way to download them. Results
come back through Ray and are stored where the command was given.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import socket
import sys
from collections import deque
from collections.abc import Generator, Iterator
from typing import Any

from ... import ExperimentError
from . import Done, Event, Execute, Job, Source, Started, attempt, ended, failure, lost, retry_lost

try:
    import ray
    from ray.exceptions import RayError, RayTaskError
except ModuleNotFoundError as error:
    raise ExperimentError(
        f"the engine 'ray' needs the package {error.name!r}: pip install -e '.[ray]' in a clone of adamas"
    ) from error

PATIENCE = 5.0  # seconds, for a cluster to answer
OBJECTS = (
    100 * 2**20
)  # bytes of shared memory; Ray's default is a third of the machine's, but records are small


@contextlib.contextmanager
def connect(jobs: int | None, address: str | None) -> Iterator[Execute]:
    """Provide tasks of one CPU each; see `Engine.connect`.

    Raises:
        ExperimentError: there is no cluster at the address, or it cannot be used.
    """
    # Ray prints messages, for instance when a worker dies; standard output is for results.
    with contextlib.redirect_stdout(sys.stderr):
        if address is None:
            _start(jobs or os.cpu_count() or 1)
        else:
            _join(address)
        try:
            task = ray.remote(num_cpus=1, max_retries=0)(_stream)
            execute = functools.partial(_execute, task, jobs)
            yield functools.partial(retry_lost, execute, execute)
        finally:
            ray.shutdown()


def _start(cpus: int) -> None:
    # Otherwise Ray reports the use of clusters that it starts.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    ray.init(
        address="local",
        num_cpus=cpus,
        include_dashboard=False,
        object_store_memory=OBJECTS,
        logging_level=logging.ERROR,
        log_to_driver=False,
    )


def _join(address: str) -> None:
    """Connect to a cluster that runs already.

    Raises:
        ExperimentError: there is none, or it cannot be used.
    """
    host, _, port = address.rpartition(":")
    try:
        if address != "auto":
            if not (host and port.isdecimal()):
                raise ValueError("expected auto or host:port")
            # Ray itself would try for two minutes, and then end the process.
            socket.create_connection((host.strip("[]"), int(port)), PATIENCE).close()
        ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False)
    except (OSError, RuntimeError, ValueError, SystemExit) as error:
        raise ExperimentError(
            f"no Ray cluster at {address!r}: {error}. Start one (ray start --head), set RAY_AUTH_MODE=token"
            " if it asks for one, or leave out --address"
        ) from error


def _stream(job: Job) -> Iterator[list[Done] | None]:
    """Run in a worker: yield None at the beginning, then the records."""
    yield None
    yield attempt(job)


def _execute(task: Any, jobs: int | None, source: Source) -> Generator[Event]:
    waiting = deque(source())
    streams: dict[Any, Job] = {}  # Ray has no public name for what `remote` returns
    while waiting or streams:
        # Without a limit, submit all at once, so that a cluster knows to grow.
        while waiting and (jobs is None or len(streams) < jobs):
            job = waiting.popleft()
            streams[task.remote(job)] = job
        ready: list[Any] = ray.wait(list(streams))[0]
        for stream in ready:
            events = _next(streams[stream], stream)
            if not isinstance(events[0], Started):
                del streams[stream]
            yield from events
        waiting.extend(source())


def _next(job: Job, stream: Iterator[Any]) -> list[Event]:
    try:
        done = ray.get(next(stream))
    except RayTaskError as error:  # a worker that cannot even begin, for instance without a package
        return ended(job, [Done(failure(run, str(error))) for run in job.runs])
    except RayError:
        return lost(job)
    return list(map(Started, job.runs)) if done is None else ended(job, done)
