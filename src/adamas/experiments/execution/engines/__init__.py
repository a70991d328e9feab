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
from typing import NamedTuple, Protocol, cast

import torch

from adamas._tools import modules

from ... import ExperimentError
from ...records import store
from ...records.store import Record
from ...runs import Executed, Run, execute_together

__all__ = [
    "Done",
    "Ended",
    "Engine",
    "Event",
    "Execute",
    "Job",
    "Lost",
    "Paused",
    "Source",
    "Started",
    "Workers",
    "attempt",
    "ended",
    "failure",
    "lost",
    "retry_lost",
]


AT_A_TIME = 600.0  # seconds, after which a job pauses where it can: no more is lost when it is killed
LOST = "its process was killed, twice: out of memory?\n"


@dataclass(frozen=True)
class Job:
    """Runs to execute together, in one process.

    Args:
        runs: the runs.
        states: for each, the state of a shorter run that it goes on from, if there is one.
        begun: for each, the epochs of that shorter run, else 0.
        device: the device that trains.
    """

    runs: tuple[Run, ...]
    states: tuple[bytes | None, ...]
    begun: tuple[int, ...]
    device: str = "cpu"

    @classmethod
    def fresh(cls, *runs: Run) -> Job:
        """Return a job of runs from their beginning."""
        return cls(runs, (None,) * len(runs), (0,) * len(runs))

    def apart(self) -> list[Job]:
        """Return a job for each run."""
        each = zip(self.runs, self.states, self.begun, strict=True)
        return [Job((run,), (state,), (begun,), self.device) for run, state, begun in each]


class Done(NamedTuple):
    """The record of a run, or None where it paused after so many epochs; and the state to go on from."""

    record: Record | None
    state: bytes | None = None
    epochs: int = 0


@dataclass(frozen=True)
class Started:
    """The run has begun."""

    run: Run


@dataclass(frozen=True)
class Lost:
    """The process of the run died; the run, alone in `job`, will be tried again."""

    run: Run
    job: Job


@dataclass(frozen=True)
class Ended:
    """The run ended. The status of its record is "failed" where it raised or was lost twice.

    Args:
        run, record: the run and its record.
        epochs: the epochs that were executed; a run that went on from a state has more.
        state: what a longer run can go on from.
    """

    run: Run
    record: Record
    epochs: int
    state: bytes | None = None


@dataclass(frozen=True)
class Paused:
    """The run has taken its time; it goes on later, from a state.

    Args:
        run: the run.
        epochs: the epochs that were executed.
        reached: the epochs of the beginning of the run that the state is of.
        state: the state.
    """

    run: Run
    epochs: int
    reached: int
    state: bytes


Event = Started | Lost | Ended | Paused
Source = Callable[[], Sequence[Job]]
"""Returns the jobs that can start now and that it has not returned before."""
Execute = Callable[[Source], Generator[Event]]
"""Executes jobs, each run of which is `Started`, and in the end `Ended` or `Paused`, in no particular order.

It asks the source for more whenever a job has ended and its events were taken. Closing the generator ends the
runs in progress.
"""


class Engine(Protocol):
    """The interface of a module of this package."""

    def connect(self, jobs: int | None, address: str | None) -> AbstractContextManager[Execute]:
        """Provide workers; on leaving, end those that it started.

        Args:
            jobs: the number of jobs at once; None: one for each CPU.
            address: the address of workers that run already; None: start them here.

        Raises:
            ExperimentError: there are no workers to be had.
        """
        ...


