"""Runs that are trained together have the bits of runs trained alone, and so have runs that go on."""

import dataclasses
import functools
import hashlib
import io
from collections.abc import Sequence
from typing import Any

import pytest
import torch

from adamas._tools import modules
from adamas.experiments import figures, problems
from adamas.experiments.runs import Outcome, _states
from adamas.experiments.runs import execute_together as execute
from adamas.experiments.runs.training import Training
from adamas.rules import SGD, Adam, Prodigy

NAMES = modules.names(problems.__name__)
STACKED = [name for name in NAMES if problems.is_stacked(name) or problems.is_in_turn(name)]


@functools.cache
def demos(name: str) -> list[Training]:
    """A run of a demo for each of the options it has on this problem but the examples' number, shortened."""
    every = [run for each in modules.names(figures.__name__) for run in figures.load(each).runs("demo")]
    of_it = [run for run in every if isinstance(run, Training) and run.problem == name]
    kinds = {tuple(pair for pair in run.options if pair[0] != "count"): run for run in of_it}
    records: dict[str, Any] = {"epochs": 2, "epochs_per_record": 1, "records_per_epoch": 1, "whole": 0}
    plain: dict[str, Any] = {"schedule": "constant", "l2": 0.0, "timed": False, "phase": (), "observers": ()}
    # Where members take turns no product is shared, and shapes do not matter: the last, which is small.
    turns = problems.is_in_turn(name)
    chosen = list(kinds.values())[-1:] if turns else kinds.values()
    batch = 90 if turns else 300
    return [dataclasses.replace(run, batch=batch, seed=0, **records, **plain) for run in chosen]


EACH = [(name, k) for name in STACKED for k in range(len(demos(name)))]
each_problem = pytest.mark.parametrize(("name", "k"), EACH)


def members(name: str, k: int = 0, **changed: Any) -> list[Training]:
    """Runs that differ in all that runs of a stack may differ in; the third diverges."""
    run = dataclasses.replace(demos(name)[k], **changed)
    averaged = (("average", 0.9),)
    return [
        dataclasses.replace(run, rule=Adam(lr=1e-2), schedule="inverse_sqrt"),
        dataclasses.replace(run, rule=SGD(lr=1e-3, momentum=0.9, nesterov=True), l2=1e-3, nudge=1),
        dataclasses.replace(run, rule=SGD(lr=1e38)),
        dataclasses.replace(run, rule=Adam(lr=1e-2), phase=(("state_format", "float8"),)),
        dataclasses.replace(run, rule=Prodigy(d0=1e-3), observers=("memory",)),  # sums over all parameters
        dataclasses.replace(run, rule=Adam(lr=1e-2, beta2=0.9), phase=averaged, observers=("average",)),
    ]


def plain(outcome: Outcome) -> dict[str, Any]:
    """What does not depend on the clock."""
    return dataclasses.asdict(dataclasses.replace(outcome, clock=(), seconds=0.0))


def execute_together(
    runs: Sequence[Training], states: Sequence[bytes | None], device: str
) -> list[tuple[Outcome, bytes | None]]:
    return [(each.outcome, each.state) for each in execute(runs, states, device)]


def together(runs: Sequence[Training], states: Sequence[bytes | None] | None = None) -> list[dict[str, Any]]:
    return [plain(outcome) for outcome, _ in execute_together(runs, states or [None] * len(runs), "cpu")]


@each_problem
def test_a_run_has_the_same_bits_whoever_is_trained_beside_it(name: str, k: int) -> None:
    runs = members(name, k)
    assert len({run.together() for run in runs}) == 1
    alone = [plain(run.execute()) for run in runs]
    assert [each["status"] == "diverged" for each in alone] == [False, False, True, False, False, False]
    for order in (range(6), [5, 0], [4, 2, 0, 3, 1]):
        assert together([runs[k] for k in order]) == [alone[k] for k in order]
    # At both ends of a large stack: batched products may choose another way to compute, and what is last in
    # a tensor may be computed otherwise.
    others = [dataclasses.replace(runs[0], rule=Adam(lr=k / 1e3)) for k in range(1, 23)]
    first, *_, last = together([runs[0], *others, runs[1]])
    assert [first, last] == alone[:2]


def test_members_that_take_turns_meet_the_same_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    (run, *_), others = members("images_mlp", 0), members("images_mlp", 0)[3:]
    assert dict(run.options)["dropout"] == 0.5
    stacked = together([run])
    monkeypatch.setattr(problems, "is_stacked", lambda name: False)
    monkeypatch.setattr(problems, "is_in_turn", lambda name: True)
    alone = [plain(each.execute()) for each in (run, *others)]
    assert together([run, *others]) == alone
    assert alone[0]["epochs"][-1]["cost"] == pytest.approx(stacked[0]["epochs"][-1]["cost"], rel=1e-3)


