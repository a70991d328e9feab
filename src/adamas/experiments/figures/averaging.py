"""Averaging the iterates (Kingma & Ba 2014, section 7.2), on the logistic regression of Figure 1.

Everything is chosen here, beforehand. The paper gives the two averages and no experiment:

- exponential: θ̄_t = β2 θ̄_{t-1} + (1 - β2) θ_t, with bias correction θ̂_t = θ̄_t / (1 - β2^t);
- arithmetic, Polyak and Ruppert's: the mean of θ_1 to θ_t, which is the limit of θ̂_t for β2 to 1.

The exponential average reaches back about 1 / (1 - β2) steps. Adam's own β2 = 0.999 suits MNIST, where
that is two epochs; the demo's few images have 12 steps an epoch and 540 in all, of which 0.999 would average
nearly all, as the arithmetic mean does. So the demo averages with 0.99, over about eight epochs.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from adamas.rules import Adam

from .. import problems
from ..bootstrap import Estimate, caveat, estimate, ratio_of
from ..charts import BLUE, GREEN, SKY, Chart, Line, Style, by_epoch
from ..findings import Cell, Finding, Table, verdict
from ..records import Records
from ..runs import Run
from ..runs.training import Training
from . import NONE, Figure
from .fig1 import BATCH, L2

ITERATE, EXPONENTIAL, ARITHMETIC = "last iterate", "exponential average", "arithmetic mean"
# Close enough to 1: weights of 30,000 steps differ from equal ones by less than a part in 30,000, and 1 -
# β2^t still has half the digits of a float.
ALL = 1 - 1e-9
STYLES = {ITERATE: Style(SKY), EXPONENTIAL: Style(BLUE), ARITHMETIC: Style(GREEN, "dashdot")}
SOURCE = "section 7.2"
CALMER = 0.5  # the threshold for "less noisy" is our choice, made beforehand: half the roughness

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Setting:
    """A stepsize of Adam, and its schedule, a key of `runs.training.SCHEDULES`."""

    lr: float
    schedule: str

    def __str__(self) -> str:
        return f"α = {self.lr:g}{'/√t' if self.schedule == 'inverse_sqrt' else ''}"


@dataclass(frozen=True)
class AveragingPanel:
    """The settings on one problem.

    Args:
        note: facts about the data that a reader must know, for the figure and the table.
        data: the name of an image set.
        settings: the settings, a column of charts each.
        decay: β2 of the exponential average.
        epochs, records_per_epoch: see `Training`.
        seeds: every setting runs with each of them; measures are means over them.
    """

    note: str
    data: str
    settings: Sequence[Setting]
    decay: float
    epochs: int
    records_per_epoch: int
    seeds: Sequence[int]

    def runs_of(self, setting: Setting, decay: float) -> list[Run]:
        """Return the runs of a setting, one a seed; the iterates do not depend on `decay`, the average's."""
        options, data = problems.fields("images_softmax", {"data": self.data})
        fixed = ("images_softmax", options, data, Adam(lr=setting.lr), setting.schedule, L2, BATCH)
        return [
            Training(
                *fixed,
                self.epochs,
                seed,
                records_per_epoch=self.records_per_epoch,
                phase=(("average", decay),),
                observers=("average",),
            )
            for seed in self.seeds
        ]

    def results(self, records: Records) -> dict[Setting, Result]:
        """Return the results by setting, where all runs are done."""
        results = {}
        for setting in self.settings:
            found = [[records.get(run) for run in self.runs_of(setting, each)] for each in (self.decay, ALL)]
            done = [[r["epochs"] for r in each if r and r["status"] == "done"] for each in found]
            if all(len(each) == len(self.seeds) for each in done):
                results[setting] = Result(done[0], done[1], self.records_per_epoch)
        return results

    def lacking(self, records: Records) -> str:
        """Return why settings have no result; empty where all have one."""
        settings = product(self.settings, (self.decay, ALL))
        found = [records.get(run) for each in settings for run in self.runs_of(*each)]
        diverged = sum(record is not None and record["status"] == "diverged" for record in found)
        counts = {"have no record": found.count(None), "diverged": diverged}
        return " and ".join(f"{n} of {len(found)} runs {reason}" for reason, n in counts.items() if n)

    def runs(self, records: Records = NONE, failed: Collection[Run] = ()) -> list[Run]:
        settings = product(self.settings, (self.decay, ALL))
        return [run for setting, decay in settings for run in self.runs_of(setting, decay)]

    def tables(self, records: Records) -> list[Table]:
        results = self.results(records)
        rows = [_row(setting, point, results.get(setting)) for setting in self.settings for point in STYLES]
        title = f"Means over the last of {self.epochs} epochs, {self.note}"
        return [Table(title, rows, judge(results, self.lacking(records)))]

    def charts(self, records: Records) -> list[list[Chart]]:
        """Return a row of training and one of test NLL, with a column for each setting."""
        results = self.results(records)
        return [
            [_chart(self, setting, results.get(setting), name) for setting in self.settings]
            for name in ("train_nll", "test_nll")
        ]


