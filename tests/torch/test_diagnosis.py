"""What is told to be wrong: nothing in a training that goes well, and the fault where there is one."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
from panel_support import FAULTS, PROBLEMS, VARIANTS, experiment, healthy, kinds, training

from adamas.torch import DiagnosisWarning
from adamas.torch.report.remedies import REMEDIES

every_fault = pytest.mark.parametrize("kind", FAULTS)


@pytest.mark.slow
@pytest.mark.parametrize("problem", PROBLEMS)
def test_a_healthy_experiment_is_not_warned_of(problem: str) -> None:
    for rule, schedule, l2 in healthy(problem):
        assert kinds(experiment(problem, rule, schedule, l2, steps=30, every=2)) == set(), rule


@pytest.mark.parametrize("seed", range(3))
def test_a_healthy_training_is_not_warned_of(seed: int) -> None:
    assert training(seed).report().warnings == ()


def test_every_kind_is_planted() -> None:
    assert FAULTS.keys() == REMEDIES.keys()


@pytest.mark.filterwarnings("ignore::adamas.torch.DiagnosisWarning")
@pytest.mark.parametrize(("kind", "train"), VARIANTS, ids=lambda x: getattr(x, "__name__", x))
def test_other_ways_to_a_fault(kind: str, train: Callable[[int], Any]) -> None:
    for seed in range(2):
        assert [found.kind for found in train(seed).report().warnings][:1] == [kind], seed


@every_fault
def test_a_planted_fault_is_what_is_told_first(kind: str) -> None:
    for seed in range(3):
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always", DiagnosisWarning)
            found = FAULTS[kind](seed).report().warnings
        assert [each.kind for each in found][:1] == [kind], seed
        assert found[0].remedy
        told = [str(each.message) for each in said if each.category is DiagnosisWarning]
        assert len(told) == len(set(told)) >= 1
