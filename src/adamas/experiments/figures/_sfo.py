"""Adam beside the Sum-of-Functions Optimizer: by epoch, by wall time, by memory, and under dropout."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from adamas.rules import Rule

from .. import problems
from ..bootstrap import Estimate, estimate
from ..charts import Chart, Level, Line, styles
from ..problems import Option
from ..records import Records
from ..runs import Run
from ..runs.sfo import SumOfFunctions
from ..runs.training import Training
from . import NONE
from ._search import Search, halvings
from ._sweep import Finals, sweep_chart

Values = NDArray[np.float64]
AUTHORS = "SFO, its authors' first step"
CURVATURE = 1e5  # the very first one in the implementation by SFO's authors, whose first step is tiny
STYLES = styles(("Adam", "SFO", AUTHORS))


@dataclass(frozen=True)
class LossCurve:
    """The objective of a run, from the start on.

    Args:
        epoch: the epoch of each record.
        seconds: the wall time until then, without measuring.
        objective: the cost of fixed training examples without noise plus the L2 term, which both minimize.
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

    def finite(self) -> LossCurve:
        """Return the curve until it diverged, if it did."""
        end = int(np.isfinite(self.objective).cumprod().sum())
        return replace(
            self, epoch=self.epoch[:end], seconds=self.seconds[:end], objective=self.objective[:end]
        )

    @property
    def steps(self) -> Values:
        """Seconds an iteration in each epoch."""
        steps: Values = np.diff(self.seconds) / np.diff(self.epoch) / self.batches
        return steps

    @property
    def step(self) -> float:
        """Seconds an iteration in the median epoch: the first one compiles, and others are disturbed."""
        return float(np.median(self.steps))