@dataclass(frozen=True)
class Workers:
    """The choice of an engine and its arguments; see `Engine.connect`.

    Args:
        engine, jobs, address: see `Engine.connect`.
        device: the device that trains, as torch names it; records say which it was.

    Raises:
        ExperimentError: no such engine, or no such device.
    """

    engine: str = "local"
    jobs: int | None = None
    address: str | None = None
    device: str = "cpu"

    def __post_init__(self) -> None:
        known = modules.names(__name__)
        if self.engine not in known:
            raise ExperimentError(f"unknown engine {self.engine!r}; known: {', '.join(known)}")
        try:
            kind = torch.device(self.device).type
        except RuntimeError as error:
            raise ExperimentError(f"unknown device {self.device!r}: expected cpu, cuda or cuda:1") from error
        if kind not in ("cpu", "cuda"):
            raise ExperimentError(f"device {self.device!r} cannot train here: expected cpu, cuda or cuda:1")
        if kind == "cpu":
            object.__setattr__(self, "device", "cpu")  # of which there is one, by one name in records
        elif self.address is None and (torch.device(self.device).index or 0) >= torch.cuda.device_count():
            there = f"torch {torch.__version__} finds {torch.cuda.device_count()} CUDA devices here"
            raise ExperimentError(f"{there}, but --device is {self.device}")

    def connect(self) -> AbstractContextManager[Execute]:
        """Connect to the engine, which is imported only now.

        Raises:
            ExperimentError: there are no workers to be had.
        """
        engine = cast(Engine, modules.load(__name__, self.engine, ExperimentError))
        return engine.connect(self.jobs, self.address)


def attempt(job: Job) -> list[Done]:
    """Execute the runs, in a worker; return the record of each, of status "failed" where it raised.

    Where one of several raises, each is tried alone, for its share of the time.
    """
    torch.set_num_threads(1)
    try:
        return _attempt(job, AT_A_TIME)
    except Exception:
        if len(job.runs) == 1:
            return [Done(failure(job.runs[0], traceback.format_exc()))]
    return [_attempt_alone(each, AT_A_TIME / len(job.runs)) for each in job.apart()]


def _attempt_alone(job: Job, seconds: float) -> Done:
    try:
        return _attempt(job, seconds)[0]
    except Exception:
        return Done(failure(job.runs[0], traceback.format_exc()))


def _attempt(job: Job, seconds: float) -> list[Done]:
    executed = execute_together(job.runs, job.states, job.device, seconds)
    return [_done(run, each) for run, each in zip(job.runs, executed, strict=True)]


def _done(run: Run, executed: Executed) -> Done:
    if executed.paused_after is not None:
        return Done(None, executed.state, executed.paused_after)
    record = store.record(run.configuration(), dataclasses.asdict(executed.outcome))
    store.encode(record)  # a value that is no JSON fails this run, not the whole grid
    return Done(record, executed.state)


def ended(job: Job, done: Sequence[Done]) -> list[Event]:
    """Return the events of a job's end."""
    return [_end(run, begun, one) for run, begun, one in zip(job.runs, job.begun, done, strict=True)]


def _end(run: Run, begun: int, done: Done) -> Ended | Paused:
    if done.record is not None:
        return Ended(run, done.record, run.epochs - begun, done.state)
    return Paused(run, done.epochs - begun, done.epochs, done.state or b"")


def lost(job: Job) -> list[Event]:
    """Return the events of the death of a job's process."""
    return [Lost(alone.runs[0], alone) for alone in job.apart()]


def retry_lost(first: Execute, again: Execute, source: Source) -> Generator[Event]:
    """Execute jobs with `first`, then those it lost with `again`; a run that is lost twice has failed.

    And again, because more may follow from the runs that were lost.
    """
    while True:
        apart: list[Job] = []
        with contextlib.closing(first(source)) as events:
            for event in events:
                if isinstance(event, Lost):
                    apart.append(event.job)
                yield event
        if not apart:
            return
        with contextlib.closing(again(_once(apart))) as events:
            for event in events:
                yield from _given_up(event.job) if isinstance(event, Lost) else [event]


def _given_up(job: Job) -> list[Event]:
    return ended(job, [Done(failure(run, LOST)) for run in job.runs])


def _once(jobs: Sequence[Job]) -> Source:
    """Return a source of these jobs."""
    waiting = list(jobs)

    def take() -> Sequence[Job]:
        taken, waiting[:] = list(waiting), []
        return taken

    return take


def failure(run: Run, text: str) -> Record:
    """Return the record of a run without an outcome, with the traceback or another reason as text."""
    return store.record(run.configuration(), {"status": store.FAILED, "traceback": text})
