"""What executes the runs of a grid. A module here is an engine, found by its name: it has `connect`.

Whatever the engine, and however many runs are left, a run is executed on one thread (`attempt`). With more,
sums may be taken in another order and differ in the last bit, and a grid that was stopped and resumed must
give the very numbers of one that was not. Engines store nothing: what a run gave comes back as an event, so
that no worker needs the results folder.
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

from .. import ExperimentError, store
from ..runs import Run
from ..store import Record

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
    "insist",
]


LOST = "its process was killed, twice: out of memory? Try fewer --jobs\n"


@dataclass(frozen=True)
class Started:
    """The run is now being executed."""

    run: Run


@dataclass(frozen=True)
class Lost:
    """The run was being executed, and its process is no more; it will be tried again."""

    run: Run


@dataclass(frozen=True)
class Ended:
    """The run came to an end: its record, of status "failed" where it raised or was lost again."""

    run: Run
    record: Record


Event = Started | Lost | Ended
Execute = Callable[[Sequence[Run]], Generator[Event]]
"""Executes runs, each of which is `Started` and in the end `Ended`, in no certain order.

Closing the generator ends what is being executed.
"""


class Engine(Protocol):
    """A module of this package."""

    def connect(self, jobs: int | None, address: str | None) -> AbstractContextManager[Execute]:
        """Has workers ready, and ends those it started on leaving.

        Args:
            jobs: how many runs at once; None: as many as there are CPUs.
            address: where workers are that run already; None: start them here.

        Raises:
            ExperimentError: it cannot be had.
        """
        ...


@dataclass(frozen=True)
class Workers:
    """The choice of an engine and what it is told; see `Engine.connect`.

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
        """Of the engine, which only now is imported.

        Raises:
            ExperimentError: it cannot be had.
        """
        engine = cast(Engine, modules.load(__name__, self.engine, ExperimentError))
        return engine.connect(self.jobs, self.address)


def attempt(run: Run) -> Record:
    """Executes the run, in a worker; returns its record, of status "failed" where it raised."""
    torch.set_num_threads(1)
    try:
        record = store.record(run.configuration(), dataclasses.asdict(run.execute()))
        store.encode(record)  # what is no JSON is this run's mistake, and not that of who stores it
    except Exception:
        return failure(run, traceback.format_exc())
    return record


def insist(first: Execute, again: Execute, runs: Sequence[Run]) -> Generator[Event]:
    """Executes the runs by `first`, then by `again` those that it lost; what is lost again has failed."""
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
    """The record of a run that raised, with the traceback as text, or of another end without an outcome."""
    return store.record(run.configuration(), {"status": store.FAILED, "traceback": text})
