"""What every engine does, of the engines themselves; what their processes do is in test_grid and test_ray."""

import signal
import sys
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from adamas.experiments import ExperimentError
from adamas.experiments.execution.engines import (
    LOST,
    Done,
    Ended,
    Event,
    Job,
    Lost,
    Source,
    Started,
    Workers,
    attempt,
    ended,
    retry_lost,
)
from adamas.experiments.execution.engines import lost as died
from adamas.experiments.execution.engines.local import _inherited
from adamas.experiments.execution.grid import Grid
from adamas.experiments.records.store import Store, record
from adamas.experiments.runs import Alone, Outcome


@dataclass(frozen=True)
class Short(Alone):
    """A run of any kind."""

    name: str
    measured: Any = 1.0

    epochs = 1

    def configuration(self) -> dict[str, Any]:
        return {"kind": "short", "name": self.name}

    def defaults(self) -> dict[str, Any]:
        return {}

    def prepare(self) -> None: ...

    def execute(self) -> Outcome:
        if self.measured is None:
            raise RuntimeError(self.name)
        return Outcome("done", ({"epoch": 0.0, "x": self.measured},), (0.0,), 0.1)

    def describe(self) -> str:
        return self.name


def once(*runs: Short) -> Source:
    """The source of a job for each run."""
    jobs = [Job.fresh(run) for run in runs]

    def take() -> Sequence[Job]:
        taken, jobs[:] = list(jobs), []
        return taken

    return take


A, B, C = (Short(name) for name in "abc")


def test_an_attempt_gives_the_record() -> None:
    measured = {"status": "done", "epochs": ({"epoch": 0.0, "x": 1.0},), "clock": (0.0,), "seconds": 0.1}
    assert attempt(Job.fresh(A)) == [Done(record(A.configuration(), {"device": "cpu", **measured}))]


@pytest.mark.parametrize(
    ("measured", "text"),
    [(None, "RuntimeError: a\n"), (float("nan"), "JSON"), (object(), "is not JSON serializable")],
)
def test_an_attempt_that_raises_or_gives_what_is_no_json_has_failed(measured: object, text: str) -> None:
    ((failed, *_),) = attempt(Job.fresh(Short("a", measured)))
    assert failed is not None
    assert (failed["status"], failed["configuration"]) == ("failed", A.configuration())
    assert failed["traceback"].startswith("Traceback")
    assert text in failed["traceback"]


def losing(*lost: Short) -> Any:
    """An engine in whose hands these runs get lost."""

    def execute(source: Source) -> Iterator[Event]:
        while jobs := source():
            for job in jobs:
                yield from map(Started, job.runs)
                yield from died(job) if set(job.runs) & set(lost) else ended(job, attempt(job))

    return execute


def test_what_is_lost_is_tried_again_after_the_others_and_once() -> None:
    events = list(retry_lost(losing(A, B), losing(B), once(A, B, C)))
    ended = {event.run: event.record for event in events if isinstance(event, Ended)}
    assert [type(event) for event in events] == [Started, Lost] * 2 + [Started, Ended] * 3
    assert [event.run for event in events[::2]] == [A, B, C, A, B]
    assert (ended[A]["status"], ended[C]["status"]) == ("done", "done")
    assert (ended[B]["status"], ended[B]["traceback"]) == ("failed", LOST)


def test_closing_ends_the_engine() -> None:
    ended = []

    def execute(source: Source) -> Generator[Event]:
        try:
            yield from losing()(source)
        finally:
            ended.append(True)

    events = retry_lost(execute, execute, once(A, B))
    next(events)
    events.close()
    assert ended == [True]


def test_a_record_that_cannot_be_written_ends_the_grid(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.make()
    (tmp_path / "failures").write_text("in the way")
    with pytest.raises(ExperimentError, match=r"failures/.*\.json cannot be written: File exists"):
        list(Grid(lambda records, failed: [Short("b", None)], store, Workers()).execute(losing()))


def test_an_interrupt_while_a_process_is_started_is_not_lost() -> None:
    with pytest.raises(KeyboardInterrupt), _inherited():
        signal.raise_signal(signal.SIGINT)  # to this thread: others would take it late


def test_an_unknown_engine_is_named_with_those_there_are() -> None:
    with pytest.raises(ExperimentError, match="unknown engine 'warp'; known: local, ray"):
        Workers("warp")


def test_the_local_engine_has_no_address() -> None:
    with pytest.raises(ExperimentError, match="'local' has no address, got 'auto': add --engine ray"):
        Workers(address="auto").connect().__enter__()


def test_a_missing_ray_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delitem(sys.modules, "adamas.experiments.execution.engines.ray", raising=False)
    with pytest.raises(ExperimentError, match=r"needs the package 'ray': pip install -e '\.\[ray\]'"):
        Workers("ray").connect()
