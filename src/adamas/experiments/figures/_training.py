"""Training curves: each optimizer at the best stepsize of its grid, in one chart."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adamas.rules import Rule

from .. import problems
from ..charts import Chart, Line, Style, View, by_epoch, styles
from ..findings import Cell, Finding, Table, verdict
from ..problems import Option
from ..records import Records
from ..runs import Run
from ..runs.training import Training
from ._sweep import Finals, sweep_chart

LINEAR = View("Linear axes")
# Our choice, for headlines alone: no verdict follows from it.
ALIKE = 1.1  # optimizers are alike in a headline up to this factor of the mean excess cost


@dataclass(frozen=True)
class Grid:
    """The rules to choose an optimizer's best from, `lr` ascending, and how they are run.

    Args:
        rules: the rules.
        schedule: the schedule of their `lr`, a key of `SCHEDULES`.
        observers: measures of their optimizers, keys of `METRICS`.
    """

    rules: Sequence[Rule]
    schedule: str = "inverse_sqrt"
    observers: tuple[str, ...] = ()


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
    """

    rule: Rule
    epochs: Sequence[Sequence[Mapping[str, float]]]
    edge: bool
    diverged: int
    missing: int = 0
    rules: int = 1

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
        return f"{self.missing} of {self.rules} α have no record" if self.missing else ""

    def until(self, epoch: float) -> Curve:
        """Return the curve up to this epoch."""
        return dataclasses.replace(self, epochs=[[r for r in s if r["epoch"] <= epoch] for s in self.epochs])


@dataclass(frozen=True)
class TrainingPanel:
    """One chart: a problem, and the optimizers' grids.

    Args:
        title: the title of the chart.
        note: facts about the data that a reader must know, for the chart and the table.
        cost: the name of the mini-batch cost.
        problem, options, l2, batch, epochs, records_per_epoch: see `Training`.
        seeds: every rule runs with each of them; costs are means over them.
        grids: the grids by optimizer.
        claims: the paper's statements on these curves.
        other: other axes for the curves.
    """

    title: str
    note: str
    cost: str
    problem: str
    options: Mapping[str, Option]
    l2: float
    batch: int
    epochs: int
    seeds: Sequence[int]
    grids: Mapping[str, Grid]
    claims: Sequence[Claim]
    records_per_epoch: int = 1
    other: View = LINEAR

    def runs(self) -> list[Run]:
        """Return the runs of all grids."""
        return [run for grid in self.grids.values() for rule in grid.rules for run in self._seeds(rule, grid)]

    def _seeds(self, rule: Rule, grid: Grid) -> list[Run]:
        options, data = problems.fields(self.problem, self.options)
        fixed = (self.problem, options, data, rule, grid.schedule, self.l2, self.batch, self.epochs)
        each, observers = self.records_per_epoch, grid.observers
        return [
            Training(*fixed, seed=seed, records_per_epoch=each, observers=observers) for seed in self.seeds
        ]

    def curves(self, records: Records) -> dict[str, Curve]:
        """Return the best rule of each optimizer: that with the lowest mean training cost over all epochs.

        This is the measure that the claims compare. A rule that diverged is never the best.

        An optimizer is absent where no rule has all its records, or all diverged. Where some lack a record,
        its curve is the best of the others, and nothing is to be concluded from it (see `compare`).
        """
        best = {name: self._best(grid, records) for name, grid in self.grids.items()}
        return {name: curve for name, curve in best.items() if curve is not None}

    def _best(self, grid: Grid, records: Records) -> Curve | None:
        runs = {rule: self._seeds(rule, grid) for rule in grid.rules}
        ran = {rule: [records[run] for run in of_rule if run in records] for rule, of_rule in runs.items()}
        whole = {rule: found for rule, found in ran.items() if len(found) == len(self.seeds)}
        done = {rule: found for rule, found in whole.items() if all(r["status"] == "done" for r in found)}
        curves = [
            Curve(
                rule,
                [r["epochs"] for r in found],
                rule in (grid.rules[0], grid.rules[-1]),
                len(whole) - len(done),
                len(runs) - len(whole),
                len(runs),
            )
            for rule, found in done.items()
        ]
        return min(curves, key=lambda curve: float(curve.by_epoch("cost").mean()), default=None)

    def tables(self, records: Records) -> list[Table]:
        curves = self.curves(records)
        findings = [judge(claim, curves) for claim in self.claims]
        return [Table(f"{self.title}, {self.note}", rows(self, curves), findings)]

    def charts(self, records: Records) -> list[list[Chart]]:
        looks, curves = styles(self.grids), self.curves(records)
        lines = [line(self.grids[name], name, curve, "cost", looks[name]) for name, curve in curves.items()]
        cost = Chart(
            self.title,
            self.note,
            "epoch",
            self.cost,
            lines,
            log_y=True,
            whole_x=True,
            finding=ranking(curves),
            clip=True,
            other=self.other,
        )
        return [[cost], [self.sweep(records, looks)]]

    def sweep(self, records: Records, looks: Mapping[str, Style]) -> Chart:
        """Return the chart of the final cost by α, for each optimizer: how much tuning it asks for."""
        finals = {name: self._finals(grid, records) for name, grid in self.grids.items()}
        return sweep_chart(f"{self.title}, by α", self.note, "final training cost", finals, looks)

    def _finals(self, grid: Grid, records: Records) -> Finals:
        costs, failed = [], []
        for rule in grid.rules:
            found = [records[run] for run in self._seeds(rule, grid) if run in records]
            done = [Curve(rule, [r["epochs"]], False, 0) for r in found if r["status"] == "done"]
            whole = len(done) == len(self.seeds)
            costs.append([each.final_cost() for each in done] if whole else [np.nan] * len(self.seeds))
            failed.append(len(done) < len(found))
        lrs = np.array([rule.lr for rule in grid.rules], float)
        return Finals(lrs, np.array(costs, float).T, tuple(lrs[np.array(failed)].tolist()))


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


def rows(panel: TrainingPanel, curves: Mapping[str, Curve]) -> list[Mapping[str, Cell]]:
    """Return a row for each optimizer."""
    excess = mean_excess(curves)
    found: list[Mapping[str, Cell]] = []
    for name in panel.grids:
        curve = curves.get(name)
        remarks = [] if curve else ["no stepsize has finished runs that did not diverge"]
        if curve and curve.edge:
            remarks.append("best α lies at the edge of the grid")
        if curve and curve.diverged:
            remarks.append(f"{curve.diverged} of {curve.rules} α diverged")
        if curve and curve.missing:
            remarks.append(curve.lacking())
        found.append(
            {
                "optimizer": name,
                "best_lr": curve.rule.lr if curve else None,
                "final_cost": curve.final_cost() if curve else None,
                "mean_excess_cost": excess.get(name),
                "train_nll": curve.last("train_nll") if curve else None,
                "test_nll": curve.last("test_nll") if curve else None,
                "test_error": curve.last("test_error") if curve else None,
                "remarks": "; ".join(remarks),
            }
        )
    return found


def line(grid: Grid, name: str, curve: Curve, measure: str, style: Style) -> Line:
    """Return the line of a measure of an optimizer, named with its stepsize."""
    decay = "/√t" if grid.schedule == "inverse_sqrt" else ""
    label = f"{name}, α = {curve.rule.lr:.3g}{decay}"
    return Line(label, curve.by_epoch("epoch")[0], curve.by_epoch(measure), style, name)
