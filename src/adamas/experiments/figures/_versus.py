"""Adam against the Sum-of-Functions Optimizer: by epoch, by wall time, by memory, and under dropout."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from adamas.rules import Rule

from .. import problems
from ..charts import STYLES, Chart, Level, Line
from ..problems import Option
from ..runs import Run
from ..runs.sums import SumOfFunctions
from ..runs.training import Training
from . import Records

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Path:
    """What a run did, from the start on.

    Args:
        epoch: of each record.
        seconds: the wall time until then, without measuring.
        objective: the cost of fixed training examples without noise, and the L2 term: what both minimize.
        memory: bytes of the optimizer's state after the run.
        batches: the number of mini-batches.
        diverged: whether it did.
    """

    epoch: Values
    seconds: Values
    objective: Values
    memory: float
    batches: int
    diverged: bool

    def finite(self) -> Path:
        """Until it diverged, if it did."""
        end = int(np.isfinite(self.objective).cumprod().sum())
        return replace(
            self, epoch=self.epoch[:end], seconds=self.seconds[:end], objective=self.objective[:end]
        )

    @property
    def step(self) -> float:
        """Seconds an iteration, of the median epoch: the first one compiles, others are disturbed."""
        return float(np.median(np.diff(self.seconds) / np.diff(self.epoch)) / self.batches)


@dataclass(frozen=True)
class Versus:
    """The runs of a comparison; all with one seed.

    Args:
        title, note: of the axes; what a reader must know of the data.
        problem, l2, batch, epochs: see `Training`.
        options: the problem's, without "count" and "dropout".
        counts: training examples, ascending; the last is what Adam and SFO are compared on, with the others
            SFO's memory is measured.
        rules: Adam's grid, `lr` ascending.
        noisy: the one of the rules to be run under dropout.
        dropout: its probability there.
    """

    title: str
    note: str
    problem: str
    options: Mapping[str, Option]
    l2: float
    batch: int
    epochs: int
    counts: Sequence[int]
    rules: Sequence[Rule]
    noisy: Rule
    dropout: float

    def sfo(self, count: int, dropout: float = 0.0) -> SumOfFunctions:
        """SFO on so many examples."""
        options, data = self._problem(count, dropout)
        return SumOfFunctions(self.problem, options, data, self.l2, self.batch, self.epochs, seed=0)

    def adam(self, rule: Rule, dropout: float = 0.0) -> Training:
        """A rule on the most examples."""
        options, data = self._problem(self.counts[-1], dropout)
        fixed = (self.problem, options, data, rule, "constant", self.l2, self.batch, self.epochs)
        return Training(*fixed, seed=0, observers=("memory", "penalty"))

    def _problem(self, count: int, dropout: float) -> tuple[tuple[tuple[str, Option], ...], str]:
        options = {**self.options, "count": count, **({"dropout": dropout} if dropout else {})}
        return problems.fields(self.problem, options)

    def runs(self) -> list[Run]:
        """All of them."""
        noisy: list[Run] = [self.sfo(self.counts[-1], self.dropout), self.adam(self.noisy, self.dropout)]
        return [*noisy, *map(self.sfo, reversed(self.counts)), *map(self.adam, self.rules)]

    def path(self, run: SumOfFunctions | Training, records: Records) -> Path | None:
        """What this run did, None without a record."""
        record = records.get(run)
        if record is None:
            return None
        epochs = record["epochs"]
        return Path(
            _values(epochs, "epoch"),
            np.array(record["clock"], float),
            _values(epochs, "train_nll") + _values(epochs, "penalty"),
            float(_values(epochs, "memory")[-1]),
            -(-int(dict(run.options)["count"]) // self.batch),
            record["status"] == "diverged",
        )

    def by_count(self, records: Records) -> list[Path]:
        """SFO's paths that there are, by the number of mini-batches."""
        paths = (self.path(self.sfo(count), records) for count in self.counts)
        return [path for path in paths if path is not None]

    def best(self, records: Records) -> tuple[Rule, Path] | None:
        """Adam's best: the lowest mean objective over the epochs; one that diverged is never the best."""
        paths = ((rule, self.path(self.adam(rule), records)) for rule in self.rules)
        done = [(rule, path) for rule, path in paths if path is not None and not path.diverged]
        return min(done, key=lambda each: float(each[1].objective[1:].mean()), default=None)

    def lacking(self, records: Records) -> str:
        """Why it cannot be told which of Adam's rules is the best; empty where it can."""
        missing = sum(self.adam(rule) not in records for rule in self.rules)
        return f"{missing} of {len(self.rules)} α have no record" if missing else ""

    def rivals(self, records: Records) -> dict[str, Path]:
        """Adam's best and SFO on the most examples, where there are any."""
        best, sfo = self.best(records), self.path(self.sfo(self.counts[-1]), records)
        return {**({"Adam": best[1]} if best else {}), **({"SFO": sfo} if sfo else {})}

    def under_dropout(self, records: Records) -> dict[str, Path]:
        """The same two under dropout."""
        runs: Mapping[str, SumOfFunctions | Training] = {
            "Adam": self.adam(self.noisy, self.dropout),
            "SFO": self.sfo(self.counts[-1], self.dropout),
        }
        paths = {name: self.path(run, records) for name, run in runs.items()}
        return {name: path for name, path in paths.items() if path is not None}