@dataclass(frozen=True)
class SfoComparison:
    """The runs of a comparison; all with one seed.

    Args:
        title, note: the title of the charts, and facts about the data that a reader must know.
        problem, l2, batch, epochs: see `Training`.
        options: the problem's, without "count" and "dropout".
        counts: numbers of training examples, ascending; Adam and SFO are compared on the last, and SFO's
            memory is measured on all.
        rules: Adam's grid, `lr` ascending.
        noisy: the rule that runs under dropout.
        dropout: the probability of dropout there.
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

    def sfo(self, count: int, dropout: float = 0.0, curvature: float = 0.0) -> SumOfFunctions:
        """Return the run of SFO on so many examples."""
        options, data = self._problem(count, dropout)
        fixed = (self.problem, options, data, self.l2, self.batch, self.epochs)
        return SumOfFunctions(*fixed, seed=0, curvature=curvature)

    def adam(self, rule: Rule, dropout: float = 0.0) -> Training:
        """Return the run of a rule on the most examples."""
        options, data = self._problem(self.counts[-1], dropout)
        fixed = (self.problem, options, data, rule, "constant", self.l2, self.batch, self.epochs)
        return Training(*fixed, seed=0, observers=("memory", "penalty"), timed=True)

    def _problem(self, count: int, dropout: float) -> tuple[tuple[tuple[str, Option], ...], str]:
        options = {**self.options, "count": count, **({"dropout": dropout} if dropout else {})}
        return problems.fields(self.problem, options)

    def runs(self, records: Records = NONE, failed: Collection[Run] = ()) -> list[Run]:
        """Return all runs that are needed so far, the longest first."""
        searched = self.search().runs(records, failed)
        return [*self._noisy().values(), *map(self.sfo, reversed(self.counts)), *searched]

    def search(self) -> Search:
        """Return the search of Adam's best rule."""
        return Search([[self.adam(rule)] for rule in self.rules], halvings(self.epochs))

    def curve(self, run: SumOfFunctions | Training, records: Records) -> LossCurve | None:
        """Return the curve of this run, None without a record."""
        record = records.get(run)
        if record is None:
            return None
        epochs = record["epochs"]
        return LossCurve(
            _values(epochs, "epoch"),
            np.array(record["clock"], float),
            _values(epochs, "train_nll") + _values(epochs, "penalty"),
            float(_values(epochs, "memory")[-1]),
            -(-int(dict(run.options)["count"]) // self.batch),
            record["status"] == "diverged",
        )

    def by_count(self, records: Records) -> list[LossCurve]:
        """Return the curves of SFO that there are, by the number of mini-batches."""
        curves = (self.curve(self.sfo(count), records) for count in self.counts)
        return [curve for curve in curves if curve is not None]

    def best(self, records: Records) -> tuple[Rule, LossCurve] | None:
        """Return Adam's best: the lowest mean objective over the epochs, and never one that diverged."""
        *_, last = self.search().race(records)
        curves = ((self.rules[k], self.curve(run, records)) for k, (run,) in last.runs.items())
        done = [(rule, curve) for rule, curve in curves if curve is not None and not curve.diverged]
        return min(done, key=lambda each: float(each[1].objective[1:].mean()), default=None)

    def lacking(self, records: Records) -> str:
        """Return why the best of Adam's rules is not known; empty where it is."""
        missing = sum(rung.missing for rung in self.search().race(records))
        return f"{missing} of {len(self.rules)} candidates have no record" if missing else ""

    def rivals(self, records: Records) -> dict[str, LossCurve]:
        """Return Adam's best and SFO on the most examples, those that there are."""
        best, sfo = self.best(records), self.curve(self.sfo(self.counts[-1]), records)
        return {**({"Adam": best[1]} if best else {}), **({"SFO": sfo} if sfo else {})}

    def under_dropout(self, records: Records) -> dict[str, LossCurve]:
        """Return the same two under dropout, SFO with our first step and with that of its authors."""
        curves = {name: self.curve(run, records) for name, run in self._noisy().items()}
        return {name: curve for name, curve in curves.items() if curve is not None}

    def _noisy(self) -> dict[str, SumOfFunctions | Training]:
        sfo, most = self.sfo, self.counts[-1]
        both = {"SFO": sfo(most, self.dropout), AUTHORS: sfo(most, self.dropout, CURVATURE)}
        return {"Adam": self.adam(self.noisy, self.dropout), **both}


def _values(epochs: Sequence[Mapping[str, float | None]], name: str) -> Values:
    """Return a measure from the start on; NaN where it was not finite."""
    return np.array([epoch[name] for epoch in epochs], float)


def excess(curves: Mapping[str, LossCurve], by_time: bool) -> dict[str, float]:
    """Return the mean excess objective of each (see `Comparison` in `_training`).

    It is a mean over the epochs or, from the start on, over the wall time that the shortest of them took. A
    curve that diverged ends before it did.
    """
    finite = {name: curve.finite() for name, curve in curves.items()}
    if by_time:
        moments = np.linspace(0, min(curve.seconds[-1] for curve in finite.values()), 1_000)
        values = {name: np.interp(moments, curve.seconds, curve.objective) for name, curve in finite.items()}
    else:
        common = min(len(curve.epoch) for curve in finite.values())
        values = {name: curve.objective[1:common] for name, curve in finite.items()}
    floor = min(float(curve.objective.min()) for curve in finite.values())
    return {name: float(np.mean(each)) - floor for name, each in values.items()}


def step_ratio(one: LossCurve, other: LossCurve) -> Estimate:
    """Estimate the time of an iteration over another's, as medians over the epochs that both have."""

    def ratio(drawn: Values) -> Values:
        medians = np.median(drawn, axis=1)
        return np.asarray(medians[:, :1] / medians[:, 1:])

    common = min(len(one.steps), len(other.steps))
    pairs = np.stack([one.steps[:common], other.steps[:common]], axis=-1)
    (found,) = estimate(ratio, pairs, ratio=True)
    return found


def charts(comparison: SfoComparison, records: Records) -> list[Chart]:
    """Return the objective by epoch, by wall time and under dropout; memory and time by mini-batches."""
    best, rivals, noisy = (
        comparison.best(records),
        comparison.rivals(records),
        comparison.under_dropout(records),
    )
    names = {"SFO": "SFO", "Adam": f"Adam, α = {best[0].lr:.3g}" if best else ""}
    cost = "training objective (NLL + L2 term)"
    title, note = comparison.title, comparison.note
    epochs = [_line(names[name], name, curve.epoch, curve.objective) for name, curve in rivals.items()]
    times = [_line(names[name], name, curve.seconds, curve.objective) for name, curve in rivals.items()]
    labels = {"Adam": f"Adam, α = {comparison.noisy.lr:.3g}"}
    under = [
        _line(labels.get(name, name), name, curve.epoch, curve.objective) for name, curve in noisy.items()
    ]
    noise = f"{comparison.title}, {comparison.dropout:.0%} dropout"
    return [
        Chart(
            title,
            note,
            "epoch",
            cost,
            epochs,
            log_y=True,
            whole_x=True,
            finding=_ahead(rivals, by_time=False),
        ),
        Chart(title, note, "wall time (s)", cost, times, log_y=True, finding=_ahead(rivals, by_time=True)),
        Chart(noise, note, "epoch", cost, under, log_y=True, whole_x=True, finding=_ends(noisy)),
        _sweep(comparison, records),
        _by_batches(comparison, records, "optimizer state (MiB)", lambda curve: curve.memory / 2**20),
        _by_batches(comparison, records, "an iteration (ms)", lambda curve: curve.step * 1e3),
    ]


def _by_batches(
    comparison: SfoComparison, records: Records, name: str, measure: Callable[[LossCurve], float]
) -> Chart:
    """Return SFO's measure by the number of mini-batches; Adam's does not depend on it: a level."""
    curves, adam = comparison.by_count(records), comparison.rivals(records).get("Adam")
    batches = np.array([curve.batches for curve in curves], float)
    lines = [_line("SFO", "SFO", batches, np.array([measure(curve) for curve in curves]))] if curves else []
    levels = [Level("Adam", measure(adam), STYLES["Adam"])] if adam else []
    finding = ""
    if curves and adam:
        least, most = ([measure(curve) for curve in curves][place] for place in (0, -1))
        finding = (
            f"SFO: {least:.3g} with {curves[0].batches} mini-batches, {most:.3g} with {curves[-1].batches}; "
            f"Adam: {measure(adam):.3g}"
        )
    title = f"{comparison.title}: {name}"
    return Chart(title, comparison.note, "mini-batches", name, lines, levels, finding=finding)


def _ahead(rivals: Mapping[str, LossCurve], by_time: bool) -> str:
    """Say who is ahead, by the mean excess objective that the claims compare; "" without both."""
    if len(rivals) < 2 or any(len(curve.finite().epoch) < 2 for curve in rivals.values()):
        return ""
    means = excess(rivals, by_time)
    first, second = sorted(means, key=lambda name: means[name])
    return f"By {'wall time' if by_time else 'epochs'}, {first} is ahead of {second}"


def _ends(noisy: Mapping[str, LossCurve]) -> str:
    """Say where the objectives end under dropout."""
    said = [
        f"{name} diverges" if curve.diverged else f"{name} ends at {curve.objective[-1]:.2g}"
        for name, curve in noisy.items()
    ]
    return f"Under dropout, {', '.join(said)}" if said else ""


def _sweep(comparison: SfoComparison, records: Records) -> Chart:
    """Return Adam's objective by α after the first rung, which every candidate reaches."""
    first = next(comparison.search().race(records))
    found: dict[float, list[LossCurve]] = {rule.lr: [] for rule in comparison.rules}
    for k, (run,) in first.runs.items():
        curve = comparison.curve(run, records)
        found[comparison.rules[k].lr] += [curve] if curve else []
    ends, failed = [], []
    for lr, curves in sorted(found.items()):  # whatever else was searched at its best there
        done = [float(curve.objective[-1]) for curve in curves if not curve.diverged]
        ends.append(min(done, default=np.nan))
        failed += [lr] if curves and not done else []
    finals = {"Adam": Finals(np.array(sorted(found)), np.array([ends]), failed)}
    cost = f"training objective after epoch {first.epochs}"
    return sweep_chart(f"{comparison.title}, by α", comparison.note, cost, finals, STYLES)


def _line(label: str, name: str, x: Values, values: Values) -> Line:
    return Line(label, x, values[None], STYLES[name], name)
