"""Training curves: each optimizer at the best stepsize of its grid, in one chart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from adamas.rules import Rule

from .. import problems
from ..charts import Chart, Line, Style, View, styles
from ..findings import Cell, Table
from ..problems import Option
from ..records import Records
from ..runs import Run
from ..runs.training import Training
from ._compare import Claim, Curve, judge, mean_excess, ranking
from ._sweep import Finals, sweep_chart


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
        other: other axes to offer for the curves.
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
    other: View | None = None

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
