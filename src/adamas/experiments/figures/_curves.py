"""Training curves: each optimizer at the best stepsize of its grid, side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adamas.rules import Rule

from .. import problems
from ..charts import STYLES, Chart, Line, by_epoch
from ..problems import Option
from ..runs import Run
from ..runs.training import Training
from ..store import Record
from . import Cell, Finding, Preset, Table, verdict

Records = Mapping[Run, Record]


@dataclass(frozen=True)
class Grid:
    """The rules to choose an optimizer's best from, `lr` ascending, and the schedule of their `lr`."""

    rules: Sequence[Rule]
    schedule: str = "inverse_sqrt"


@dataclass(frozen=True)
class Comparison:
    """That `one` has `low` to `high` times the mean excess cost of `other`.

    The mean excess cost of an optimizer is the mean over the epochs of its training cost less the lowest that
    any optimizer of the panel reached: the area between its curve and that floor, divided by the epochs.
    """

    one: str
    other: str
    low: float
    high: float


@dataclass(frozen=True)
class Claim:
    """A sentence of the paper, where it stands, and the comparisons that say the same of the curves."""

    claim: str
    source: str
    comparisons: Sequence[Comparison]


@dataclass(frozen=True)
class Curve:
    """An optimizer at its best stepsize.

    Args:
        rule: the rule.
        epochs: what each seed's run recorded, by epoch.
        edge: whether a better stepsize may lie beyond the grid.
        diverged: how many rules of the grid diverged.
    """

    rule: Rule
    epochs: Sequence[Sequence[Mapping[str, float]]]
    edge: bool
    diverged: int

    def by_epoch(self, measure: str) -> NDArray[np.float64]:
        """A measure from epoch 1 on, (seeds, epochs)."""
        return by_epoch(self.epochs, measure)

    def last(self, measure: str) -> float:
        """A measure after the last epoch, the mean over seeds."""
        return float(self.by_epoch(measure)[:, -1].mean())


