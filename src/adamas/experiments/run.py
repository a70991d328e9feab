"""One run: a problem, a rule and a seed in, costs by epoch out; the same bits every time."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np
import torch
from torch.optim.lr_scheduler import LambdaLR

from adamas.rules import Rule
from adamas.schedules import inverse_sqrt
from adamas.torch import Optimizer

from . import problems
from .problems import Option, Problem

SCHEDULES: dict[str, Callable[[int], float]] = {"constant": lambda taken: 1.0, "inverse_sqrt": inverse_sqrt}


@dataclass(frozen=True)
class Run:
    """Everything a run depends on, as a value.

    Args:
        problem: a module of `adamas.experiments.problems`.
        options: that problem's options, as sorted pairs.
        data: the problem's `identity` under these options.
        rule: the update rule; its `lr` is the α of the schedule.
        schedule: a key of `SCHEDULES`.
        l2: coefficient of (l2 / 2) |θ|², whose gradient is added to the mini-batch's.
        batch: examples in a mini-batch; the last of an epoch may be smaller.
        epochs: passes over the training set.
        seed: of the order of the examples and of the noise; the same for every rule.
    """

    problem: str
    options: tuple[tuple[str, Option], ...]
    data: str
    rule: Rule
    schedule: str
    l2: float
    batch: int
    epochs: int
    seed: int

    def configuration(self) -> dict[str, Any]:
        """The run as plain data: what a record keeps, and what its name is the hash of."""
        plain = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        rule = {"name": type(self.rule).__name__, **dataclasses.asdict(cast(Any, self.rule))}
        return {**plain, "options": dict(self.options), "rule": rule}


@dataclass(frozen=True)
class Outcome:
    """What a run measured.

    Args:
        status: "diverged" when a cost was no longer finite; the run then ends, the others are "done".
        epochs: a mapping an epoch, from epoch 0, the starting point: "epoch"; "cost", the mean cost over the
            examples of the epoch's mini-batches as they were optimized, noise included (None at epoch 0); and
            what the problem's `evaluate` measured after the epoch. None where the value was not finite.
        seconds: wall time.
    """

    status: Literal["done", "diverged"]
    epochs: tuple[Mapping[str, float | None], ...]
    seconds: float


def train(run: Run) -> Outcome:
    """Trains. The result depends on `run` and on the installed versions only; one thread is enough.

    Raises:
        ExperimentError: no such problem, or its data cannot be had.
    """
    start = time.perf_counter()
    problem = problems.load(run.problem).build(**dict(run.options))
    optimizer = Optimizer(problem.parameters, run.rule, weight_decay=run.l2)
    schedule = LambdaLR(optimizer, SCHEDULES[run.schedule])
    order, noise = (
        torch.Generator().manual_seed(int(seed))
        for seed in np.random.SeedSequence(run.seed).generate_state(2)
    )
    epochs = [_measures(problem, epoch=0, cost=None)]
    diverged = False
    while len(epochs) <= run.epochs and not diverged:
        cost = _pass(problem, run.batch, optimizer, schedule, order, noise)
        epochs.append(_measures(problem, epoch=len(epochs), cost=cost))
        diverged = None in epochs[-1].values()
    return Outcome("diverged" if diverged else "done", tuple(epochs), time.perf_counter() - start)


def _pass(
    problem: Problem,
    batch: int,
    optimizer: Optimizer,
    schedule: LambdaLR,
    order: torch.Generator,
    noise: torch.Generator,
) -> float:
    """One epoch in a new order; returns the mean cost of its examples, each as its mini-batch saw it."""
    total = torch.zeros((), dtype=torch.float64)
    for examples in torch.randperm(problem.examples, generator=order).split(batch):
        optimizer.zero_grad()
        cost = problem.cost(examples, noise)
        cost.backward()
        optimizer.step()
        schedule.step()
        total += cost.detach() * len(examples)
    return total.item() / problem.examples


def _measures(problem: Problem, epoch: int, cost: float | None) -> dict[str, float | None]:
    measured = {"epoch": epoch, "cost": cost, **problem.evaluate()}
    return {
        name: None if value is None or not math.isfinite(value) else value for name, value in measured.items()
    }
