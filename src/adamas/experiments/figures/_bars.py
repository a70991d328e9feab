"""Final training losses over float32's, for many rules at once, beside bounds and float32's own spread.

A format's rounding moves the loss by chance as well. So the measure is the logarithm of its ratio to the loss
in float32 with the same seed: its mean over seeds, with the 95 % interval of that mean. And float32 is run
again from starting points that differ in the last place: where that changes the loss, a run says little of
formats.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats

from adamas.rules import Rule
from adamas.torch import Optimizer

from .. import problems
from ..bootstrap import Estimate
from ..charts import SKY, Chart, Level, Line, Style
from ..findings import Cell, Finding, Table, verdict
from ..problems import Option
from ..records import Record, Records
from ..runs import Run
from ..runs.training import Training
from . import NONE

Costs = NDArray[np.float64]
SOURCE = "Adamas: state in fewer bits"
BASE = "float32"
NUDGED = "float32, start moved"
_NUDGED_STYLE = Style(SKY, width=4, marked=True)


# What is said of a ratio that lies within a bound, does not, or may or may not.
_WITHIN = {True: "", False: ", not within {bound:.2%}", None: ", undecided about {bound:.2%}"}


@dataclass(frozen=True)
class Case:
    """A rule as it is used, with a decoupled weight decay or none."""

    name: str
    rule: Rule
    decay: float = 0.0


@dataclass(frozen=True)
class Regime:
    """A way to train: examples in a mini-batch, epochs, and epochs a record; the last is measured."""

    name: str
    batch: int
    epochs: int
    epochs_per_record: int


@dataclass(frozen=True)
class Look:
    """A format's bound of the mean ratio, and the style of its line."""

    bound: float
    style: Style


def ratio_of(logs: Costs) -> Estimate:
    """Estimate a ratio from its logarithms by seed, two at least, by Student's interval of their mean."""
    n, mean = len(logs), float(logs.mean())
    half = float(stats.t.ppf(0.975, n - 1) * logs.std(ddof=1) / math.sqrt(n))
    return Estimate(math.exp(mean), (math.exp(mean - half), math.exp(mean + half)))


def spread_of(logs: Costs) -> float:
    """Return how far from 0 the mean of such a sample lies in 19 of 20 cases, where chance alone acts."""
    n = len(logs)
    return float(stats.t.ppf(0.975, n) * math.sqrt((logs**2).mean() / n))


def refusal(rule: Rule, state_format: str) -> str:
    """Return why the optimizer refuses this rule with such state; empty where it does not."""
    try:
        Optimizer([torch.zeros(1)], rule, state_format=state_format)
    except ValueError as error:
        return str(error)
    return ""