@each_problem
@pytest.mark.parametrize("each", [{}, {"records_per_epoch": 2}])
def test_a_run_that_goes_on_has_the_bits_of_one_that_never_stopped(
    name: str, k: int, each: dict[str, Any]
) -> None:
    runs = [run for place, run in enumerate(members(name, k, epochs=3, **each)) if place != 2]
    whole = together(runs)
    first = execute_together([run.until(1) for run in runs], [None] * len(runs), "cpu")
    assert [plain(outcome)["epochs"] for outcome, _ in first] == [
        run["epochs"][: 1 + each.get("records_per_epoch", 1)] for run in whole
    ]
    order = [3, 0, 1]  # of those that go on; and some begin anew
    later = execute_together(
        [*(runs[k].until(2) for k in order), runs[2].until(2)], [*(first[k][1] for k in order), None], "cpu"
    )
    assert together([runs[k] for k in (*order, 2)], [state for _, state in later]) == [
        whole[k] for k in (*order, 2)
    ]


@pytest.mark.parametrize("name", NAMES)
def test_a_run_by_itself_goes_on_too(name: str) -> None:
    (*_, run) = members(name, -1, batch=1_000, timed=True)
    ((beginning, state),) = execute_together([run.until(1)], [None], "cpu")
    assert state is not None
    ((end, _),) = execute_together([run], [state], "cpu")
    assert plain(end) == plain(run.execute())
    assert end.epochs[:2] == beginning.epochs
    assert end.clock[:2] == beginning.clock  # it was not trained again


def test_a_run_that_records_seldom_goes_on_too() -> None:
    (run, *_) = members("images_softmax", epochs=6, epochs_per_record=2)
    ((_, state),) = execute_together([run.until(2)], [None], "cpu")
    assert state is not None
    assert [each.epochs for each in run.beginnings()] == [4, 2]
    assert together([run], [state]) == together([run])


@pytest.mark.parametrize("name", sorted({*NAMES} - {*STACKED}))
def test_runs_that_cannot_be_stacked_are_executed_by_themselves(name: str) -> None:
    run = Training(name, (), "", Adam(), "constant", 0.0, 1, 1, 0)
    assert run.together() is run


def test_a_run_whose_clock_counts_is_trained_by_itself() -> None:
    run = dataclasses.replace(demos("images_mlp")[0], timed=True)
    assert run.together() is run
    assert run.configuration()["timed"]
    assert run.execute().epochs[-1]["cost"] == pytest.approx(
        dataclasses.replace(run, timed=False).execute().epochs[-1]["cost"], rel=1e-3
    )


def test_only_a_beginning_keeps_a_state() -> None:
    run = members("images_softmax")[0]
    assert execute_together([run], [None], "cpu")[0][1] is None
    assert execute_together([run.until(1)], [None], "cpu")[0][1] is not None
    diverging = members("images_softmax")[2]
    assert execute_together([diverging.until(1)], [None], "cpu")[0][1] is None


def test_a_state_of_another_run_or_device_or_of_other_versions_is_ignored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run, other, *_ = members("images_softmax")
    ((_, state), (_, foreign)) = execute_together([run.until(1), other.until(1)], [None, None], "cpu")
    assert _states.load(run, state, "cpu") is not None
    assert _states.load(run, foreign, "cpu") is None
    assert _states.load(run, state, "a GPU") is None
    assert _states.load(run.until(1), state, "cpu") is None
    assert together([run], [foreign]) == together([run])
    monkeypatch.setattr(_states, "installed", lambda: {"torch": "0"})
    assert _states.load(run, state, "cpu") is None


def test_a_state_with_a_wrong_bit_is_ignored() -> None:
    run, *_ = members("images_softmax")
    ((_, state),) = execute_together([run.until(1)], [None], "cpu")
    assert state is not None
    for place in range(0, len(state), 997):
        flipped = bytearray(state)
        flipped[place] ^= 1
        assert _states.load(run, bytes(flipped), "cpu") is None
        assert _states.load(run, state[:place], "cpu") is None


def test_nothing_in_a_state_is_executed() -> None:
    (run, *_) = members("images_softmax")
    content = io.BytesIO()
    torch.save({"origin": print}, content)
    whole = hashlib.sha256(content.getvalue()).digest() + content.getvalue()
    assert _states.load(run, whole, "cpu") is None


@pytest.mark.parametrize("name", STACKED)
def test_runs_whose_time_is_over_pause_after_an_epoch_and_go_on_to_the_same(name: str) -> None:
    runs = [run for run in members(name, -1, batch=10_000, epochs=3) if run.rule != SGD(lr=1e38)]
    states: list[bytes | None] = [None] * len(runs)
    for epoch in (1, 2):
        paused = execute(runs, states, "cpu", 0.0)
        assert [each.paused_after for each in paused] == [epoch] * len(runs)
        states = [each.state for each in paused]
    ended = execute(runs, states, "cpu", 0.0)
    assert [(each.paused_after, each.state) for each in ended] == [(None, None)] * len(runs)
    assert [plain(each.outcome) for each in ended] == together(runs)
