"""A rule on a problem, by α: the sweep that grows until it holds the best, and what its costs say."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from adamas.rules import SGD, Rule
from adamas.rules._found import rule_classes

from .. import problems
from ..bootstrap import Estimate, estimate, ratio_of
from ..problems import Option
from ..records import Record, Records
from ..runs.training import Training

Costs = NDArray[np.float64]
NEAR = 1.1  # an α is near the best one if it costs up to so many times as much
REACH = 1  # decades to each side of the default α that are always run
MOST = 5  # decades to each side that a sweep may grow to
BYTES = 4  # of an element of a slot in float32

# A rule that stores nothing by default, as it is used.
_MORE = {"SGD, momentum .9": SGD(momentum=0.9)}


@dataclass(frozen=True)
class Member:
    """A rule of the family, all but α at its defaults."""

    name: str
    rule: Rule

    @property
    def bytes(self) -> int:
        """Bytes of float32 state a parameter; numbers kept for a tensor, row or group do not count."""
        return BYTES * len(self.rule.form().slots)

    @property
    def kept(self) -> str:
        """The numbers that it keeps for a tensor, row or group beside its slots, in words."""
        reduction = self.rule.form().reduction
        return f"{', '.join(reduction.kept)} a {reduction.scope}" if reduction and reduction.kept else ""

    def lr(self, place: int, step: float) -> float:
        """Return the α so many steps of so many decades from the default, to the three digits displayed."""
        return float(f"{self.rule.lr * 10 ** (place * step):.3g}")


def members() -> list[Member]:
    """Return every rule that there is, those with less state first; none decays its weights."""
    found = [Member(name, _undecayed(rule())) for name, rule in rule_classes().items()]
    found += [Member(name, rule) for name, rule in _MORE.items()]
    return sorted(found, key=lambda each: (each.bytes, each.name.lower()))


def _undecayed(rule: Rule) -> Rule:
    return replace(cast(Any, rule), weight_decay=0.0) if hasattr(rule, "weight_decay") else rule


@dataclass(frozen=True)
class Task:
    """A problem, and how it is trained, α constant.

    Args:
        name: a short name, for columns.
        title, note: the subject, and facts about the data that a reader must know.
        problem, options, batch, epochs, epochs_per_record: see `Training`.
    """

    name: str
    title: str
    note: str
    problem: str
    options: Mapping[str, Option]
    batch: int
    epochs: int
    epochs_per_record: int = 1

    @cached_property
    def _fields(self) -> tuple[tuple[tuple[str, Option], ...], str]:
        return problems.fields(self.problem, self.options)

    def run(self, rule: Rule, seed: int) -> Training:
        """Return the run of a rule."""
        fixed = (self.problem, *self._fields, rule, "constant", 0.0, self.batch, self.epochs)
        return Training(*fixed, seed=seed, epochs_per_record=self.epochs_per_record)


@dataclass(frozen=True)
class Sweep:
    """The runs of a member on a task, by α: places are steps of so many decades from the default.

    It begins with `REACH` decades to each side. While the cost at an end is near the best, one place more is
    run there, so that every rule has its best α inside, wherever its default lies. Where none has left the
    start, that is towards larger α alone.
    """

    task: Task
    member: Member
    seeds: Sequence[int]
    step: float

    def at(self, place: int) -> list[Training]:
        """Return the runs at a place, one a seed."""
        rule = replace(cast(Any, self.member.rule), lr=self.member.lr(place, self.step))
        return [self.task.run(rule, seed) for seed in self.seeds]

    def runs(self, records: Records) -> list[Training]:
        """Return the runs that are needed; more follow once these have ended."""
        return [run for runs in self._grown(records)[0].values() for run in runs]

    def result(self, records: Records) -> Result:
        """Return the costs at all places that are needed."""
        runs, costs = self._grown(records)
        places = sorted(runs)
        found = np.stack([costs[place] for place in places], axis=-1)
        starts = [_start(records.get(run)) for run in runs[0]]
        return Result(self.member, self.step, places, found, float(np.mean(starts)))

    def _grown(self, records: Records) -> tuple[dict[int, list[Training]], dict[int, Costs]]:
        """Return the runs and costs by place, as far as these records tell: no more before all are there."""
        first, most = round(REACH / self.step), round(MOST / self.step)
        runs: dict[int, list[Training]] = {}
        costs: dict[int, Costs] = {}
        more = list(range(-first, first + 1))
        while more:
            runs |= {place: self.at(place) for place in more}
            costs |= {place: np.array([_final(records.get(run)) for run in runs[place]]) for place in more}
            means = {place: float(each.mean()) for place, each in costs.items()}
            if any(map(math.isnan, means.values())):
                break
            start = float(np.mean([_start(records.get(run)) for run in runs[0]]))
            more = [place for place in _beyond(means, start) if abs(place) <= most]
        return runs, costs


def _beyond(means: Mapping[int, float], start: float) -> list[int]:
    """Return the places to run next, beyond the ends that are near the best; where none is finite, below."""
    low, high = min(means), max(means)
    finite = [cost for cost in means.values() if math.isfinite(cost)]
    if not finite:
        return [low - 1] if math.inf in means.values() else []
    near = NEAR * min(finite)
    sides = [(low, -1), (high, 1)] if near < start else [(high, 1)]
    return [end + side for end, side in sides if means[end] <= near]


def _start(record: Record | None) -> float:
    """Return the cost before the first step; NaN without a record."""
    return math.nan if record is None else float(record["epochs"][0]["train_nll"])


def _final(record: Record | None) -> float:
    """Return the cost of the last epoch: infinite where the run diverged, NaN without a record."""
    if record is None:
        return math.nan
    return math.inf if record["status"] == "diverged" else float(record["epochs"][-1]["cost"])


@dataclass(frozen=True, eq=False)
class Result:
    """The final costs of a member on a task.

    Args:
        member, step, places: the α, as in `Sweep`.
        costs: (seeds, places), infinite where a run diverged, NaN where it has no record.
        start: the cost before the first step, the mean over seeds.
    """

    member: Member
    step: float
    places: Sequence[int]
    costs: Costs
    start: float

    @property
    def missing(self) -> bool:
        """Whether a run has no record."""
        return bool(np.isnan(self.costs).any())

    @property
    def mean(self) -> Costs:
        """The mean over seeds, (places,); NaN where any did not end."""
        mean = self.costs.mean(axis=0)
        return np.where(np.isfinite(mean), mean, math.nan)

    @property
    def best(self) -> int | None:
        """The index of the place with the lowest mean cost; None where none has one."""
        return int(np.nanargmin(self.mean)) if np.isfinite(self.mean).any() else None

    @property
    def final(self) -> Costs | None:
        """The cost at the best α, (seeds,)."""
        return None if self.best is None else np.asarray(self.costs[:, self.best])

    @property
    def lrs(self) -> Costs:
        """The α, (places,)."""
        return np.array([self.member.lr(place, self.step) for place in self.places])

    @property
    def stays(self) -> bool:
        """Whether even the best is near where it began: in so few steps nothing was learned."""
        return self.best is not None and bool(NEAR * self.mean[self.best] >= self.start)

    @property
    def at_edge(self) -> bool:
        """Whether a better α may lie beyond those that were run."""
        return self.best in (0, len(self.places) - 1)

    def default(self) -> Estimate | None:
        """Estimate how many times as much it costs at its default α as at its best."""
        costs = self.costs[:, list(self.places).index(0)]
        if self.final is None or np.isnan(costs).any():
            return None
        return ratio_of(costs, self.final) if np.isfinite(costs).all() else Estimate(math.inf)

    def width(self) -> float | None:
        """Return how many decades of α around the best are near it, between the places that were run.

        The cost is taken as straight between places, on logarithmic axes; where one diverged, what is near
        ends at the place before. None where nothing was learned, which no α changes.
        """
        if self.best is None or self.stays:
            return None
        excess = np.log(self.mean / (NEAR * self.mean[self.best]))
        return self.step * (_crossing(excess[self.best :]) + _crossing(excess[self.best :: -1]))


def _crossing(excess: Costs) -> float:
    """Return how many places from the first one these values reach 0, at most at the last finite one."""
    for place in range(1, len(excess)):
        before, here = excess[place - 1], excess[place]
        if not here <= 0:
            return place - 1 + (float(-before / (here - before)) if np.isfinite(here) else 0.0)
    return len(excess) - 1.0


def ratio_over(ones: Sequence[Costs], others: Sequence[Costs]) -> Estimate:
    """Estimate the geometric mean over tasks of a ratio of mean costs, in pairs: (seeds,) for each task."""

    def ratio(drawn: Costs) -> Costs:
        means = drawn.mean(axis=1)
        logs = np.log(means[..., 0] / means[..., 1])
        return np.asarray(np.exp(logs.mean(axis=1, keepdims=True)))

    sample = np.stack([np.stack(ones, axis=-1), np.stack(others, axis=-1)], axis=-1)
    (found,) = estimate(ratio, sample, ratio=True)
    return found
