"""The search by successive halving, and the grid that executes what it asks for."""

import contextlib
import dataclasses
import json
import math
from collections.abc import Generator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from adamas.experiments import reproduce
from adamas.experiments.execution import engines
from adamas.experiments.execution.engines import Event, Execute, Source, Started, Workers, attempt, ended
from adamas.experiments.execution.grid import Grid
from adamas.experiments.figures import Figure
from adamas.experiments.figures._search import Search, halvings
from adamas.experiments.records.store import Store, encode
from adamas.experiments.runs import Run
from adamas.experiments.runs.training import Training
from adamas.rules import SGD

WHOLE, COUNT = 16, 12


def runs(count: int = COUNT, whole: int = WHOLE, seeds: Sequence[int] = (0, 1)) -> list[list[Training]]:
    """Candidates whose number is their stepsize."""
    digits = ("images_softmax", (("data", "digits"),), "digits")
    return [
        [Training(*digits, SGD(lr=float(k)), "constant", 0.0, 128, whole, seed) for seed in seeds]
        for k in range(count)
    ]


def record(run: Training, final: float | None = None) -> dict[str, Any]:
    """Costs that fall to the stepsize: the smaller it is, the better."""
    ends = range(run.epochs + 1)
    costs = [(run.rule.lr if final is None else final) + 10 * 0.5**end + run.seed / 100 for end in ends]
    return {"status": "done", "epochs": [{"epoch": float(end), "cost": costs[end]} for end in ends]}


def finished(search: Search, **changed: Any) -> dict[Training, dict[str, Any]]:
    """The records of all runs that are ever asked for."""
    found: dict[Training, dict[str, Any]] = {}
    while missing := [run for run in search.runs(found) if run not in found]:
        found |= {run: record(run) | changed for run in missing}
    return found


@pytest.mark.parametrize("epochs", [1, 2, 3, 8, 16, 45, 160, 200])
def test_rungs_are_halves_of_halves(epochs: int) -> None:
    rungs = halvings(epochs)
    assert list(rungs) == sorted(set(rungs))
    assert all(0 < rung < epochs for rung in rungs)
    for shorter, longer in pairwise([*rungs, epochs]):
        assert longer / 2 <= shorter + 1 / 2 or shorter == 1
    assert Search(runs(42, epochs), rungs).cost() <= (0.25 if epochs >= 16 else 1)


def test_every_candidate_starts_and_the_better_half_goes_on() -> None:
    search = Search(runs(), halvings(WHOLE))
    assert {run.epochs for run in search.runs({})} == {1}
    found = finished(search)
    going = {
        epochs: sorted({int(run.rule.lr) for run in found if run.epochs == epochs})
        for epochs in (1, 2, 4, 8, 16)
    }
    assert going == {1: [*range(12)], 2: [*range(6)], 4: [0, 1, 2], 8: [0, 1], 16: [0]}
    assert search.best(found) == 0
    before = dict(zip(going, (0, 1, 2, 4, 8), strict=True))
    trained = sum(len(several) * (epochs - before[epochs]) for epochs, several in going.items())
    assert search.cost() == trained / (COUNT * WHOLE)


def test_what_is_asked_for_first_is_the_beginning_of_the_whole() -> None:
    first = Search(runs(), halvings(WHOLE)).runs({})[0]
    assert (first.epochs, first.whole) == (1, WHOLE)
    assert first == dataclasses.replace(runs()[0][0], epochs=1)  # an older record of the same run is found
    assert first.configuration() == dataclasses.replace(runs()[0][0], epochs=1).configuration()
    assert [run.epochs for run in runs(whole=4)[0][0].beginnings()] == [3, 2, 1]


def test_without_rungs_all_run_to_the_end() -> None:
    search = Search(runs())
    assert search.runs({}) == [run for of_one in runs() for run in of_one]
    assert search.best(finished(search)) == 0
    assert search.cost() == 1


def test_a_cost_that_falls_late_counts_at_the_level_that_it_has_reached() -> None:
    """The mean so far would keep the one that begins well."""
    slow, fast = runs(2, 8, (0,))
    search = Search([slow, fast], (2,))
    costs = {slow[0]: (9.0, 1.0), fast[0]: (3.0, 2.5)}
    found = {
        run.until(2): {
            "status": "done",
            "epochs": [{"epoch": e, "cost": c} for e, c in enumerate((None, *of))],
        }
        for run, of in costs.items()
    }
    assert [run.rule.lr for run in search.runs(found) if run.epochs == 8] == [0.0]


def test_a_candidate_that_diverged_never_goes_on() -> None:
    search = Search(runs(), halvings(WHOLE))
    found: dict[Training, Mapping[str, Any]] = {}
    while missing := [run for run in search.runs(found) if run not in found]:
        found |= {
            run: record(run) | ({"status": "diverged"} if run.rule.lr < 2 and run.seed else {})
            for run in missing
        }
    assert {run.rule.lr for run in found if run.epochs > 1} == {2, 3, 4, 5, 6, 7}
    assert search.best(found) == 2


