"""What figures of online convex optimization have in common: records of one setting, and the bound beside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from adamas.rules import Adam

from .. import streams
from ..bounds import theorem_bound
from ..charts import BLACK, Line, Style, by_epoch
from ..runs.online import Online
from ..store import Record
from . import Records, Verdict, verdict

Array = NDArray[np.float64]

BOUND = Style(BLACK, "dash", 1.0)
GUIDE = Style("#888888", "dot", 1.0)
FALLING = -0.45  # the steepness that counts as O(1/√T): -.5 but for a tenth, as costs are random
FEWEST = 3  # records above 0 that a steepness is fitted to, else it is that of their noise


class Rate(NamedTuple):
    """How R(T)/T falls at the end: its steepness, where there is one, in words, and whether as 1/√T."""

    steepness: float | None
    text: str
    verdict: Verdict


@dataclass(frozen=True)
class Absent:
    """Why there is no `Played`: so many of the runs diverged, or else some have no record."""

    diverged: int
    runs: int

    @property
    def text(self) -> str:
        """In words."""
        return f"{self.diverged} of {self.runs} runs diverged" if self.diverged else "runs are missing"

    @property
    def rate(self) -> Verdict:
        """Of a claim that the average regret falls: it does not where a cost is no longer finite."""
        return "fails" if self.diverged else "not measured"


@dataclass(frozen=True)
class Played:
    """The runs of one rule on one stream, one a seed, with their records."""

    runs: Sequence[Online]
    records: Sequence[Record]

    def measure(self, name: str) -> Array:
        """A measure by seed and recorded T."""
        return by_epoch([record["epochs"] for record in self.records], name)

    @property
    def rounds(self) -> Array:
        """The recorded T."""
        return np.asarray(self.measure("epoch")[0])

    def rate(self, decades: float) -> Rate:
        """Of the mean R(T)/T in the last so many decades of T: its slope, both logarithmic, while above 0.

        That is after the last record that is not. If the very last is not, no regret is left to fall.
        """
        late = self.rounds >= self.rounds[-1] / 10**decades
        rounds, mean = self.rounds[late], self.measure("average_regret").mean(axis=0)[late]
        if mean[-1] <= 0:
            return Rate(
                None, f"no regret is left at T = {int(rounds[-1]):,}: R(T)/T = {mean[-1]:.3g}", "holds"
            )
        tail = slice(int(np.flatnonzero(mean <= 0).max(initial=-1)) + 1, None)
        rounds, mean = rounds[tail], mean[tail]
        if len(mean) < FEWEST:
            return Rate(None, f"R(T) is above 0 from T = {int(rounds[0]):,} on only", "not measured")
        steepness = float(np.polyfit(np.log(rounds), np.log(mean), 1)[0])
        text = f"R(T)/T ∝ T^{steepness:.2f} from T = {int(rounds[0]):,} on (at most {FALLING} expected)"
        return Rate(steepness, text, verdict([steepness <= FALLING]))

    def bound(self) -> Array:
        """The bound of Theorem 4.1 on R(T), by seed and recorded T; of runs of Adam."""
        return np.array([_bounds(*each) for each in zip(self.runs, self.records, strict=True)])


def _bounds(run: Online, record: Record) -> list[float]:
    assert isinstance(run.rule, Adam)
    stream = streams.load(run.stream).build(run.seed, run.rounds, **dict(run.options))
    more = {"dimensions": np.size(stream.start)}
    return [
        sum(theorem_bound(run.rule, run.decay, each["epoch"], each | more, stream.gradient_bound))
        for each in record["epochs"][1:]
    ]


def played(runs: Sequence[Online], records: Records) -> Played | Absent:
    """Those runs, if all have a record, and none diverged."""
    found = [records[run] for run in runs if run in records]
    diverged = sum(record["status"] == "diverged" for record in found)
    return Absent(diverged, len(runs)) if diverged or len(found) < len(runs) else Played(runs, found)


def bound_line(result: Played) -> Line:
    """The bound of R(T) / T."""
    return Line("bound of Theorem 4.1", result.rounds, result.bound() / result.rounds, BOUND)


def guide(result: Played) -> Line:
    """1/√T, through the last mean."""
    last = result.measure("average_regret")[:, -1].mean()
    return Line("1/√T", result.rounds, (last * np.sqrt(result.rounds[-1] / result.rounds))[None], GUIDE)