@dataclass(frozen=True)
class Result:
    """The records of a setting.

    Args:
        exponential, arithmetic: the records with that average, by seed.
        records_per_epoch: see `Training`.
    """

    exponential: Sequence[Sequence[Mapping[str, float]]]
    arithmetic: Sequence[Sequence[Mapping[str, float]]]
    records_per_epoch: int

    def measure(self, point: str, name: str) -> Array:
        """Return a measure at the iterate or an average, by seed and record."""
        epochs = self.arithmetic if point == ARITHMETIC else self.exponential
        return by_epoch(epochs, name if point == ITERATE else f"average_{name}")

    def final(self, point: str, name: str) -> Array:
        """Return a measure by seed, the mean over the last epoch's records: one record alone is noisy."""
        final: Array = self.measure(point, name)[:, -self.records_per_epoch :].mean(axis=1)
        return final

    def roughness(self, point: str) -> float:
        """Return the root mean square second difference of the training NLL over the last half of training.

        Second differences leave out the steady progress that all points share.
        """
        return float(np.sqrt(self._squares(point).mean()))

    def _squares(self, point: str) -> Array:
        """Return the mean square second difference by seed."""
        values = self.measure(point, "train_nll")
        squares: Array = np.mean(np.diff(values[:, values.shape[1] // 2 :], 2, axis=1) ** 2, axis=1)
        return squares

    def calmer(self) -> Estimate:
        """Estimate the roughness of the exponential average over that of the iterate."""

        def ratio(drawn: Array) -> Array:
            means = np.sqrt(drawn.mean(axis=1))
            return np.asarray(means[:, :1] / means[:, 1:])

        squares = np.stack([self._squares(EXPONENTIAL), self._squares(ITERATE)], axis=-1)
        (found,) = estimate(ratio, squares, ratio=True)
        return found

    def higher(self) -> Estimate:
        """Estimate the final test NLL of the iterate over that of the exponential average."""
        return ratio_of(self.final(ITERATE, "test_nll"), self.final(EXPONENTIAL, "test_nll"))


def judge(results: Mapping[Setting, Result], lacking: str) -> list[Finding]:
    """Judge the paper's two sentences, where no result is `lacking`."""
    noisy = "the last iterate is noisy, and the exponential average less so"
    better = "the exponential average generalizes better than the last iterate"
    if lacking:
        return [Finding(claim, SOURCE, lacking, "not measured") for claim in (noisy, better)]
    ratios = {setting: result.calmer() for setting, result in results.items()}
    rough = [f"{setting}: {ratio:.2f} × the roughness of the iterate" for setting, ratio in ratios.items()]
    losses = {
        setting: [result.final(point, "test_nll").mean() for point in (EXPONENTIAL, ITERATE)]
        for setting, result in results.items()
    }
    higher = {setting: result.higher() for setting, result in results.items()}
    lines = [
        f"{s}: test NLL {ours:.4f} of the average, {last:.4f} of the iterate, {higher[s]:.4f} ×"
        for s, (ours, last) in losses.items()
    ]
    # For information: the verdict is on the comparisons above.
    ours, last = (min(each) for each in zip(*losses.values(), strict=True))
    lines.append(f"each at its best stepsize here: {ours:.4f} and {last:.4f}")
    calmer = verdict([ratio.within(0, CALMER) for ratio in ratios.values()])
    lower = verdict([each.above(1) for each in higher.values()])
    said = caveat([*ratios.values()])
    threshold = f"(our threshold: at most {CALMER:g})"
    return [
        Finding(noisy, SOURCE, f"{'; '.join(rough)} {threshold}{said}", calmer),
        Finding(better, SOURCE, f"{'; '.join(lines)}{said}", lower),
    ]


def _row(setting: Setting, point: str, result: Result | None) -> Mapping[str, Cell]:
    names = ("train_nll", "test_nll", "test_error")
    finals = {name: result.final(point, name) if result else None for name in names}
    spread = finals["test_nll"]
    return {
        "stepsize": str(setting),
        "point": point,
        **{name: None if final is None else float(final.mean()) for name, final in finals.items()},
        "test_nll_deviation": None if spread is None or len(spread) < 2 else float(spread.std(ddof=1)),
        "roughness": result.roughness(point) if result else None,
    }


def _chart(panel: AveragingPanel, setting: Setting, result: Result | None, name: str) -> Chart:
    names = {ITERATE: ITERATE, EXPONENTIAL: f"{EXPONENTIAL}, β2 = {panel.decay:g}", ARITHMETIC: ARITHMETIC}
    lines = (
        [
            Line(label, result.measure(ITERATE, "epoch")[0], result.measure(point, name), STYLES[point])
            for point, label in names.items()
        ]
        if result
        else []
    )
    y = {"train_nll": "training NLL", "test_nll": "test NLL"}[name]
    last = {line.name: line.mean[-1] for line in lines}
    finding = f"{min(last, key=lambda each: last[each])} ends lowest in {y}" if last else ""
    title = f"Adam, {setting}"
    return Chart(title, panel.note, "epoch", y, lines, log_y=True, whole_x=True, finding=finding)


MNIST = "MNIST, 60,000 images"
FEW = "scikit-learn's digits, 1,437 images (not MNIST)"
# Open: Adam's default, ten times that, and with α/√t one of Figure 1's grid. The digits are few, so there are
# fewer steps, and they must be larger.
SETTINGS = (Setting(0.001, "constant"), Setting(0.01, "constant"), Setting(0.0316, "inverse_sqrt"))
LARGER = (Setting(0.01, "constant"), Setting(0.1, "constant"), Setting(0.1, "inverse_sqrt"))
FIGURE = Figure(
    "Averages of Adam's iterates, on L2-regularized logistic regression",
    {
        "demo": [AveragingPanel(FEW, "digits", LARGER, 0.99, 45, 1, [0, 1, 2, 3, 4])],
        "quick": [AveragingPanel(MNIST, "mnist", SETTINGS, 0.999, 8, 2, [0, 1, 2])],
        "paper": [AveragingPanel(MNIST, "mnist", SETTINGS, 0.999, 45, 4, [0, 1, 2, 3, 4])],
    },
)
