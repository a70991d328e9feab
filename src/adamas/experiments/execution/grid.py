"""A grid of runs, each stored the moment it ends."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Sequence

from ..records.store import Store
from ..runs import Run
from .engines import Ended, Event, Execute


def prepare(runs: Sequence[Run]) -> None:
    """Get and check the data of all these runs, so that no two processes do it at once.

    Raises:
        ExperimentError: data cannot be had.
    """
    for run in runs:
        run.prepare()


def execute(runs: Sequence[Run], store: Store, workers: Execute) -> Generator[Event]:
    """Execute the runs and store their records; yield the events, an end once its record is stored.

    A run that raises is stored as failed, and the rest goes on. Closing the iterator, or an interrupt, ends
    the runs in progress; stored records stay.

    Raises:
        ExperimentError: a record cannot be written.
    """
    with contextlib.closing(workers(runs)) as events:
        for event in events:
            if isinstance(event, Ended):
                store.put(event.record)
            yield event
