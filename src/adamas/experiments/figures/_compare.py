"""Curves of optimizers, and the paper's comparisons of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adamas.rules import Rule

from ..bootstrap import Estimate, caveat, estimate_runs
from ..charts import by_epoch
from ..findings import Finding, verdict

Values = NDArray[np.float64]
# The costs of curves, (resamples, seeds, epochs, records of an epoch, curves), to (resamples, curves).
Measure = Callable[[Values], Values]

# Our choice, for headlines alone: no verdict follows from it.
ALIKE = 1.1  # optimizers are alike in a headline up to this factor of the mean excess cost


@dataclass(frozen=True)
class Comparison:
    """The statement that `one` has `low` to `high` times the mean excess cost of `other`.

    The mean excess cost of an optimizer is the mean over the epochs of its training cost less the lowest that
    any optimizer of the panel reached: the area between its curve and that floor, divided by the epochs.
    """

    one: str
    other: str
    low: float
    high: float


@dataclass(frozen=True)
class Claim:
    """A sentence of the paper, its source, and the comparisons of curves that say the same."""

    claim: str
    source: str
    comparisons: Sequence[Comparison]


@dataclass(frozen=True)
class Curve:
    """An optimizer at its best stepsize.

    Args:
        rule: the rule.
        epochs: the records of each seed's run, by epoch.
        edge: whether a better stepsize may lie beyond the grid.
        diverged: the number of rules of the grid that diverged.
        missing: the number that lack a record: the best may be one of them.
        rules: the number of rules in the grid.
        chosen: what was chosen beside the stepsize, in words.
    """

    rule: Rule
    epochs: Sequence[Sequence[Mapping[str, float]]]
    edge: bool
    diverged: int
    missing: int = 0
    rules: int = 1
    chosen: tuple[str, ...] = ()

    def by_epoch(self, measure: str) -> Values:
        """Return a measure from the first record after the start on, (seeds, records)."""
        return by_epoch(self.epochs, measure)

    def last(self, measure: str) -> float:
        """Return a measure after the last epoch, the mean over seeds."""
        return float(self.by_epoch(measure)[:, -1].mean())

    def costs(self) -> Values:
        """Return the training cost by seed, epoch and record of that epoch."""
        costs, epochs = self.by_epoch("cost"), np.ceil(self.by_epoch("epoch")[0])
        return costs.reshape(len(costs), len(np.unique(epochs)), -1)

    def final_cost(self) -> float:
        """Return the training cost over the last epoch, however many records it has, the mean over seeds."""
        return float(self.costs()[:, -1].mean())

    def lacking(self) -> str:
        """Return why this may not be the best of its grid; empty where it is known to be."""
        return f"{self.missing} of {self.rules} candidates have no record" if self.missing else ""

    def until(self, epoch: float) -> Curve:
        """Return the curve up to this epoch."""
        return dataclasses.replace(self, epochs=[[r for r in s if r["epoch"] <= epoch] for s in self.epochs])

    def last_epoch(self) -> Curve:
        """Return the curve over its last epoch."""
        start = self.epochs[0][-1]["epoch"] - 1
        late = [[s[0], *(r for r in s[1:] if r["epoch"] > start)] for s in self.epochs]
        return dataclasses.replace(self, epochs=late)


def ranking(curves: Mapping[str, Curve]) -> str:
    """Say which optimizers have the lowest and the highest mean cost; "" without two."""
    excess = mean_excess(curves)
    if len(excess) < 2:
        return ""
    lowest, slowest = min(excess.values()), max(excess, key=lambda name: excess[name])
    leaders = [name for name, value in excess.items() if value <= ALIKE * lowest]
    if slowest in leaders:
        return "All have about the same mean cost"
    verb = "has" if len(leaders) == 1 else "have"
    return f"{' and '.join(leaders)} {verb} the lowest mean cost, {slowest} the highest"


def mean_excess(curves: Mapping[str, Curve]) -> dict[str, float]:
    """Return the mean excess cost of each optimizer (see `Comparison`), the mean over seeds."""
    if not curves:
        return {}
    sample = _stacked(curves)
    return dict(zip(curves, excess_cost(sample[None])[0].tolist(), strict=True))


def excess_cost(costs: Values) -> Values:
    """Return the mean excess costs, (resamples, curves); see `Measure`."""
    resamples, *_, curves = costs.shape
    means = costs.mean(axis=1).reshape(resamples, -1, curves)
    floor = means.min(axis=(1, 2))[:, None]
    excess: Values = means.mean(axis=1) - floor
    return excess


def mean_cost(costs: Values) -> Values:
    """Return the mean costs, (resamples, curves); see `Measure`."""
    mean: Values = costs.mean(axis=(1, 2, 3))
    return mean


def judge(claim: Claim, curves: Mapping[str, Curve]) -> Finding:
    """Judge a claim by the mean excess costs of the curves."""
    return compare(claim, curves, excess_cost, "mean excess cost")


def compare(claim: Claim, curves: Mapping[str, Curve], measure: Measure, name: str) -> Finding:
    """Judge a claim by the ratios of a measure of these curves, which has this name.

    A ratio has an interval over seeds or mini-batches, which all curves have in common. The hyperparameters
    stay: whether other seeds would have chosen others is not in it. A comparison whose threshold lies in the
    interval is undecided.
    """
    compared = dict.fromkeys(each for pair in claim.comparisons for each in (pair.one, pair.other))
    for each in compared:
        if each not in curves:
            return Finding(claim.claim, claim.source, f"no finished run of {each}", "not measured")
    ratios = _ratios(claim.comparisons, curves, measure)
    lines, held = [], []
    for comparison, ratio in zip(claim.comparisons, ratios, strict=True):
        held.append(ratio.within(comparison.low, comparison.high))
        of = f"{ratio:.2f} × the {name} of {comparison.other}"
        lines.append(f"{comparison.one} has {of} ({_wanted(comparison)})")
    lacking = [f"{each}: {curves[each].lacking()}" for each in compared if curves[each].missing]
    found = Finding(claim.claim, claim.source, "; ".join(lines) + caveat(ratios), verdict(held))
    return found.unless(", ".join(lacking))


def _ratios(
    comparisons: Sequence[Comparison], curves: Mapping[str, Curve], measure: Measure
) -> list[Estimate]:
    places = {name: place for place, name in enumerate(curves)}
    ones, others = ([places[name] for name in side] for side in zip(*map(_names, comparisons), strict=True))

    def ratios(costs: Values) -> Values:
        values = measure(costs)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(values[:, ones] / values[:, others])

    return estimate_runs(ratios, _stacked(curves), ratio=True)


def _names(comparison: Comparison) -> tuple[str, str]:
    return comparison.one, comparison.other


def _stacked(curves: Mapping[str, Curve]) -> Values:
    """Return the costs of curves with the same seeds and records, (seeds, epochs, records of one, curves)."""
    return np.stack([curve.costs() for curve in curves.values()], axis=-1)


def _wanted(comparison: Comparison) -> str:
    if comparison.low == 0:
        return f"our threshold: at most {comparison.high:.3g}"
    if comparison.high == float("inf"):
        return f"our threshold: at least {comparison.low:.3g}"
    return f"our threshold: {comparison.low:.2f} to {comparison.high:.3g}"
