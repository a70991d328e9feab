"""Engines execute the runs of a grid. Each public module here is one, found by its name: it has `connect`.

With every engine a run is executed on one thread (`attempt`): with more, sums could be taken in another order
and differ in the last bit, and a grid that was stopped and resumed must give the same numbers as one that was
not. Engines store nothing: records come back in events, so that no worker needs the results folder.
"""

from __future__ import annotations

import contextlib
import dataclasses
import traceback
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol, cast

import torch

from adamas._tools import modules

from ... import ExperimentError
from ...records import store
from ...records.store import Record
from ...runs import Run

__all__ = [
    "Ended",
    "Engine",
    "Event",
    "Execute",
    "Lost",
    "Started",
    "Workers",
    "attempt",
    "failure",
    "retry_lost",
]


LOST = "its process was killed, twice: out of memory? Try fewer --jobs\n"


@dataclass(frozen=True)
class Started:
    """The run has begun."""

    run: Run


@dataclass(frozen=True)
class Lost:
    """The process of the run died; the run will be tried again."""

    run: Run


@dataclass(frozen=True)
class Ended:
    """The run ended. The status of its record is "failed" where it raised or was lost twice."""

    run: Run
    record: Record


Event = Started | Lost | Ended
Execute = Callable[[Sequence[Run]], Generator[Event]]
"""Executes runs, each of which is `Started` and in the end `Ended`, in no particular order.

Closing the generator ends the runs in progress.
"""


class Engine(Protocol):
    """The interface of a module of this package."""

    def connect(self, jobs: int | None, address: str | None) -> AbstractContextManager[Execute]:
        """Provide workers; on leaving, end those that it started.

        Args:
            jobs: the number of runs at once; None: one for each CPU.
            address: the address of workers that run already; None: start them here.

        Raises:
            ExperimentError: there are no workers to be had.
        """
        ...


@dataclass(frozen=True)
class Workers:
    """The choice of an engine and its arguments; see `Engine.connect`.

    Raises:
        ExperimentError: no such engine.
    """

    engine: str = "local"
    jobs: int | None = None
    address: str | None = None

    def __post_init__(self) -> None:
        known = modules.names(__name__)
        if self.engine not in known:
            raise ExperimentError(f"unknown engine {self.engine!r}; known: {', '.join(known)}")

    def connect(self) -> AbstractContextManager[Execute]:
        """Connect to the engine, which is imported only now.

        Raises:
            ExperimentError: there are no workers to be had.
        """
        engine = cast(Engine, modules.load(__name__, self.engine, ExperimentError))
        return engine.connect(self.jobs, self.address)


def attempt(run: Run) -> Record:
    """Execute the run, in a worker; return its record, of status "failed" where it raised."""
    torch.set_num_threads(1)
    try:
        record = store.record(run.configuration(), dataclasses.asdict(run.execute()))
        store.encode(record)  # a value that is no JSON fails this run, not the whole grid
    except Exception:
        return failure(run, traceback.format_exc())
    return record


def retry_lost(first: Execute, again: Execute, runs: Sequence[Run]) -> Generator[Event]:
    """Execute the runs with `first`, then those it lost with `again`; a run that is lost twice has failed."""
    lost = []
    with contextlib.closing(first(runs)) as events:
        for event in events:
            if isinstance(event, Lost):
                lost.append(event.run)
            yield event
    with contextlib.closing(again(lost)) as events:
        for event in events:
            yield Ended(event.run, failure(event.run, LOST)) if isinstance(event, Lost) else event


def failure(run: Run, text: str) -> Record:
    """Return the record of a run without an outcome, with the traceback or another reason as text."""
    return store.record(run.configuration(), {"status": store.FAILED, "traceback": text})