def _values(epochs: Sequence[Mapping[str, float | None]], name: str) -> Values:
    """A measure from the start on; NaN where it was not finite."""
    return np.array([epoch[name] for epoch in epochs], float)


def excess(paths: Mapping[str, Path], by_time: bool) -> dict[str, float]:
    """The mean excess objective of each (see `Comparison` in `_curves`), over the epochs or, from the start
    on, over the wall time that the shortest of them took; one that diverged ends before it did."""
    paths = {name: path.finite() for name, path in paths.items()}
    if by_time:
        moments = np.linspace(0, min(path.seconds[-1] for path in paths.values()), 1_000)
        curves = {name: np.interp(moments, path.seconds, path.objective) for name, path in paths.items()}
    else:
        common = min(len(path.epoch) for path in paths.values())
        curves = {name: path.objective[1:common] for name, path in paths.items()}
    floor = min(float(path.objective.min()) for path in paths.values())
    return {name: float(np.mean(curve)) - floor for name, curve in curves.items()}


def charts(versus: Versus, records: Records) -> list[Chart]:
    """By epoch, by wall time, under dropout; memory and time an iteration by the number of mini-batches."""
    best, rivals, noisy = versus.best(records), versus.rivals(records), versus.under_dropout(records)
    names = {"SFO": "SFO", "Adam": f"Adam, α = {best[0].lr:.3g}" if best else ""}
    cost = "training objective (NLL + L2 term)"
    epochs = [_line(names[name], name, path.epoch, path.objective) for name, path in rivals.items()]
    times = [_line(names[name], name, path.seconds, path.objective) for name, path in rivals.items()]
    labels = {"SFO": "SFO", "Adam": f"Adam, α = {versus.noisy.lr:.3g}"}
    under = [_line(labels[name], name, path.epoch, path.objective) for name, path in noisy.items()]
    noise = f"{versus.title}, {versus.dropout:.0%} dropout"
    return [
        Chart(versus.title, versus.note, "epoch", cost, epochs, log_y=True, whole_x=True),
        Chart(versus.title, versus.note, "wall time (s)", cost, times, log_y=True),
        Chart(noise, versus.note, "epoch", cost, under, log_y=True, whole_x=True),
        _by_batches(versus, records, "optimizer state (MiB)", lambda path: path.memory / 2**20),
        _by_batches(versus, records, "an iteration (ms)", lambda path: path.step * 1e3),
    ]


def _by_batches(versus: Versus, records: Records, name: str, measure: Callable[[Path], float]) -> Chart:
    """SFO's by the number of mini-batches; Adam's depends on none, and is measured with the most."""
    paths, adam = versus.by_count(records), versus.rivals(records).get("Adam")
    batches = np.array([path.batches for path in paths], float)
    lines = [_line("SFO", "SFO", batches, np.array([measure(path) for path in paths]))] if paths else []
    levels = [Level("Adam", measure(adam), STYLES["Adam"])] if adam else []
    return Chart(versus.title, versus.note, "mini-batches", name, lines, levels)


def _line(label: str, name: str, x: Values, values: Values) -> Line:
    return Line(label, x, values[None], STYLES[name])
