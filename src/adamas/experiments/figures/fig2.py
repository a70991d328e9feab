"""Figure 2: training cost of a network of two hidden layers (Kingma & Ba 2014, section 6.2).

Everything the paper leaves open is chosen here and in `_grid`, beforehand, and marked "open". The paper
gives: MNIST; two fully connected hidden layers of 1,000 rectified linear units; mini-batches of 128; (a) with
dropout, 200 epochs; (b) a deterministic cross-entropy with L2 weight decay, Adam beside SFO.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from adamas.rules import Adam

from ..charts import Chart
from ..findings import Cell, Finding, Table, verdict
from ..problems import Option
from ..records import Records
from ..runs import Run
from . import NONE, Figure
from ._compare import Claim, Comparison
from ._grid import DIGITS_SHIFT, adadelta, adagrad, adam, nesterov, powers, rmsprop
from ._search import halvings
from ._sfo import AUTHORS, LossCurve, SfoComparison, charts, excess, step_ratio
from ._training import Grid, TrainingPanel

BATCH = 128
DROPOUT = 0.5  # open; of the hidden units
L2 = 1e-4  # open
DEFAULT = Adam()

# The grids of a fixed α, in powers of ten: open. AdaDelta's own is 1.
ADAPTIVE = (-4.0, -3.5, -3.0, -2.5, -2.0)
ADAGRAD = (-3.0, -2.5, -2.0, -1.5, -1.0)
NESTEROV = (-2.5, -2.0, -1.5, -1.0, -0.5)
ADADELTA = (-1.0, -0.5, 0.0, 0.5, 1.0)
WHOLE, INNER = slice(None), slice(1, -1)  # of a grid

# The threshold for "slower" is our choice, made beforehand: the factor of Figure 1, of the mean excess cost.
SLOWER = (1.5, math.inf)
STEP = (5.0, 10.0)  # the paper's: how many times as long an iteration of SFO takes
# Linear: the same bytes a mini-batch, whatever their number. The part that does not depend on it, a copy of
# x, is a thirtieth of the state at most: with 10 mini-batches, there is room for 30 vectors as long.
ALIKE = 0.1
# A method that converges, however slowly, goes some share of the way down that another goes; one that goes
# up, stays where it is or stops early does not. Where to draw the line is open: here at half of the way.
WAY = 0.5
ONE_SEED = "; one seed: no interval"  # of panel (b)
# Measured once, by hand, on the demo's problem: no code of theirs is here.
THEIRS = (
    "the implementation by SFO's authors, on the demo's problem with 12 to 40 mini-batches and 10 % or 50 % "
    "dropout, stays where it starts for 30 epochs: of it the claim holds, and its manual says that noise "
    "breaks it"
)


def grids(part: slice, shift: float = 0.0) -> dict[str, Grid]:
    """Return this part of each optimizer's grid, moved by so many powers of ten."""

    def lrs(exponents: Sequence[float]) -> list[float]:
        return powers(exponents[part], shift)

    return {
        "AdaGrad": Grid(adagrad(lrs(ADAGRAD)), "constant"),
        "RMSProp": Grid(rmsprop(lrs(ADAPTIVE)), "constant"),
        "SGD Nesterov": Grid(nesterov(lrs(NESTEROV)), "constant"),
        "AdaDelta": Grid(adadelta(lrs(ADADELTA)), "constant"),
        "Adam": Grid(adam(lrs(ADAPTIVE)), "constant"),
    }


FASTEST = Claim(
    "with dropout, Adam converges faster than the other methods",
    "section 6.2, Figure 2 (a)",
    [Comparison(other, "Adam", *SLOWER) for other in ("AdaGrad", "RMSProp", "SGD Nesterov", "AdaDelta")],
)


def dropout(data: str, note: str, width: int, epochs: int, chosen: Mapping[str, Grid]) -> TrainingPanel:
    """Return panel (a)."""
    return TrainingPanel(
        title="(a) Two hidden layers with dropout",
        note=note,
        cost="training cost (mini-batch NLL, dropout)",
        problem="images_mlp",
        options={"data": data, "dropout": DROPOUT, "width": width},
        l2=0.0,  # open: the paper names L2 decay for the deterministic cost
        batch=BATCH,
        epochs=epochs,
        seeds=[0],
        grids=chosen,
        claims=[FASTEST],
        records_per_epoch=4,
        rungs=halvings(epochs),
    )


