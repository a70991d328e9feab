"""Regret curves of online convex optimization, and the bound of Theorem 4.1 for them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from adamas.rules import Adam

from .. import online_problems
from ..bootstrap import Estimate, estimate, mean_of
from ..charts import BLACK, Line, Style, by_epoch
from ..findings import Verdict, verdict
from ..records import Record, Records
from ..runs.online import Online
from ._theorem import theorem_bound

Array = NDArray[np.float64]

BOUND = Style(BLACK, "dash", 1.0)
GUIDE = Style("#888888", "dot", 1.0)
FALLING = -0.45  # the steepness that counts as O(1/√T): -.5 with a tenth of room, as costs are random
FEWEST = 3  # records above 0 that a steepness is fitted to: with fewer it would be that of their noise


class Rate(NamedTuple):
    """The fall of R(T)/T at the end: its steepness, where there is one, a text, and a verdict on 1/√T."""

    steepness: Estimate | None
    text: str
    verdict: Verdict


@dataclass(frozen=True)
class MissingRuns:
    """The reason why there are no `RegretCurves`: some runs diverged, or have no record."""

    diverged: int
    runs: int

    @property
    def text(self) -> str:
        """The reason in words."""
        return f"{self.diverged} of {self.runs} runs diverged" if self.diverged else "runs are missing"

    @property
    def rate(self) -> Verdict:
        """The verdict on a claim that the average regret falls, which fails where costs are not finite."""
        return "fails" if self.diverged else "not measured"


@dataclass(frozen=True)
class RegretCurves:
    """The runs of one rule on one problem, one a seed, with their records."""

    runs: Sequence[Online]
    records: Sequence[Record]

    def measure(self, name: str) -> Array:
        """Return a measure by seed and recorded T."""
        return by_epoch([record["epochs"] for record in self.records], name)

    @property
    def rounds(self) -> Array:
        """The recorded T."""
        return np.asarray(self.measure("epoch")[0])

    def rate(self, decades: float) -> Rate:
        """Fit the log-log slope of the mean R(T)/T over the last so many decades of T.

        Only the records after the last one at or below 0 count. Where the very last is, no regret is left.
        """
        late = self.rounds >= self.rounds[-1] / 10**decades
        rounds, regret = self.rounds[late], self.measure("average_regret")[:, late]
        mean = regret.mean(axis=0)
        if mean[-1] <= 0:
            left = mean_of(regret[:, -1])
            text = f"no regret is left at T = {int(rounds[-1]):,}: R(T)/T = {left:.3g}"
            return Rate(None, text, verdict([left.within(-math.inf, 0)]))
        tail = slice(int(np.flatnonzero(mean <= 0).max(initial=-1)) + 1, None)
        rounds, regret = rounds[tail], regret[:, tail]
        if len(rounds) < FEWEST:
            return Rate(None, f"R(T) is above 0 from T = {int(rounds[0]):,} on only", "not measured")
        steepness = _steepness(rounds, regret)
        text = f"R(T)/T ∝ T^{steepness:.2f} from T = {int(rounds[0]):,} on (our threshold: at most {FALLING})"
        return Rate(steepness, text, verdict([steepness.within(-math.inf, FALLING)]))

    def bound(self) -> Array:
        """Return the bound of Theorem 4.1 on R(T), by seed and recorded T, for runs of Adam."""
        return np.array([_bounds(*each) for each in zip(self.runs, self.records, strict=True)])


def _steepness(rounds: Array, regret: Array) -> Estimate:
    """Estimate the log-log slope of the mean regret, (seeds, T)."""
    x = np.log(rounds) - np.log(rounds).mean()

    def slopes(drawn: Array) -> Array:
        mean = drawn.mean(axis=1)
        logs = np.log(np.where(mean > 0, mean, np.nan))
        return np.asarray(logs @ x / (x @ x))[:, None]

    (found,) = estimate(slopes, regret)
    return found


def _bounds(run: Online, record: Record) -> list[float]:
    assert isinstance(run.rule, Adam)
    epochs = record["epochs"][1:]
    if "gradient_bound" not in epochs[-1]:
        constants = _constants(run)
        epochs = [each | constants for each in epochs]
    return [
        sum(theorem_bound(run.rule, run.decay, each["epoch"], each, each["gradient_bound"]))
        for each in epochs
    ]


def _constants(run: Online) -> dict[str, float]:
    """Return G∞ and d, which records made before they were measured lack, from the problem itself."""
    problem = online_problems.load(run.problem).build(run.seed, run.rounds, **dict(run.options))
    return {"gradient_bound": problem.gradient_bound, "dimensions": float(np.size(problem.start))}


def regret_curves(runs: Sequence[Online], records: Records) -> RegretCurves | MissingRuns:
    """Return the curves of these runs where all have a record and none diverged."""
    found = [records[run] for run in runs if run in records]
    diverged = sum(record["status"] == "diverged" for record in found)
    missing = diverged or len(found) < len(runs)
    return MissingRuns(diverged, len(runs)) if missing else RegretCurves(runs, found)


def bound_line(result: RegretCurves) -> Line:
    """Return the line of the bound on R(T) / T."""
    return Line("bound of Theorem 4.1", result.rounds, result.bound() / result.rounds, BOUND)


def guide(result: RegretCurves) -> Line:
    """Return the line 1/√T through the last mean."""
    last = result.measure("average_regret")[:, -1].mean()
    return Line("1/√T", result.rounds, (last * np.sqrt(result.rounds[-1] / result.rounds))[None], GUIDE)
