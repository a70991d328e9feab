"""Many runs, each stored the moment it ends."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Sequence

from .engines import Ended, Event, Execute
from .runs import Run
from .store import Store


def prepare(runs: Sequence[Run]) -> None:
    """Gets and checks the data of all these runs, so that no two processes do it at once.

    Raises:
        ExperimentError: data cannot be had.
    """
    for run in runs:
        run.prepare()


def execute(runs: Sequence[Run], store: Store, workers: Execute) -> Generator[Event]:
    """Executes the runs and stores what comes of them; yields what happens, an end once it is stored.

    A run that raises is stored as failed, and the rest goes on. Closing the iterator, or an interrupt, ends
    what is being executed; what is stored stays.

    Raises:
        ExperimentError: a record cannot be written.
    """
    with contextlib.closing(workers(runs)) as events:
        for event in events:
            if isinstance(event, Ended):
                store.put(event.record)
            yield event