@dataclass(frozen=True)
class BarPanel:
    """Every case in every regime and format, and once more in float32 from a start moved by one unit.

    Args:
        title, note: as in `FormatPanel`.
        problem, options: see `Training`.
        regimes, cases: what is run.
        formats: the formats by name.
        seeds: each runs with each of them, two at least.
    """

    title: str
    note: str
    problem: str
    options: Mapping[str, Option]
    regimes: Sequence[Regime]
    cases: Sequence[Case]
    formats: Mapping[str, Look]
    seeds: Sequence[int]

    def runs_of(self, regime: Regime, case: Case, name: str) -> list[Run]:
        """Return the runs in a format, float32 or `NUDGED`, one a seed; none where the format is refused."""
        if name in self.formats and refusal(case.rule, name):
            return []
        phase: dict[str, Option] = {"decoupled_weight_decay": True} if case.decay else {}
        if name in self.formats:
            phase["state_format"] = name
        options, data = problems.fields(self.problem, self.options)
        fixed = (self.problem, options, data, case.rule, "constant", case.decay, regime.batch, regime.epochs)
        more = tuple(sorted(phase.items()))
        each = regime.epochs_per_record
        return [
            Training(
                *fixed, seed=seed, phase=more, epochs_per_record=each, nudge=1 + seed if name == NUDGED else 0
            )
            for seed in self.seeds
        ]

    def _names(self) -> list[str]:
        return [BASE, NUDGED, *self.formats]

    def runs(self, records: Records = NONE, failed: Collection[Run] = ()) -> list[Run]:
        return [
            run
            for regime in self.regimes
            for case in self.cases
            for name in self._names()
            for run in self.runs_of(regime, case, name)
        ]

    def logs(self, regime: Regime, case: Case, name: str, records: Records) -> Costs | None:
        """Return the logarithms of ratios by seed, infinite where a run diverged; None without records."""
        pair = [[records.get(run) for run in self.runs_of(regime, case, each)] for each in (BASE, name)]
        if not pair[1] or any(record is None for each in pair for record in each):
            return None
        base, costs = (np.array([_final(r) for r in each if r is not None]) for each in pair)
        logs: Costs = np.where(np.isfinite(costs), np.log(costs) - np.log(base), np.inf)
        return logs

    def tables(self, records: Records) -> list[Table]:
        return [
            Table(
                f"{self.title}, {regime.name}, {self.note}",
                [
                    row
                    for place, case in enumerate(self.cases, 1)
                    for row in self._rows(place, regime, case, records)
                ],
                [self.judge(regime, name, records) for name in self.formats],
            )
            for regime in self.regimes
        ]

    def _rows(self, place: int, regime: Regime, case: Case, records: Records) -> list[Mapping[str, Cell]]:
        return [
            {
                "rule": f"{place}. {case.name}",
                "lr": case.rule.lr,
                "state": name,
                **self._cells(regime, case, name, records),
            }
            for name in (NUDGED, *self.formats)
        ]

    def _cells(self, regime: Regime, case: Case, name: str, records: Records) -> Mapping[str, Cell]:
        logs = self.logs(regime, case, name, records)
        found = [records.get(run) for run in self.runs_of(regime, case, BASE)]
        base = float(np.mean([_final(r) for r in found if r])) if all(found) else None
        known = logs is not None and bool(np.isfinite(logs).all())
        ratio = ratio_of(logs) if logs is not None and known else Estimate(math.nan)
        low, high = ratio.interval or (None, None)
        return {
            "float32_cost": base,
            "of_float32": ratio.value if known else None,
            "low": low,
            "high": high,
            "remarks": "refused" if name in self.formats and refusal(case.rule, name) else "",
        }

    def bound(self, regime: Regime, case: Case, name: str, records: Records) -> float:
        """Return the larger of the format's bound and float32's own spread, as logarithms."""
        nudged = self.logs(regime, case, NUDGED, records)
        spread = spread_of(nudged) if nudged is not None and np.isfinite(nudged).all() else 0.0
        return max(math.log1p(self.formats[name].bound), spread)

    def judge(self, regime: Regime, name: str, records: Records) -> Finding:
        """Judge a format's bound over all cases that it is fit for."""
        within = f"within {self.formats[name].bound:.0%} of {BASE}'s, or within {BASE}'s own spread"
        claim = f"{regime.name}: the final training loss with {name} state is {within}, for each rule"
        fit = [case for case in self.cases if not refusal(case.rule, name)]
        logs = {case: self.logs(regime, case, name, records) for case in fit}
        missing = [case.name for case, each in logs.items() if each is None]
        if missing or not fit:
            return Finding(claim, SOURCE, f"no finished runs of {', '.join(missing)}", "not measured")
        parts, held = [], []
        for case, each in logs.items():
            assert each is not None
            bound = self.bound(regime, case, name, records)
            finite = bool(np.isfinite(each).all())
            ratio = ratio_of(each) if finite else Estimate(math.inf)
            held.append(ratio.within(math.exp(-bound), math.exp(bound)))
            measured = f"{ratio:.4f} ×" if finite else "diverged"
            parts.append(f"{case.name} {measured}" + _WITHIN[held[-1]].format(bound=bound))
        parts.sort(key=lambda part: ("not within" not in part, "undecided" not in part))
        return Finding(claim, SOURCE, "; ".join(parts), verdict(held))

    def charts(self, records: Records) -> list[list[Chart]]:
        return [[self._chart(place, regime, records)] for place, regime in enumerate(self.regimes)]

    def _chart(self, place: int, regime: Regime, records: Records) -> Chart:
        looks = {NUDGED: _NUDGED_STYLE, **{name: look.style for name, look in self.formats.items()}}
        lines = []
        for name, style in looks.items():
            found = [self.logs(regime, case, name, records) for case in self.cases]
            none = np.full(len(self.seeds), np.nan)
            ratios = [
                none if logs is None else np.exp(np.where(np.isinf(logs), np.nan, logs)) for logs in found
            ]
            if any(logs is not None for logs in found):
                lines.append(Line(name, np.arange(1.0, len(found) + 1), np.transpose(ratios), style))
        levels = [
            Level(
                f"bound for {name}: ±{look.bound:.0%}" if side > 0 else "",
                (1 + look.bound) ** side,
                Style(look.style.color, "dot"),
            )
            for name, look in self.formats.items()
            for side in (1, -1)
        ]
        title = self.title if place == 0 else ""
        y = f"final training loss ÷ {BASE}'s"
        return Chart(
            title,
            f"{regime.name}; {self.note}",
            "rule, as numbered in the table",
            y,
            lines,
            levels,
            whole_x=True,
            finding=_farthest(lines),
        )


def _farthest(lines: Sequence[Line]) -> str:
    """Say how far from 1 the mean ratios of each format are at most."""
    parts = []
    for line in lines:
        off = np.abs(line.mean - 1)
        if np.isfinite(off).any():
            parts.append(f"{line.name} {np.nanmax(off):.1%}")
    return f"Farthest from {BASE}: {', '.join(parts)}" if parts else ""


def _final(record: Record) -> float:
    """Return the cost over the last record, infinite where the run diverged."""
    cost = record["epochs"][-1]["cost"]
    return math.inf if record["status"] == "diverged" or cost is None else float(cost)
