"""Training curves: each optimizer at the best stepsize of its grid, in one chart."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
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
from . import NONE
from ._compare import Claim, Curve, judge, mean_excess, ranking
from ._grid import SEARCHED
from ._search import Search, final_costs
from ._sweep import Finals, sweep_chart


@dataclass(frozen=True)
class Grid:
    """The rules to choose an optimizer's best from, and how they are run.

    Args:
        rules: the rules.
        schedule: the schedule of their `lr`, a key of `SCHEDULES`.
        observers: measures of their optimizers, keys of `METRICS`.
    """

    rules: Sequence[Rule]
    schedule: str = "inverse_sqrt"
    observers: tuple[str, ...] = ()

    @property
    def lrs(self) -> list[float]:
        """The stepsizes, ascending, each once."""
        return sorted({float(rule.lr) for rule in self.rules})

    @property
    def others(self) -> dict[str, list[float]]:
        """The values of the other hyperparameters that have several, by their names for people."""
        values = {
            name: sorted({getattr(rule, field) for rule in self.rules})
            for field, name in SEARCHED.items()
            if hasattr(self.rules[0], field)
        }
        return {name: several for name, several in values.items() if len(several) > 1}

    def chosen(self, rule: Rule) -> tuple[str, ...]:
        """Return the values that this rule has of them, in words."""
        fields = {name: field for field, name in SEARCHED.items() if hasattr(rule, field)}
        return tuple(f"{name} {getattr(rule, fields[name]):g}" for name in self.others)


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
        rungs: the epochs after which the better half of each grid goes on (see `Search`).
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
    rungs: Sequence[int] = ()
    other: View | None = None

    def runs(self, records: Records = NONE, failed: Collection[Run] = ()) -> list[Run]:
        """Return the runs of all searches."""
        return [run for grid in self.grids.values() for run in self.search(grid).runs(records, failed)]

    def search(self, grid: Grid) -> Search:
        """Return the search of an optimizer's best rule."""
        return Search([self._seeds(rule, grid) for rule in grid.rules], self.rungs)

    def _seeds(self, rule: Rule, grid: Grid) -> list[Training]:
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
        search = self.search(grid)
        best, rungs = search.best(records), list(search.race(records))
        if best is None:
            return None
        rule, (low, *_, high) = grid.rules[best], [min(grid.lrs), *grid.lrs, max(grid.lrs)]
        return Curve(
            rule,
            [record["epochs"] for record in rungs[-1].records[best]],
            edge=rule.lr in (low, high),
            diverged=sum(len(rung.records) - len(rung.done) for rung in rungs),
            missing=sum(rung.missing for rung in rungs),
            rules=len(grid.rules),
            chosen=grid.chosen(rule),
        )

    def tables(self, records: Records) -> list[Table]:
        curves = self.curves(records)
        findings = [judge(claim, curves) for claim in self.claims]
        return [Table(f"{self.title}, {self.note}", rows(self, curves), findings), *self.searched(curves)]

    def searched(self, curves: Mapping[str, Curve]) -> list[Table]:
        """Return the table of what was searched, if anything but α was, or not every candidate ran whole."""
        rows: list[Mapping[str, Cell]] = []
        for name, grid in self.grids.items():
            search, curve = self.search(grid), curves.get(name)
            rows.append(
                {
                    "optimizer": name,
                    "candidates": float(len(grid.rules)),
                    "lr": f"{len(grid.lrs)}, {grid.lrs[0]:g} to {grid.lrs[-1]:g}",
                    "others": ", ".join(f"{each} {_listed(values)}" for each, values in grid.others.items()),
                    "best": f"α {curve.rule.lr:g}" + "".join(f", {each}" for each in curve.chosen)
                    if curve
                    else None,
                    "share_of_full_grid": search.cost(),
                }
            )
        if not self.rungs:
            return []
        rungs = ", ".join(map(str, self.rungs))
        title = (
            f"{self.title}: the grids, of which the better half goes on after {rungs} of {self.epochs} epochs"
        )
        return [Table(title, rows, [])]

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
        """Return the chart of the cost by α, for each optimizer: how much tuning it asks for.

        It is the cost after the first rung, which every candidate reaches.
        """
        finals = {name: self._finals(grid, records) for name, grid in self.grids.items()}
        cost = f"training cost in epoch {self.rungs[0]}" if self.rungs else "final training cost"
        return sweep_chart(f"{self.title}, by α", self.note, cost, finals, looks)

    def _finals(self, grid: Grid, records: Records) -> Finals:
        """Return the costs at each α, with whatever else was searched at its best there."""
        first = next(self.search(grid).race(records))
        lrs = np.array(grid.lrs)
        costs, failed = np.full((len(lrs), len(self.seeds)), np.nan), []
        for place, lr in enumerate(grid.lrs):
            there = [k for k, rule in enumerate(grid.rules) if rule.lr == lr]
            done = [final_costs(first.done[k]) for k in there if k in first.done]
            if done:
                costs[place] = min(done, key=lambda each: float(each.mean()))
            elif any(k in first.records for k in there):
                failed.append(lr)
        return Finals(lrs, costs.T, tuple(failed))


def _listed(values: Sequence[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)


def rows(panel: TrainingPanel, curves: Mapping[str, Curve]) -> list[Mapping[str, Cell]]:
    """Return a row for each optimizer."""
    excess = mean_excess(curves)
    found: list[Mapping[str, Cell]] = []
    for name in panel.grids:
        curve = curves.get(name)
        remarks = [] if curve else ["no candidate has finished runs that did not diverge"]
        if curve and curve.edge:
            remarks.append("best α lies at the edge of the grid")
        if curve and curve.diverged:
            remarks.append(f"{curve.diverged} of {curve.rules} candidates diverged")
        if curve and curve.missing:
            remarks.append(curve.lacking())
        found.append(
            {
                "optimizer": name,
                "best_lr": curve.rule.lr if curve else None,
                "with": ", ".join(curve.chosen) if curve else "",
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
    label = ", ".join([f"{name}, α = {curve.rule.lr:.3g}{decay}", *curve.chosen])
    return Line(label, curve.by_epoch("epoch")[0], curve.by_epoch(measure), style, name)
