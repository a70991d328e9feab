"""Figure 4: bias correction, on a variational auto-encoder (Kingma & Ba 2014, section 6.4).

Everything the paper leaves open is chosen here, beforehand, and marked "open". The paper gives: one hidden
layer of 500 softplus units, 50 latent dimensions; β1 in {0, 0.9}, β2 in {0.99, 0.999, 0.9999}, log10 α from
-5 to -1; the loss after 10 and 100 epochs. One run serves both epochs.

The loss is the negative evidence lower bound of training images. A run has failed by an epoch when its loss
is no longer finite, or not below what it was before the first step: a number would then say nothing.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from adamas.rules import Adam

from .. import problems
from ..charts import BLUE, ORANGE, Chart, Line, Style
from ..findings import Cell, Table
from ..problems import Option
from ..records import Records
from ..runs import Run
from ..runs.training import Training
from . import NONE, Figure
from ._correction import BETA1, BETA2, NAMES, judge
from ._grid import powers
from ._losses import Array, Losses, at_epoch

DECADES = (-5.0, -4.0, -3.0, -2.0, -1.0)
HALF_DECADES = (-5.0, -4.5, -4.0, -3.5, -3.0, -2.5, -2.0, -1.5, -1.0)
BATCH = 100  # open: Kingma & Welling's (2013)
MEASURE = "train_bound"  # open: the paper says "loss"
STYLES = {True: Style(ORANGE, marked=True), False: Style(BLUE, "dash", marked=True)}


@dataclass(frozen=True)
class Sweep:
    """The grid on one problem.

    Args:
        note: facts about the data that a reader must know, for the figure and the tables.
        options: the options of the problem `images_vae`.
        exponents: the log10 α, ascending.
        early, late: the epochs after which the loss counts; a run ends with `late`.
        seeds: every rule runs with each of them; losses are means over them.
    """

    note: str
    options: Mapping[str, Option]
    exponents: Sequence[float]
    early: int
    late: int
    seeds: Sequence[int]

    @property
    def stepsizes(self) -> list[float]:
        return powers(self.exponents)

    @property
    def settings(self) -> Iterable[tuple[float, float, float, bool]]:
        """All β1, β2, α, and whether with bias correction."""
        return product(BETA1, BETA2, self.stepsizes, (False, True))

    def runs_of(self, beta1: float, beta2: float, lr: float, corrected: bool) -> list[Run]:
        """Return the runs of a setting, one a seed."""
        options, data = problems.fields("images_vae", self.options)
        rule = Adam(lr=lr, beta1=beta1, beta2=beta2, bias_correction=corrected)
        fixed = ("images_vae", options, data, rule, "constant", 0.0, BATCH, self.late)
        return [Training(*fixed, seed=seed) for seed in self.seeds]

    def losses(self, records: Records, epoch: int) -> Losses:
        """Return the losses after this epoch."""
        flat = [at_epoch(records.get(run), epoch, MEASURE) for run in self.runs()]
        shape = (len(BETA1), len(BETA2), len(self.exponents), 2, len(self.seeds))
        return Losses(*(np.array(each).reshape(shape) for each in zip(*flat, strict=True)))

    def runs(self, records: Records = NONE, failed: Collection[Run] = ()) -> list[Run]:
        return [run for setting in self.settings for run in self.runs_of(*setting)]

    def tables(self, records: Records) -> list[Table]:
        early, late = (self.losses(records, epoch) for epoch in (self.early, self.late))
        title = f"Loss after {self.early} and {self.late} epochs, in nats, {self.note}"
        return [
            Table(
                title, _rows(self, early, late), judge({self.early: early, self.late: late}, self.stepsizes)
            )
        ]

    def charts(self, records: Records) -> list[list[Chart]]:
        """Return the paper's charts: a row for each epoch and β1, a column for each β2."""
        rows = product((self.early, self.late), range(len(BETA1)))
        losses = {epoch: self.losses(records, epoch).loss for epoch in (self.early, self.late)}
        every = np.concatenate([np.ravel(each) for each in losses.values()])
        finite = every[np.isfinite(every)]
        span = (float(finite.min()), float(finite.max())) if len(finite) else None
        return [
            [_chart(self, epoch, i, j, losses[epoch][i], span) for j in range(len(BETA2))]
            for epoch, i in rows
        ]


def _rows(sweep: Sweep, early: Losses, late: Losses) -> list[Mapping[str, Cell]]:
    rows: list[Mapping[str, Cell]] = []
    for i, j, k in np.ndindex(early.loss.shape[:3]):
        losses = {
            f"{when}_{name}": each.loss[i, j, k, corrected]
            for when, each in (("early", early), ("late", late))
            for name, corrected in (("without", 0), ("with", 1))
        }
        infinite = {name: int(np.isinf(each).sum()) for name, each in losses.items()}
        spreads = [float(np.ptp(each)) for each in losses.values() if np.isfinite(each).all()]
        rows.append(
            {
                "beta1": BETA1[i],
                "beta2": BETA2[j],
                "lr": sweep.stepsizes[k],
                **{name: _cell(each) for name, each in losses.items()},
                "largest_spread_of_seeds": max(spreads, default=None) if len(sweep.seeds) > 1 else None,
                "remarks": "; ".join(f"{name}: {count} failed" for name, count in infinite.items() if count),
            }
        )
    return rows


def _cell(of_seeds: Array) -> float | None:
    mean = float(of_seeds.mean())
    return mean if math.isfinite(mean) else None


def _chart(
    sweep: Sweep, epoch: int, i: int, j: int, losses: Array, span: tuple[float, float] | None
) -> Chart:
    """Chart the losses of a row, (β2, α, 2, seeds), at one β2, by α; a setting fails where any seed does."""
    stepsizes = np.array(sweep.stepsizes)
    lines = []
    for corrected in (True, False):
        one = losses[j, :, int(corrected)]
        finite = np.where(np.isfinite(one), one, math.nan)
        failed = stepsizes[np.isinf(one).any(axis=-1)].tolist()
        lines.append(Line(NAMES[corrected], stepsizes, finite.T, STYLES[corrected], failed=failed))
    without, corrected_too = np.isinf(losses).any(axis=-1).sum(axis=(0, 1))
    row = f"After epoch {epoch}, β1 = {BETA1[i]:g}: {without} settings fail without bias correction, "
    row = f"{row}{corrected_too} with it" if np.isfinite(losses).any() else row.partition(":")[0]
    return Chart(
        f"β2 = {BETA2[j]:g}",
        f"{sweep.note}. × at the upper edge: failed",
        "stepsize α",
        "loss (negative bound, nats)",
        lines,
        log_x=True,
        log_y=True,
        row=row if j == 0 else "",
        span=span,
    )


MNIST: Mapping[str, Option] = {"data": "mnist", "hidden": 500, "latent": 50}
DIGITS: Mapping[str, Option] = {"data": "digits", "hidden": 100, "latent": 10}
NOTE = "MNIST, 60,000 images"
FIGURE = Figure(
    "Figure 4 of Adam: bias correction on a variational auto-encoder",
    {
        "demo": [Sweep("scikit-learn's digits, 1,437 images (not MNIST)", DIGITS, DECADES, 4, 40, [0, 1, 2])],
        "quick": [Sweep(NOTE, MNIST, DECADES, 1, 3, [0])],
        "paper": [Sweep(NOTE, MNIST, HALF_DECADES, 10, 100, [0])],
    },
)
