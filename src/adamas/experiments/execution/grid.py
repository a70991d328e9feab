"""A grid of runs, each stored the moment it ends; what ends may ask for more."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Collection, Generator, Hashable, Iterable, Iterator, Sequence

from ..records import Record, Records
from ..records.store import FAILED, Store
from ..runs import Run
from .engines import Ended, Event, Execute, Job, Paused, Workers

__all__ = ["Grid", "Wanted"]

MOST = 32  # runs in a job: what has not ended is lost when a process is killed, and memory is bounded

Wanted = Callable[[Records, Collection[Run]], Iterable[Run]]
"""Maps the records that exist, and the runs that failed, to all runs that are wanted so far."""


class Grid:
    """The runs that are wanted: which are stored, which are to be executed, and in what jobs.

    Args:
        wanted: see `Wanted`; it is asked again whenever a job has ended.
        store: the records; those of wanted runs are read.
        workers: the choice of the device, and of the number of jobs at once.

    Raises:
        ExperimentError: an unreadable record.
    """

    def __init__(self, wanted: Wanted, store: Store, workers: Workers) -> None:
        self._wanted, self._store, self._device = wanted, store, workers.device
        # How many CPUs a cluster has is not known here: then each run is a job.
        self._at_once = workers.jobs or (os.cpu_count() or 1 if workers.address is None else None)
        self._given: set[Run] = set()
        self.records: dict[Run, Record] = {}
        self.failed: set[Run] = set()
        self.missing = self._look()

    def _look(self) -> list[Run]:
        """Read the records of wanted runs; return the runs without one that were not given out yet."""
        while True:
            every = dict.fromkeys(self._wanted(self.records, self.failed))
            missing = [run for run in every if run not in self.records and run not in self._given]
            stored = self._store.find(missing)
            self.records |= stored
            if not stored:  # with more records, more may be wanted
                return missing

    def prepare(self) -> None:
        """Get and check the data of the missing runs, so that no two processes do it at once.

        Raises:
            ExperimentError: data cannot be had.
        """
        for run in self.missing:
            run.prepare()

    def _more(self) -> list[Job]:
        """Return the jobs that can start now."""
        self.missing = self._look()
        self.prepare()
        self._given |= set(self.missing)
        return list(self._jobs(self.missing))

    def _jobs(self, runs: Sequence[Run]) -> Iterator[Job]:
        """Group runs that can be executed together, in as many jobs as run at once, or more."""
        groups: dict[Hashable, list[tuple[Run, bytes | None, int]]] = {}
        for run in runs:
            state, begun = self._store.state(run)
            groups.setdefault((run.together(), run.epochs, begun), []).append((run, state, begun))
        for group in groups.values():
            size = min(-(-len(group) // self._at_once), MOST) if self._at_once else 1
            for start in range(0, len(group), size):
                members, states, ends = zip(*group[start : start + size], strict=True)
                yield Job(members, states, ends, self._device)

    def execute(self, workers: Execute) -> Generator[Event]:
        """Execute the runs and store their records; yield the events, an end once its record is stored.

        A run that raises is stored as failed, and the rest goes on. Closing the iterator, or an interrupt,
        ends the runs in progress; stored records stay, and so do the states that runs go on from.

        Raises:
            ExperimentError: a record cannot be written, or data cannot be had.
        """
        with contextlib.closing(workers(self._more)) as events:
            for event in events:
                if isinstance(event, Ended):
                    self._keep(event)
                if isinstance(event, Paused):
                    self._pause(event)
                yield event
        self._store.forget_states(self.records)

    def _keep(self, event: Ended) -> None:
        self._store.put(event.record)
        if event.record["status"] == FAILED:
            self.failed.add(event.run)
            return
        self.records[event.run] = event.record
        if event.state is not None:
            self._store.put_state(event.run, event.state)
        self._store.forget_states(event.run.beginnings())

    def _pause(self, event: Paused) -> None:
        """Keep the state of a run that goes on later, and let it be given out again."""
        beginning = next(each for each in event.run.beginnings() if each.epochs == event.reached)
        self._store.put_state(beginning, event.state)
        # Others are older, or were refused, and would be offered again for ever: the longest one is taken.
        self._store.forget_states(each for each in event.run.beginnings() if each != beginning)
        self._given.discard(event.run)