def comparison(
    data: str,
    note: str,
    width: int,
    epochs: int,
    batch: int,
    counts: Sequence[int],
    chosen: Mapping[str, Grid],
) -> SfoComparison:
    """Return panel (b). SFO's authors advise 25 mini-batches and more; the last of `counts` makes so many."""
    options: dict[str, Option] = {"data": data, "width": width}
    return SfoComparison(
        "(b) Two hidden layers, L2 decay",
        note,
        "images_mlp",
        options,
        L2,
        batch,
        epochs,
        counts,
        chosen["Adam"].rules,
        DEFAULT,
        DROPOUT,
    )


def faster(paths: Mapping[str, LossCurve], by_time: bool) -> Finding:
    """Judge whether Adam is ahead of SFO, by epoch or by wall time."""
    by = "wall time" if by_time else "the number of iterations"
    claim, source = f"Adam makes faster progress than SFO by {by}", "section 6.2, Figure 2 (b)"
    if len(paths) < 2:
        return Finding(claim, source, "not both have finished runs", "not measured")
    sfo = paths["SFO"]
    diverged = f"SFO diverged in epoch {sfo.epoch[-1]:g}" if sfo.diverged else ""
    if len(sfo.finite().epoch) < 2:
        return Finding(claim, source, f"{diverged}: there is nothing to compare", "not measured")
    means = excess(paths, by_time)
    ratio = means["SFO"] / means["Adam"]
    over = "the wall time that the faster one took" if by_time else "the epochs"
    until = f" until {diverged}" if diverged else ""
    said = f"SFO has {ratio:.2f} × the mean excess objective of Adam over {over}{until}"
    measured = f"{said} (our threshold: at least {SLOWER[0]:g}){ONE_SEED}"
    return Finding(claim, source, measured, verdict([SLOWER[0] <= ratio <= SLOWER[1]]))


def slower_step(paths: Mapping[str, LossCurve], batch: int) -> Finding:
    """Judge whether an iteration of SFO takes 5 to 10 times as long."""
    claim, source = "SFO is 5-10 × slower an iteration than Adam", "section 6.2"
    if len(paths) < 2:
        return Finding(claim, source, "not both have finished runs", "not measured")
    adam, sfo = paths["Adam"], paths["SFO"]
    ratio = step_ratio(sfo, adam)
    measured = (
        f"{ratio:.1f} ×, over epochs: {sfo.step * 1e3:.3g} ms and {adam.step * 1e3:.3g} ms an iteration of "
        f"{batch} examples, gradient included, on one thread, with {sfo.batches} mini-batches"
    )
    return Finding(claim, source, measured, verdict([ratio.within(*STEP)]))


def linear_memory(paths: Sequence[LossCurve], counts: int) -> Finding:
    """Judge whether SFO's memory grows linearly over so many different numbers of mini-batches.

    A run that diverged is left out: it may have ended before its memory was full.
    """
    claim, source = "the memory of SFO is linear in the number of mini-batches", "section 6.2"
    done = [path for path in paths if not path.diverged]
    if len(done) < counts:
        missing = f"of {counts} numbers of mini-batches, {counts - len(paths)} have no record"
        told = f"{missing}, and with {len(paths) - len(done)} SFO diverged"
        return Finding(claim, source, told, "not measured")
    each = np.array([path.memory / path.batches for path in done])
    listed = ", ".join(f"{path.memory / 2**20:.3g} MiB with {path.batches}" for path in done)
    spread = float(each.max() / each.min() - 1)
    measured = f"{listed}: the same a mini-batch but for {spread:.0%} (our threshold: at most {ALIKE:.0%})"
    return Finding(claim, source, measured, verdict([spread <= ALIKE]))


def fails_under_dropout(paths: Mapping[str, LossCurve]) -> Finding:
    """Judge whether SFO, with each of two first steps, does not converge where mini-batches have noise."""
    claim, source = "SFO does not converge under dropout", "section 6.2"
    if len(paths) < 3:
        return Finding(claim, source, "not all have finished runs", "not measured")
    adam = paths["Adam"]
    if adam.diverged:
        return Finding(claim, source, f"Adam diverged in epoch {adam.epoch[-1]:g}", "not measured")
    start = adam.objective[0]
    way = float(start - adam.objective[-1])
    went = f"from {start:.3g} to {adam.objective[-1]:.3g}"
    if not way > 0:
        told = f"Adam's objective without noise did not go down: {went}"
        return Finding(claim, source, told, "not measured")
    said, parts = [f"Adam's objective without noise went {went}"], []
    for name, sfo in ((name, paths[name]) for name in ("SFO", AUTHORS)):
        share = -math.inf if sfo.diverged else float(start - sfo.objective[-1]) / way
        parts.append(share < WAY)
        if sfo.diverged:
            said.append(f"{name}: diverged in epoch {sfo.epoch[-1]:g}")
        else:
            ends = f"to {sfo.objective[-1]:.3g}, at its lowest {sfo.objective.min():.3g}"
            said.append(f"{name}: {ends}, {share:.0%} of that way (our threshold: under {WAY:.0%})")
    return Finding(claim, source, f"{'; '.join(said)}{ONE_SEED}; {THEIRS}", verdict(parts))


