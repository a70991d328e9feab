"""What figures of online convex optimization have in common: records of one setting, and the bound beside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adamas.rules import Adam

from .. import streams
from ..bounds import theorem_bound
from ..charts import BLACK, Line, Style, by_epoch
from ..runs.online import Online
from ..store import Record
from . import Records

Array = NDArray[np.float64]

BOUND = Style(BLACK, "dash", 1.0)
GUIDE = Style("#888888", "dot", 1.0)
FALLING = -0.45  # the steepness that counts as O(1/√T): -.5 but for a tenth, as costs are random


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

    def steepness(self, decades: float) -> float:
        """The slope of the mean R(T)/T over T, both logarithmic, in the last so many decades of T."""
        late = self.rounds >= self.rounds[-1] / 10**decades
        mean = self.measure("average_regret").mean(axis=0)[late]
        if (mean <= 0).any():
            return -np.inf  # no regret left, in the mean
        return float(np.polyfit(np.log(self.rounds[late]), np.log(mean), 1)[0])

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


def played(runs: Sequence[Online], records: Records) -> Played | None:
    """Those runs, if all have a record, and none diverged."""
    found = [records[run] for run in runs if run in records]
    if len(found) < len(runs) or any(record["status"] != "done" for record in found):
        return None
    return Played(runs, found)


def bound_line(result: Played) -> Line:
    """The bound of R(T) / T."""
    return Line("bound of Theorem 4.1", result.rounds, result.bound() / result.rounds, BOUND)


def guide(result: Played) -> Line:
    """1/√T, through the last mean."""
    last = result.measure("average_regret")[:, -1].mean()
    return Line("1/√T", result.rounds, (last * np.sqrt(result.rounds[-1] / result.rounds))[None], GUIDE)
