"""The search of hyperparameters by successive halving (Jamieson & Talwalkar 2016, arXiv 1502.07943).

Every candidate starts. After each rung, a number of epochs, the better half goes on from where it stands, so
that a search of many candidates costs a part of training all of them to the end.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..charts import by_epoch
from ..records import Record, Records
from ..runs import Run
from ..runs.training import Training

__all__ = ["Rung", "Search", "halvings"]

ROUNDS = 5  # the first rung is a sixteenth of the whole; then a search costs about a fifth of the full grid


def halvings(epochs: int) -> tuple[int, ...]:
    """Return the rungs below `epochs`: its half, quarter, eighth and sixteenth, ascending, each once."""
    shorter = {-(-epochs // 2**k) for k in range(1, ROUNDS)}
    return tuple(sorted(shorter - {epochs}))


@dataclass(frozen=True)
class Rung:
    """The candidates that have got this far.

    Args:
        epochs: the length of their runs.
        runs: by the number of the candidate, its runs, one a seed.
        records: by the number of the candidate, the records of those of which every run has one.
    """

    epochs: int
    runs: Mapping[int, Sequence[Training]]
    records: Mapping[int, Sequence[Record]]

    @property
    def missing(self) -> int:
        """The number of candidates without all records."""
        return len(self.runs) - len(self.records)

    @property
    def done(self) -> dict[int, Sequence[Record]]:
        """The records of the candidates that did not diverge."""
        return {k: of_one for k, of_one in self.records.items() if all(r["status"] == "done" for r in of_one)}

    def settled(self, records: Records, failed: Collection[Run]) -> bool:
        """Return whether every run has ended."""
        return all(run in records or run in failed for runs in self.runs.values() for run in runs)

    def better_half(self, whole: int) -> list[int]:
        """Return the candidates that go on, in their order: half of all, of those that did not diverge.

        Those with the lowest `expected_cost`.
        """
        costs = {k: expected_cost(of_one, whole) for k, of_one in self.done.items()}
        return sorted(sorted(costs, key=lambda k: costs[k])[: -(-len(self.runs) // 2)])


def expected_cost(records: Sequence[Record], whole: int) -> float:
    """Return the mean training cost over `whole` epochs if it stays what it is in the last record.

    Over the whole this is the mean cost over all epochs: the measure that the claims compare.
    """
    costs = by_epoch([record["epochs"] for record in records], "cost")
    share = records[0]["epochs"][-1]["epoch"] / whole
    return float((share * costs.mean(axis=1) + (1 - share) * costs[:, -1]).mean())


@dataclass(frozen=True)
class Search:
    """A search.

    Args:
        candidates: for each, its runs at full length, one a seed.
        rungs: the epochs after which the better half goes on, ascending; without any, all run to the end.
    """

    candidates: Sequence[Sequence[Training]]
    rungs: Sequence[int] = ()

    @property
    def epochs(self) -> int:
        """The full length."""
        return self.candidates[0][0].epochs

    def race(self, records: Records) -> Iterator[Rung]:
        """Yield the rungs, each with the candidates that these records let go on; the last may be empty.

        A candidate without a record does not go on: whether it is only to come, `runs` decides.
        """
        going: Sequence[int] = range(len(self.candidates))
        for epochs in (*self.rungs, self.epochs):
            runs = {k: [run.until(epochs) for run in self.candidates[k]] for k in going}
            found = {k: [records[run] for run in of_one if run in records] for k, of_one in runs.items()}
            rung = Rung(epochs, runs, {k: each for k, each in found.items() if len(each) == len(runs[k])})
            yield rung
            going = rung.better_half(self.epochs)

    def runs(self, records: Records, failed: Collection[Run] = ()) -> list[Training]:
        """Return the runs that are needed as far as these records tell: more follow when these have ended.

        A run that `failed`, which has no record, does not hold the others up.
        """
        found: list[Training] = []
        for rung in self.race(records):
            found += [run for of_one in rung.runs.values() for run in of_one]
            if not rung.settled(records, failed):
                break
        return found

    def cost(self) -> float:
        """Return the epochs of the search over those of training every candidate to the end."""
        count, before, total = len(self.candidates), 0, 0
        for epochs in (*self.rungs, self.epochs):
            total += count * (epochs - before)
            count, before = math.ceil(count / 2), epochs
        return total / (len(self.candidates) * self.epochs)

    def best(self, records: Records) -> int | None:
        """Return the candidate with the lowest mean cost; None where none has all its records and is done."""
        *_, last = self.race(records)
        costs = {k: expected_cost(of_one, last.epochs) for k, of_one in last.done.items()}
        return min(costs, key=lambda k: costs[k], default=None)


def final_costs(records: Sequence[Record]) -> NDArray[np.float64]:
    """Return the training cost over the last epoch of each seed, however many records it has."""
    epochs = by_epoch([record["epochs"] for record in records], "epoch")[0]
    costs = by_epoch([record["epochs"] for record in records], "cost")
    last: NDArray[np.float64] = costs[:, epochs > epochs[-1] - 1].mean(axis=1)
    return last