def table(panel: SfoComparison, records: Records) -> Table:
    """Return the table of panel (b)."""
    best, rivals, noisy = panel.best(records), panel.rivals(records), panel.under_dropout(records)
    lacking = panel.lacking(records)
    rows: list[Mapping[str, Cell]] = []
    if best:
        lrs = [rule.lr for rule in panel.rules]
        edge = "best α lies at the edge of the grid" if best[0].lr in (min(lrs), max(lrs)) else ""
        remarks = "; ".join(each for each in (edge, lacking) if each)
        name = ", ".join([f"Adam, α = {best[0].lr:g}", *Grid(panel.rules).chosen(best[0])])
        rows.append(_row(name, best[1], remarks))
    rows += [_row("SFO", path, "") for path in panel.by_count(records)]
    rows += [_row(f"{name}, dropout", path, "") for name, path in noisy.items()]
    of_rivals = (
        faster(rivals, by_time=False),
        faster(rivals, by_time=True),
        slower_step(rivals, panel.batch),
    )
    findings = [
        *(each.unless(lacking and f"Adam: {lacking}") for each in of_rivals),
        linear_memory(panel.by_count(records), len(panel.counts)),
        fails_under_dropout(noisy),
    ]
    return Table(f"{panel.title}, {panel.note}", rows, findings)


def _row(name: str, path: LossCurve, remarks: str) -> Mapping[str, Cell]:
    final = float(path.objective[-1])
    return {
        "optimizer": name,
        "mini_batches": path.batches,
        "ms_an_iteration": path.step * 1e3,
        "state_mib": path.memory / 2**20,
        "state_mib_a_mini_batch": path.memory / 2**20 / path.batches,
        "final_objective": final if math.isfinite(final) else None,
        "remarks": "diverged" if path.diverged else remarks,
    }


@dataclass(frozen=True)
class Panels:
    """Panels (a) and (b), whose charts fill rows of two."""

    dropout: TrainingPanel
    comparison: SfoComparison

    def runs(self, records: Records = NONE, failed: Collection[Run] = ()) -> list[Run]:
        # The long ones first, so that no process is left alone with one at the end.
        return [*self.comparison.runs(records, failed), *self.dropout.runs(records, failed)]

    def tables(self, records: Records) -> list[Table]:
        return [*self.dropout.tables(records), table(self.comparison, records)]

    def charts(self, records: Records) -> list[list[Chart]]:
        [[first], [sweep]] = self.dropout.charts(records)
        every = [first, sweep, *charts(self.comparison, records)]
        return [every[start : start + 2] for start in range(0, len(every), 2)]


DIGITS = "scikit-learn's digits, {} images (not MNIST); 100 units a layer"
MNIST = "MNIST, {} images; 1,000 units a layer"
FEW, ALL = "6,016 of 60,000", "60,000"
DEMO = grids(INNER, DIGITS_SHIFT)
FIGURE = Figure(
    "Figure 2 of Adam: cost of a network with two hidden layers",
    {
        # An epoch of SFO takes time as the square of the number of mini-batches: the quick one has a tenth.
        "demo": [
            Panels(
                dropout("digits", DIGITS.format("1,437"), 100, 30, DEMO),
                comparison("digits", DIGITS.format("1,437"), 100, 30, 48, [480, 960, 1_437], DEMO),
            )
        ],
        "quick": [
            Panels(
                dropout("mnist", MNIST.format(ALL), 1_000, 3, grids(INNER)),
                comparison("mnist", MNIST.format(FEW), 1_000, 10, BATCH, [1_536, 3_072, 6_016], grids(INNER)),
            )
        ],
        "paper": [
            Panels(
                dropout("mnist", MNIST.format(ALL), 1_000, 200, grids(WHOLE)),
                comparison(
                    "mnist", MNIST.format(ALL), 1_000, 200, BATCH, [6_016, 24_064, 60_000], grids(WHOLE)
                ),
            )
        ],
    },
)
