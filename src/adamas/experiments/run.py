"""One run: a problem, a rule and a seed in, costs by epoch out; the same bits every time."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
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
        seed: of the order of the examples, the noise, the starting point and the rounding of the optimizer's
            state; the same for every rule.
        parts: what is recorded, is so this many times an epoch.
        phase: keyword arguments of `adamas.torch.Optimizer` beyond the rule, as sorted pairs.
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
    parts: int = 1
    phase: tuple[tuple[str, Option], ...] = ()

    def configuration(self) -> dict[str, Any]:
        """The run as plain data: what a record keeps, and what its name is the hash of.

        A field at its default is left out, so that records are found again that are older than the field.
        """
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        defaults = {field.name: field.default for field in dataclasses.fields(self)}
        plain = {name: value for name, value in values.items() if value != defaults[name]}
        pairs: dict[str, Any] = {name: dict(plain[name]) for name in ("options", "phase") if name in plain}
        rule = {"name": type(self.rule).__name__, **dataclasses.asdict(cast(Any, self.rule))}
        return {**plain, **pairs, "rule": rule}


@dataclass(frozen=True)
class Outcome:
    """What a run measured.

    Args:
        status: "diverged" when a cost was no longer finite; the run then ends, the others are "done".
        epochs: a mapping an epoch or part of one, from epoch 0, the starting point: "epoch", where it ends;
            "cost", the mean cost over the examples of its mini-batches as they were optimized, noise included
            (None at epoch 0); and what the problem's `evaluate` measured after it. None where the value was
            not finite.
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
    seeds = [int(seed) for seed in np.random.SeedSequence(run.seed).generate_state(3)]
    order, noise = (torch.Generator().manual_seed(seed) for seed in seeds[:2])
    problem = problems.load(run.problem).build(seeds[2], **dict(run.options))
    phase: dict[str, Any] = dict(run.phase)
    optimizer = Optimizer(problem.parameters, run.rule, weight_decay=run.l2, seed=run.seed, **phase)
    schedule = LambdaLR(optimizer, SCHEDULES[run.schedule])
    epochs = [_measures(problem, epoch=0.0, cost=None)]
    diverged = False
    for batches in _parts(run, problem.examples, order):
        cost = _pass(problem, batches, optimizer, schedule, noise)
        epochs.append(_measures(problem, epoch=len(epochs) / run.parts, cost=cost))
        diverged = None in epochs[-1].values()
        if diverged:
            break
    return Outcome("diverged" if diverged else "done", tuple(epochs), time.perf_counter() - start)


def _parts(run: Run, examples: int, order: torch.Generator) -> Iterator[Sequence[torch.Tensor]]:
    """The mini-batches of each part of each epoch, every epoch in a new order."""
    for _ in range(run.epochs):
        batches = torch.randperm(examples, generator=order).split(run.batch)
        ends = [len(batches) * part // run.parts for part in range(run.parts + 1)]
        yield from (batches[start:end] for start, end in pairwise(ends))


def _pass(
    problem: Problem,
    batches: Sequence[torch.Tensor],
    optimizer: Optimizer,
    schedule: LambdaLR,
    noise: torch.Generator,
) -> float:
    """A step for each mini-batch; returns the mean cost of their examples, each as its mini-batch saw it."""
    total = torch.zeros((), dtype=torch.float64)
    for examples in batches:
        optimizer.zero_grad()
        cost = problem.cost(examples, noise)
        cost.backward()
        optimizer.step()
        schedule.step()
        total += cost.detach() * len(examples)
    return total.item() / sum(map(len, batches))


def _measures(problem: Problem, epoch: float, cost: float | None) -> dict[str, float | None]:
    measured = {"epoch": epoch, "cost": cost, **problem.evaluate()}
    return {
        name: None if value is None or not math.isfinite(value) else value for name, value in measured.items()
    }
