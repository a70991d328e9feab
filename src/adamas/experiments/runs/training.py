"""Training: from a problem, a rule and a seed to costs by epoch."""

from __future__ import annotations

import dataclasses
import functools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal, cast

import torch
from torch.optim.lr_scheduler import LambdaLR

from adamas.rules import Rule
from adamas.schedules import inverse_sqrt
from adamas.torch import Optimizer

from .. import ExperimentError, problems
from ..problems import Option, Problem
from . import Outcome, recorded_fields, rule_defaults
from ._metrics import METRICS

SCHEDULES: dict[str, Callable[[int], float]] = {"constant": lambda taken: 1.0, "inverse_sqrt": inverse_sqrt}


@dataclass(frozen=True)
class Training:
    """Training by mini-batches with `adamas.torch.Optimizer`: everything it depends on.

    Each record has "cost", the mean cost over the examples of the mini-batches since the record before, as
    they were optimized, noise included (None at epoch 0); the measures of the problem's `evaluate` after
    them; and those of the observers.

    Args:
        problem: a module of `adamas.experiments.problems`.
        options: that problem's options, as sorted pairs.
        data: the problem's `identity` under these options.
        rule: the update rule; its `lr` is the α of the schedule.
        schedule: a key of `SCHEDULES`.
        l2: coefficient of (l2 / 2) |θ|², whose gradient is added to the mini-batch's.
        batch: examples in a mini-batch; the last of an epoch may be smaller.
        epochs: passes over the training set.
        seed: decides the order of the examples, the noise, the starting point and the rounding of the
            optimizer's state; the same for every rule.
        records_per_epoch: the number of records an epoch ("parts" in configurations).
        epochs_per_record: the number of epochs a record, where it is more than one.
        phase: keyword arguments of `adamas.torch.Optimizer` beyond the rule, as sorted pairs.
        observers: keys of `METRICS`, measures of the optimizer.
        nudge: 0, or the seed that moves each starting value up or down by one unit in its last place.
        whole: see `Run.whole`; it changes nothing that the run does.
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
    records_per_epoch: int = field(default=1, metadata={"recorded_as": "parts"})
    phase: tuple[tuple[str, Option], ...] = ()
    observers: tuple[str, ...] = ()
    epochs_per_record: int = 1
    nudge: int = 0
    whole: int = field(default=0, compare=False)

    def until(self, epochs: int) -> Training:
        """Return the run that ends earlier, whose records are the first of this one's."""
        if epochs == self.epochs:
            return self
        return dataclasses.replace(self, epochs=epochs, whole=max(self.whole, self.epochs))

    def beginnings(self) -> Iterator[Training]:
        return map(self.until, range(self.epochs - self.epochs_per_record, 0, -self.epochs_per_record))

    def together(self) -> Training:
        return self

    def configuration(self) -> dict[str, Any]:
        """Return the run as plain data, without fields at their default, as in records older than these."""
        chosen = [
            each.compare and getattr(self, each.name) != each.default for each in dataclasses.fields(self)
        ]
        plain = recorded_fields(self).items()
        return {name: value for (name, value), kept in zip(plain, chosen, strict=True) if kept}

    def defaults(self) -> dict[str, Any]:
        return {"rule": rule_defaults(self.rule)}

    def prepare(self) -> None:
        _prepare(self.problem, self.options)

    def describe(self) -> str:
        options = ", ".join(f"{name} {value}" for name, value in self.options)
        chosen = "".join(
            f" {each.name} {getattr(self.rule, each.name)}"
            for each in dataclasses.fields(cast(Any, self.rule))
            if each.name != "lr" and getattr(self.rule, each.name) != each.default
        )
        rule = f"{type(self.rule).__name__} lr {self.rule.lr:g}{chosen} {self.schedule}"
        phase = "".join(f", {name} {value}" for name, value in self.phase)
        phase += f", nudge {self.nudge}" if self.nudge else ""
        return f"{rule}{phase}, {self.problem} ({options}), seed {self.seed}"

    def execute(self) -> Outcome:
        """Train; one thread is enough.

        Raises:
            ExperimentError: no such problem, or its data cannot be had.
        """
        start = time.perf_counter()
        problem, order, noise = problems.start(self.problem, self.options, self.seed)
        if self.nudge:
            _move(problem.parameters, self.nudge)
        phase: dict[str, Any] = dict(self.phase)
        optimizer = Optimizer(problem.parameters, self.rule, weight_decay=self.l2, seed=self.seed, **phase)
        schedule = LambdaLR(optimizer, SCHEDULES[self.schedule])
        epochs, clock = [_measures(self, problem, optimizer, epoch=0.0, cost=None)], [0.0]
        diverged = False
        for batches in _stretches(self, problem.examples, order):
            began = time.perf_counter()
            cost = _pass(problem, batches, optimizer, schedule, noise)
            clock.append(clock[-1] + time.perf_counter() - began)
            epoch = len(epochs) * self.epochs_per_record / self.records_per_epoch
            epochs.append(_measures(self, problem, optimizer, epoch=epoch, cost=cost))
            diverged = None in epochs[-1].values()
            if diverged:
                break
        status: Literal["done", "diverged"] = "diverged" if diverged else "done"
        return Outcome(status, tuple(epochs), tuple(clock), time.perf_counter() - start)