def test_a_run_that_failed_does_not_hold_the_others_up_and_one_that_is_to_come_does() -> None:
    search = Search(runs(), halvings(WHOLE))
    lost, *first = search.runs({})
    found = {run: record(run) for run in first}
    assert search.runs(found) == [lost, *first]
    more = search.runs(found, {lost})
    assert {int(run.rule.lr) for run in more if run.epochs == 2} == {1, 2, 3, 4, 5, 6}


class Counting:
    """An engine in this process that counts epochs; it can stop after some jobs, as if it were killed."""

    def __init__(self, jobs: float = math.inf) -> None:
        self.jobs, self.epochs, self.jobs_done = jobs, 0, 0

    def __call__(self, source: Source) -> Generator[Event]:
        while jobs := source():
            for job in jobs:
                if self.jobs == 0:
                    raise KeyboardInterrupt
                self.jobs -= 1
                self.jobs_done += 1
                yield from map(Started, job.runs)
                events = ended(job, attempt(job))
                self.epochs += sum(run.epochs - begun for run, begun in zip(job.runs, job.begun, strict=True))
                yield from events


def grid(search: Search, store: Store) -> Grid:
    def wanted(records: Any, failed: Any) -> Sequence[Run]:
        return search.runs(records, failed)

    store.make()
    return Grid(wanted, store, Workers(jobs=1))


SMALL = Search(runs(6, 4, (0, 1)), halvings(4))


def executed(folder: Path, engine: Execute, search: Search = SMALL) -> dict[Run, Any]:
    """What the grid finds, without what depends on the clock."""
    made = grid(search, Store(folder))
    with contextlib.suppress(KeyboardInterrupt):
        list(made.execute(engine))
    records: dict[Run, Any] = {run: json.loads(encode(each)) for run, each in made.records.items()}
    return {run: {**each, "clock": None, "seconds": None} for run, each in records.items()}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[Run, Any]:
    engine = Counting()
    found = executed(tmp_path_factory.mktemp("undisturbed"), engine)
    assert engine.epochs == 2 * (6 * 1 + 3 * 1 + 2 * 2)  # each epoch once: runs go on from where they stood
    return found


def test_a_run_that_went_on_has_the_bits_of_one_that_was_never_stopped(
    undisturbed: dict[Run, Any], tmp_path: Path
) -> None:
    last = [run for run in undisturbed if run.epochs == 4]
    assert len(last) == 4
    whole = executed(tmp_path, Counting(), Search([[run] for run in last]))  # type: ignore[list-item]
    assert whole == {run: undisturbed[run] for run in last}


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_search_that_is_stopped_goes_on_where_it_was(
    undisturbed: dict[Run, Any], tmp_path: Path, jobs: int
) -> None:
    first, second = Counting(jobs), Counting()
    executed(tmp_path, first)
    assert first.epochs > 0
    assert executed(tmp_path, second) == undisturbed
    assert first.epochs + second.epochs == 2 * (6 * 1 + 3 * 1 + 2 * 2)
    assert not (tmp_path / "states").exists()


def test_a_search_whose_jobs_pause_finds_the_same(
    undisturbed: dict[Run, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "AT_A_TIME", 0.0)
    engine = Counting()
    assert executed(tmp_path, engine) == undisturbed
    assert engine.jobs_done > len({run.epochs for run in undisturbed})
    assert not (tmp_path / "states").exists()


def test_without_its_states_a_search_finds_the_same(undisturbed: dict[Run, Any], tmp_path: Path) -> None:
    executed(tmp_path, Counting(1))
    for state in (tmp_path / "states").iterdir():
        state.unlink()
    assert executed(tmp_path, Counting()) == undisturbed


@pytest.mark.parametrize("stale", [1, 3])
def test_states_that_are_refused_do_not_come_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stale: int
) -> None:
    """They would be offered again at every pause, and the run would begin at its beginning for ever."""
    (run,) = runs(1, 4, (0,))[0]
    store = Store(tmp_path)
    store.make()
    store.put_state(run.until(stale), b"of another version")
    monkeypatch.setattr(engines, "AT_A_TIME", 0.0)
    engine, kept = Counting(), []

    def watched(source: Source) -> Generator[Event]:
        for event in engine(source):
            yield event
            kept.append(len(list((tmp_path / "states").glob("*"))))

    found = executed(tmp_path, watched, Search([[run]]))
    assert engine.jobs_done == 4
    assert max(kept) == 1
    assert found.keys() == {run}
    assert not (tmp_path / "states").exists()


def test_a_run_that_failed_hides_no_record_of_the_others() -> None:
    search = Search(runs(), halvings(WHOLE))
    lost = search.runs({})[0]
    found = {}
    while missing := [run for run in search.runs(found, {lost}) if run not in found and run != lost]:
        found |= {run: record(run) for run in missing}

    class Panel:
        def runs(self, records: Any, failed: Any = ()) -> list[Training]:
            return search.runs(records, failed)

    figure = Figure("title", {"demo": [Panel()]})  # type: ignore[list-item]
    report = reproduce._report("name", figure, "demo", found, {lost})
    assert max(run.epochs for run in report.records) == WHOLE
    assert len(report.records) == len(found)
