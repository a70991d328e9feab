"""The loop of training: runs on one problem that differ in their optimizers only, as one stack."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch

from adamas.torch import Optimizer

from .. import ExperimentError, problems
from . import Executed, Outcome, _states
from ._metrics import METRICS
from ._stack import Members, Single, Stack, Turns, name_of, on

if TYPE_CHECKING:
    from .training import Training

Measures = dict[str, float | None]


@dataclass(eq=False)
class Trainee:
    """A run in progress.

    Args:
        run: the run.
        optimizer: its optimizer, on its member of the stack.
        lrs: the stepsizes of the optimizer's groups before the schedule.
        taken: the steps taken.
        epochs, clock, seconds: see `Outcome`.
    """

    run: Training
    optimizer: Optimizer
    lrs: Sequence[float]
    taken: int = 0
    epochs: list[Measures] = field(default_factory=list)
    clock: list[float] = field(default_factory=lambda: [0.0])
    seconds: float = 0.0

    @property
    def diverged(self) -> bool:
        """Whether a measure is not finite; a cost is None at the start, where there was no step."""
        return len(self.epochs) > 1 and None in self.epochs[-1].values()

    def step(self) -> None:
        """Take a step with the gradients that are there, at the stepsize of the schedule."""
        factor = self.run.factor(self.taken)
        for group, lr in zip(self.optimizer.param_groups, self.lrs, strict=True):
            group["lr"] = lr * factor
        self.optimizer.step()
        self.taken += 1

    def measure(
        self,
        problem: problems.Problem,
        evaluated: Mapping[str, float],
        epoch: float,
        cost: float | None,
    ) -> None:
        """Add a record; the problem's parameters are this run's."""
        measured = {"epoch": epoch, "cost": cost, **evaluated}
        for name in self.run.observers:
            measured |= METRICS[name](self.optimizer, problem)
        finite = {
            name: None if value is None or not math.isfinite(value) else value
            for name, value in measured.items()
        }
        self.epochs.append(finite)

    def outcome(self, device: str) -> Outcome:
        """Return what was measured."""
        status = "diverged" if self.diverged else "done"
        return Outcome(status, tuple(self.epochs), tuple(self.clock), self.seconds, device)  # type: ignore[arg-type]


def train(
    runs: Sequence[Training],
    states: Sequence[bytes | None],
    device: str = "cpu",
    seconds: float = math.inf,
) -> list[Executed]:
    """Train runs of which `Training.together` is the same, each from its state, if that is one of its own.

    Each run has the bits of one that is trained by itself and never stopped. Its times are its share of those
    of the stack. On another device than the CPU, data, parameters and state are there, while the order of the
    examples and the noise are drawn on the CPU, so that they are the same numbers.

    They pause at the end of an epoch once so many seconds are over.

    Raises:
        ExperimentError: no such problem, or its data cannot be had.
    """
    if problems.on_host(runs[0].problem) or runs[0].timed:  # whose clock is held against one on the CPU
        device = "cpu"
    found = [_states.load(run, state, name_of(device)) for run, state in zip(runs, states, strict=True)]
    begun = [state["done"] if state else 0 for state in found]
    if len(set(begun)) > 1:  # each part has its own place in the order of examples
        apart = {done: [k for k in range(len(runs)) if begun[k] == done] for done in begun}
        pairs = {
            k: pair
            for part in apart.values()
            for k, pair in zip(
                part,
                train([runs[k] for k in part], [states[k] for k in part], device, seconds),
                strict=True,
            )
        }
        return [pairs[k] for k in range(len(runs))]
    return _Training(runs, found, device, seconds).execute()


class _Training:
    """The training of runs that have got equally far."""

    def __init__(
        self,
        runs: Sequence[Training],
        states: Sequence[dict[str, Any] | None],
        device: str,
        seconds: float,
    ) -> None:
        self.start, self.seconds, first = time.perf_counter(), seconds, runs[0]
        self.reached = states[0]["done"] if states[0] else 0
        self.starts: dict[int, Mapping[str, float]] = {}  # measures of the start, by its nudge
        self.device, self.run = name_of(device), first
        problem, self.order, self.noise = problems.start(first.problem, first.options, first.seed)
        self.problem = on(problem, device)
        self.members: Members = Single(self.problem)
        if not first.timed and problems.is_stacked(first.problem):
            self.members = Stack(self.problem, len(runs))  # type: ignore[arg-type]
        elif not first.timed and problems.is_in_turn(first.problem):
            self.members = Turns(self.problem, len(runs))
        self.trainees = [
            self._begin(k, run, state) for k, (run, state) in enumerate(zip(runs, states, strict=True))
        ]

    def _begin(self, k: int, run: Training, state: dict[str, Any] | None) -> Trainee:
        parameters, phase = self.members.parameters(k), dict[str, Any](run.phase)
        if run.nudge:
            _move(parameters, run.nudge)
        optimizer = Optimizer(parameters, run.rule, weight_decay=run.l2, seed=run.seed, **phase)
        trainee = Trainee(run, optimizer, [group["lr"] for group in optimizer.param_groups])
        self.members.point(k)
        if state is None:
            if run.nudge not in self.starts:
                self.starts[run.nudge] = self.problem.evaluate()
            trainee.measure(self.problem, self.starts[run.nudge], 0.0, None)
        else:
            _states.restore(trainee, parameters, state)
            self.order.set_state(state["order"])
            self.noise.set_state(state["noise"])
        return trainee

    def execute(self) -> list[Executed]:
        """Train to the end, or until the time is over; a run that diverges leaves the stack."""
        every, alive = self.trainees, self.trainees
        for batches in self._stretches():
            began = time.perf_counter()
            costs = self._pass(alive, batches)
            share = (time.perf_counter() - began) / len(alive)
            evaluated = self.members.evaluations()
            for k, (trainee, cost) in enumerate(zip(alive, costs, strict=True)):
                self.members.point(k)
                trainee.clock.append(trainee.clock[-1] + share)
                epoch = len(trainee.epochs) * self.run.epochs_per_record / self.run.records_per_epoch
                trainee.measure(self.problem, evaluated[k], epoch, cost)
            kept = [k for k, trainee in enumerate(alive) if not trainee.diverged]
            if len(kept) < len(alive):
                alive = [alive[k] for k in kept]
                if not alive:
                    break
                self.members.keep(kept)
        seconds = (time.perf_counter() - self.start) / len(every)
        for trainee in every:
            trainee.seconds += seconds
        return [self._executed(trainee) for trainee in every]

    def _executed(self, trainee: Trainee) -> Executed:
        run, outcome = trainee.run, trainee.outcome(self.device)
        if trainee.diverged or self.reached >= max(run.epochs, run.whole):
            return Executed(outcome)
        state = _states.save(trainee, self.reached, self.order, self.noise, self.device)
        return Executed(outcome, state, self.reached if self.reached < run.epochs else None)

    def _stretches(self) -> Iterator[Sequence[torch.Tensor]]:
        """Yield the mini-batches between one record and the next, every epoch in a new order."""
        run, examples = self.run, self.problem.examples
        if run.epochs % run.epochs_per_record:
            raise ExperimentError(f"{run.epochs} epochs have no record each {run.epochs_per_record}")
        begun = self.reached
        for epoch in range(begun, run.epochs, run.epochs_per_record):
            if epoch > begun and time.perf_counter() - self.start > self.seconds:
                return
            shuffled = (torch.randperm(examples, generator=self.order) for _ in range(run.epochs_per_record))
            batches = [batch for each in shuffled for batch in each.split(run.batch)]
            if run.records_per_epoch > len(batches):
                raise ExperimentError(
                    f"{len(batches)} mini-batches cannot have {run.records_per_epoch} records"
                )
            records = run.records_per_epoch
            ends = [len(batches) * part // records for part in range(records + 1)]
            yield from (batches[start:end] for start, end in pairwise(ends))
            self.reached = epoch + run.epochs_per_record

    def _pass(self, alive: Sequence[Trainee], batches: Sequence[torch.Tensor]) -> list[float]:
        """Step on each mini-batch; return the mean cost of their examples, each as its mini-batch saw it."""
        total: torch.Tensor | float = 0.0
        for examples in batches:
            costs = self.members.gradients(examples, self.noise)
            for trainee in alive:
                trainee.step()
            total = total + (costs * len(examples)).double()
        count = sum(map(len, batches))
        return [cost / count for cost in total.tolist()]  # type: ignore[union-attr]


@torch.no_grad()
def _move(parameters: Sequence[torch.Tensor], nudge: int) -> None:
    """Move every parameter to a neighbouring number."""
    chance = torch.Generator().manual_seed(nudge)
    for p in parameters:
        up = (torch.rand(p.shape, generator=chance) < 0.5).to(p.device)
        p.copy_(torch.nextafter(p, torch.where(up, torch.inf, -torch.inf)))
