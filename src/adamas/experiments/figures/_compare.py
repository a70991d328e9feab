"""Curves of optimizers, and the paper's comparisons of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adamas.rules import Rule

from ..charts import by_epoch
from ..findings import Finding, verdict

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

    def by_epoch(self, measure: str) -> NDArray[np.float64]:
        """Return a measure from the first record after the start on, (seeds, records)."""
        return by_epoch(self.epochs, measure)

    def last(self, measure: str) -> float:
        """Return a measure after the last epoch, the mean over seeds."""
        return float(self.by_epoch(measure)[:, -1].mean())

    def final_cost(self) -> float:
        """Return the training cost over the last epoch, however many records it has, the mean over seeds."""
        epochs = self.by_epoch("epoch")[0]
        return float(self.by_epoch("cost")[:, epochs > epochs[-1] - 1].mean())

    def lacking(self) -> str:
        """Return why this may not be the best of its grid; empty where it is known to be."""
        return f"{self.missing} of {self.rules} candidates have no record" if self.missing else ""

    def until(self, epoch: float) -> Curve:
        """Return the curve up to this epoch."""
        return dataclasses.replace(self, epochs=[[r for r in s if r["epoch"] <= epoch] for s in self.epochs])


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
    costs = {name: curve.by_epoch("cost").mean(axis=0) for name, curve in curves.items()}
    floor = min((float(cost.min()) for cost in costs.values()), default=0.0)
    return {name: float(cost.mean()) - floor for name, cost in costs.items()}


def judge(claim: Claim, curves: Mapping[str, Curve]) -> Finding:
    """Judge a claim by the mean excess costs of the curves."""
    return compare(claim, curves, mean_excess(curves), "mean excess cost")


def compare(claim: Claim, curves: Mapping[str, Curve], values: Mapping[str, float], measure: str) -> Finding:
    """Judge a claim by the values of a measure of these curves."""
    lines, held = [], []
    for comparison in claim.comparisons:
        one, other = comparison.one, comparison.other
        if one not in values or other not in values:
            missing = f"no finished run of {one if one not in values else other}"
            return Finding(claim.claim, claim.source, missing, "not measured")
        ratio = values[one] / values[other]
        held.append(comparison.low <= ratio <= comparison.high)
        lines.append(f"{one} has {ratio:.2f} × the {measure} of {other} ({_wanted(comparison)})")
    compared = dict.fromkeys(name for each in claim.comparisons for name in (each.one, each.other))
    lacking = [f"{name}: {curves[name].lacking()}" for name in compared if curves[name].missing]
    found = Finding(claim.claim, claim.source, "; ".join(lines), verdict(held))
    return found.unless(", ".join(lacking))


def _wanted(comparison: Comparison) -> str:
    if comparison.low == 0:
        return f"our threshold: at most {comparison.high:.3g}"
    if comparison.high == float("inf"):
        return f"our threshold: at least {comparison.low:.3g}"
    return f"our threshold: {comparison.low:.2f} to {comparison.high:.3g}"
