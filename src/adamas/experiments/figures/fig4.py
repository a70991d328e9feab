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
from ..findings import Cell, Finding, Table, verdict
from ..problems import Option
from ..records import Records
from ..runs import Run
from ..runs.training import Training
from . import NONE, Figure
from ._grid import powers
from ._losses import Array, Losses, at_epoch

BETA1, BETA2 = (0.0, 0.9), (0.99, 0.999, 0.9999)
DECADES = (-5.0, -4.0, -3.0, -2.0, -1.0)
HALF_DECADES = (-5.0, -4.5, -4.0, -3.5, -3.0, -2.5, -2.0, -1.5, -1.0)
BATCH = 100  # open: Kingma & Welling's (2013)
MEASURE = "train_bound"  # open: the paper says "loss"

# The threshold for "alike", for a loss and for its fall, is our choice, made beforehand: losses that differ
# by two nats in a hundred look the same in the paper's figure.
MARGIN = 0.02
MOST = 0.75  # share of the settings: with fewer the claim does not hold even in part
# The first epochs and the end are compared only where training lasts at least until the paper's early look:
# shorter training is all beginning.
ENOUGH = 10  # epochs
SOURCE = "section 6.4, Figure 4"
STYLES = {True: Style(ORANGE, marked=True), False: Style(BLUE, "dash", marked=True)}
NAMES = {True: "with bias correction", False: "without"}


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
        return [Table(title, _rows(self, early, late), judge(self, early, late))]

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


def judge(sweep: Sweep, early: Losses, late: Losses) -> list[Finding]:
    """Judge the paper's claims by the losses."""
    claims = {
        "with bias correction Adam does as well or better at every setting": _as_well,
        "without bias correction β2 close to 1 makes training unstable": _unstable,
        "without bias correction training is least stable in the first epochs": _at_first,
        "the best results are those of small 1 - β2 with bias correction, more so towards the end": _best,
    }
    if not (early.complete and late.complete):
        return [Finding(claim, SOURCE, "runs are missing", "not measured") for claim in claims]
    by_epoch = {f"after epoch {sweep.early}": early, f"after epoch {sweep.late}": late}
    found = []
    for claim, measure in claims.items():
        text, parts = measure(sweep, by_epoch)
        finding = Finding(claim, SOURCE, text, verdict(parts) if parts else "not measured")
        over_time = measure in (_at_first, _best)
        found.append(finding.unless("too early to tell" if over_time and sweep.late < ENOUGH else ""))
    return found


# The measurement, and whether each part of the claim holds; no parts where nothing can be concluded.
Judgement = tuple[str, list[bool]]


def _as_well(sweep: Sweep, by_epoch: Mapping[str, Losses]) -> Judgement:
    """Compare at each setting; also, without a verdict, with the best α of each."""
    lines, shares = [], []
    for when, losses in by_epoch.items():
        judged = losses.judged
        if not judged.any():
            lines.append(f"{when} both failed at all {judged.size} settings")
            continue
        left_out = "" if judged.all() else f", where not both failed, as at {(~judged).sum()} more"
        gaps = np.where(judged, losses.gaps(), math.inf)
        # The condition b ≤ (1 + margin) a, in terms of the gap a / b - 1.
        good = 1 + gaps[judged] >= 1 / (1 + MARGIN)
        shares.append(good.mean())
        worst = np.unravel_index(gaps.argmin(), gaps.shape)
        best = losses.loss.mean(axis=-1).min(axis=2)
        best = best[np.isfinite(best).any(axis=-1)]
        good_at_best = best[..., 1] <= (1 + MARGIN) * best[..., 0]
        lines.append(
            f"{when} at {good.sum()} of {good.size} settings{left_out} (lowest without it, beside that with "
            f"it, at {_setting(sweep, *worst)}: {gaps[worst]:+.1%}); with the best α of each, at "
            f"{good_at_best.sum()} of {good_at_best.size} pairs of β"
        )
    return "; ".join(lines), [min(shares) == 1, min(shares) >= MOST] if shares else []


def _unstable(sweep: Sweep, by_epoch: Mapping[str, Losses]) -> Judgement:
    """Compare the harm for each β1 after the epoch where it is larger.

    It must exceed the margin at the largest β2, and be larger there than at the smallest.
    """
    largest = np.max([losses.harm() for losses in by_epoch.values()], axis=0)
    lines = []
    for beta1, harms in zip(BETA1, largest, strict=True):
        each = ", ".join(f"{harm:.1%} at β2 {beta2:g}" for beta2, harm in zip(BETA2, harms, strict=True))
        lines.append(f"lost without it, of the fall in loss, mean over α, β1 {beta1:g}: {each}")
    for when, losses in by_epoch.items():
        without, corrected = np.isinf(losses.loss).sum(axis=(0, 1, 2, 4))
        lines.append(f"failed {when}: {without} runs without it, {corrected} with")
    return "; ".join(lines), [harms[-1] > MARGIN and harms[-1] > harms[0] for harms in largest]


def _at_first(sweep: Sweep, by_epoch: Mapping[str, Losses]) -> Judgement:
    """Compare the harm at the largest β2 for each β1: beyond the margin early, and smaller late."""
    early, late = (losses.harm()[:, -1] for losses in by_epoch.values())
    first, last = by_epoch
    lines = [
        f"lost without it, of the fall in loss, mean over α, β1 {beta1:g}, β2 {BETA2[-1]:g}: "
        f"{early[i]:.1%} {first}, {late[i]:.1%} {last}"
        for i, beta1 in enumerate(BETA1)
    ]
    return "; ".join(lines), [early[i] > MARGIN and late[i] < early[i] for i in range(len(BETA1))]


def _best(sweep: Sweep, by_epoch: Mapping[str, Losses]) -> Judgement:
    """Compare the best settings: the last has both, and leads the others by more than the early one."""
    lines, leads = [], []
    for when, losses in by_epoch.items():
        mean = losses.loss.mean(axis=-1)  # infinite where any seed failed
        i = np.unravel_index(mean.argmin(), mean.shape)
        claimed = mean[:, 1:, :, 1].min()
        others = min(mean[:, 0].min(), mean[..., 0].min())
        sides = {f"with it and β2 > {BETA2[0]:g}": claimed, "of the others": others}
        failed = [f"none {name}" for name, loss in sides.items() if not math.isfinite(loss)]
        if failed:
            lines.append(f"{when} {' and '.join(failed)} succeeded: there is no lead to measure")
            continue
        leads.append(float(others / claimed - 1))
        lines.append(
            f"{when} the best, {mean[i]:.1f} nats, is {_setting(sweep, *i[:3])} {NAMES[bool(i[3])]}; "
            f"β2 > {BETA2[0]:g} with it leads all others by {leads[-1]:+.2%}"
        )
    if len(leads) < len(by_epoch):
        return "; ".join(lines), []
    return "; ".join(lines), [leads[1] > 0, leads[1] > max(leads[0], 0)]


def _setting(sweep: Sweep, i: np.intp, j: np.intp, k: np.intp) -> str:
    return f"β1 {BETA1[i]:g}, β2 {BETA2[j]:g}, α {sweep.stepsizes[k]:.3g}"


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
        "demo": [Sweep("scikit-learn's digits, 1,437 images (not MNIST)", DIGITS, DECADES, 4, 40, [0])],
        "quick": [Sweep(NOTE, MNIST, DECADES, 1, 3, [0])],
        "paper": [Sweep(NOTE, MNIST, HALF_DECADES, 10, 100, [0])],
    },
)