@functools.cache  # the runs of a grid share their data
def _prepare(problem: str, options: tuple[tuple[str, Option], ...]) -> None:
    problems.load(problem).prepare(**dict(options))


@torch.no_grad()
def _move(parameters: Sequence[torch.Tensor], nudge: int) -> None:
    """Move every parameter to a neighbouring number."""
    chance = torch.Generator().manual_seed(nudge)
    for p in parameters:
        up = torch.rand(p.shape, generator=chance) < 0.5
        p.copy_(torch.nextafter(p, torch.where(up, torch.inf, -torch.inf)))


def _stretches(run: Training, examples: int, order: torch.Generator) -> Iterator[Sequence[torch.Tensor]]:
    """Yield the mini-batches between one record and the next, every epoch in a new order."""
    if run.epochs % run.epochs_per_record:
        raise ExperimentError(f"{run.epochs} epochs have no record each {run.epochs_per_record}")
    for _ in range(0, run.epochs, run.epochs_per_record):
        shuffled = (torch.randperm(examples, generator=order) for _ in range(run.epochs_per_record))
        batches = [batch for each in shuffled for batch in each.split(run.batch)]
        if run.records_per_epoch > len(batches):
            raise ExperimentError(f"{len(batches)} mini-batches cannot have {run.records_per_epoch} records")
        records = run.records_per_epoch
        ends = [len(batches) * part // records for part in range(records + 1)]
        yield from (batches[start:end] for start, end in pairwise(ends))


def _pass(
    problem: Problem,
    batches: Sequence[torch.Tensor],
    optimizer: Optimizer,
    schedule: LambdaLR,
    noise: torch.Generator,
) -> float:
    """Step on each mini-batch; return the mean cost of their examples, each as its mini-batch saw it."""
    total = torch.zeros((), dtype=torch.float64)
    for examples in batches:
        optimizer.zero_grad()
        cost = problem.cost(examples, noise)
        cost.backward()
        optimizer.step()
        schedule.step()
        total += cost.detach() * len(examples)
    return total.item() / sum(map(len, batches))


def _measures(
    run: Training, problem: Problem, optimizer: Optimizer, epoch: float, cost: float | None
) -> dict[str, float | None]:
    measured = {"epoch": epoch, "cost": cost, **problem.evaluate()}
    for name in run.observers:
        measured |= METRICS[name](optimizer, problem)
    return {
        name: None if value is None or not math.isfinite(value) else value for name, value in measured.items()
    }