@dataclass(frozen=True)
class Panel:
    """One set of axes: a problem, and the optimizers' grids.

    Args:
        title: of the axes.
        note: what a reader must know of the data, for the figure and the table.
        cost: the name of the mini-batch cost.
        problem, options, l2, batch, epochs: see `Run`.
        seeds: a run of every rule with each; costs are means over them.
        grids: by optimizer.
        claims: what the paper says of it.
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

    def runs(self) -> list[Run]:
        """All of the grids."""
        return [
            run
            for grid in self.grids.values()
            for rule in grid.rules
            for run in self._seeds(rule, grid.schedule)
        ]

    def _seeds(self, rule: Rule, schedule: str) -> list[Run]:
        options = tuple(sorted(self.options.items()))
        data = problems.load(self.problem).identity(**self.options)
        return [
            Training(self.problem, options, data, rule, schedule, self.l2, self.batch, self.epochs, seed)
            for seed in self.seeds
        ]

    def curves(self, records: Records) -> dict[str, Curve]:
        """The best rule of each optimizer: the lowest mean training cost over all epochs, that is, by the
        measure that the claims compare; a rule that diverged is never the best.

        An optimizer is absent where no rule has all its records, or all diverged.
        """
        best = {name: self._best(grid, records) for name, grid in self.grids.items()}
        return {name: curve for name, curve in best.items() if curve is not None}

    def _best(self, grid: Grid, records: Records) -> Curve | None:
        runs = {rule: self._seeds(rule, grid.schedule) for rule in grid.rules}
        ran = {rule: [records[run] for run in of_rule if run in records] for rule, of_rule in runs.items()}
        whole = {rule: found for rule, found in ran.items() if len(found) == len(self.seeds)}
        done = {rule: found for rule, found in whole.items() if all(r["status"] == "done" for r in found)}
        curves = [
            Curve(
                rule,
                [r["epochs"] for r in found],
                rule in (grid.rules[0], grid.rules[-1]),
                len(whole) - len(done),
            )
            for rule, found in done.items()
        ]
        return min(curves, key=lambda curve: float(curve.by_epoch("cost").mean()), default=None)


def mean_excess(curves: Mapping[str, Curve]) -> dict[str, float]:
    """The mean excess cost of each optimizer (see `Comparison`), the mean over seeds."""
    costs = {name: curve.by_epoch("cost").mean(axis=0) for name, curve in curves.items()}
    floor = min((float(cost.min()) for cost in costs.values()), default=0.0)
    return {name: float(cost.mean()) - floor for name, cost in costs.items()}


def judge(claim: Claim, curves: Mapping[str, Curve]) -> Finding:
    """What the curves say of the claim."""
    excess = mean_excess(curves)
    lines, held = [], []
    for comparison in claim.comparisons:
        one, other = comparison.one, comparison.other
        if one not in excess or other not in excess:
            missing = f"no finished run of {one if one not in excess else other}"
            return Finding(claim.claim, claim.source, missing, "not measured")
        ratio = excess[one] / excess[other]
        held.append(comparison.low <= ratio <= comparison.high)
        lines.append(f"{one} has {ratio:.2f} × the mean excess cost of {other} ({_wanted(comparison)})")
    return Finding(claim.claim, claim.source, "; ".join(lines), verdict(held))


def _wanted(comparison: Comparison) -> str:
    if comparison.low == 0:
        return f"at most {comparison.high:.3g} expected"
    if comparison.high == float("inf"):
        return f"at least {comparison.low:.3g} expected"
    return f"{comparison.low:.2f} to {comparison.high:.3g} expected"


@dataclass(frozen=True)
class TrainingCurves:
    """A figure of panels, by preset."""

    title: str
    panels: Mapping[Preset, Sequence[Panel]]
    of_paper: bool = True

    def runs(self, preset: Preset) -> list[Run]:
        return [run for panel in self.panels[preset] for run in panel.runs()]

    def tables(self, preset: Preset, records: Records) -> list[Table]:
        return [_table(panel, panel.curves(records)) for panel in self.panels[preset]]

    def charts(self, preset: Preset, records: Records) -> list[list[Chart]]:
        return [[_chart(panel, panel.curves(records)) for panel in self.panels[preset]]]


def _table(panel: Panel, curves: Mapping[str, Curve]) -> Table:
    excess = mean_excess(curves)
    rows: list[Mapping[str, Cell]] = []
    for name in panel.grids:
        curve = curves.get(name)
        remarks = [] if curve else ["no stepsize has finished runs that did not diverge"]
        if curve and curve.edge:
            remarks.append("best α lies at the edge of the grid")
        if curve and curve.diverged:
            remarks.append(f"{curve.diverged} of {len(panel.grids[name].rules)} α diverged")
        rows.append(
            {
                "optimizer": name,
                "best_lr": curve.rule.lr if curve else None,
                "final_cost": curve.last("cost") if curve else None,
                "mean_excess_cost": excess.get(name),
                "train_nll": curve.last("train_nll") if curve else None,
                "test_nll": curve.last("test_nll") if curve else None,
                "test_error": curve.last("test_error") if curve else None,
                "remarks": "; ".join(remarks),
            }
        )
    return Table(f"{panel.title}, {panel.note}", rows, [judge(claim, curves) for claim in panel.claims])


def _chart(panel: Panel, curves: Mapping[str, Curve]) -> Chart:
    lines = []
    for name, curve in curves.items():
        decay = "/√t" if panel.grids[name].schedule == "inverse_sqrt" else ""
        label = f"{name}, α = {curve.rule.lr:.3g}{decay}"
        lines.append(Line(label, curve.by_epoch("epoch")[0], curve.by_epoch("cost"), STYLES[name]))
    return Chart(panel.title, panel.note, "epoch", panel.cost, lines, log_y=True, whole_x=True)
