"""Training: from a problem, a rule and a seed to costs by epoch."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from adamas.rules import Rule
from adamas.schedules import inverse_sqrt

from .. import problems
from ..problems import Option
from . import Executed, Outcome, recorded_fields, rule_defaults
from ._train import train

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
        timed: whether it is trained by itself, so that its clock is not a share of others' time.
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
    timed: bool = False
    whole: int = field(default=0, compare=False)

    def until(self, epochs: int) -> Training:
        """Return the run that ends earlier, whose records are the first of this one's."""
        if epochs == self.epochs:
            return self
        return dataclasses.replace(self, epochs=epochs, whole=max(self.whole, self.epochs))

    def beginnings(self) -> Iterator[Training]:
        return map(self.until, range(self.epochs - self.epochs_per_record, 0, -self.epochs_per_record))

    def together(self) -> Hashable:
        """Return what is shared by runs that can be trained as one stack: all but their rules and optimizers.

        A run of a problem that cannot be stacked is trained by itself, unless it takes turns, and so is one
        whose clock counts.
        """
        if self.timed or not (problems.is_stacked(self.problem) or problems.is_in_turn(self.problem)):
            return self
        records = self.records_per_epoch, self.epochs_per_record
        return self.problem, self.options, self.data, self.batch, self.seed, *records

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

    def factor(self, taken: int) -> float:
        """Return what α is multiplied with after so many steps."""
        return SCHEDULES[self.schedule](taken)

    def execute(self) -> Outcome:
        """Train, on one thread: with more, sums have other bits in a stack than alone.

        Raises:
            ExperimentError: no such problem, or its data cannot be had.
        """
        return train([self], [None])[0].outcome

    def execute_together(
        self,
        others: Sequence[Training],
        states: Sequence[bytes | None],
        device: str,
        seconds: float,
    ) -> list[Executed]:
        """Train this run and others in one stack; see `runs.execute_together`."""
        return train([self, *others], states, device, seconds)


@functools.cache  # the runs of a grid share their data
def _prepare(problem: str, options: tuple[tuple[str, Option], ...]) -> None:
    problems.load(problem).prepare(**dict(options))
