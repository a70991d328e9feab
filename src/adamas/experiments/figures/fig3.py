"""Figure 3: training cost of a convolutional network, c64-c64-c128-1000 (Kingma & Ba 2014, section 6.3).

Everything the paper leaves open is chosen here and in `_grid`, and marked "open". The paper gives: CIFAR-10,
whitened; the network; dropout noise on the input and on the fully connected layer, or none; mini-batches of
128; the first 3 epochs, and 45.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .. import problems
from ..charts import BLUE, GREEN, ORANGE, Chart, Dash, Level, Line, Style
from ..datasets import cifar10
from ..findings import Finding, Table, verdict
from ..problems import Option
from ..records import Records
from ..runs import Run
from . import NONE, Figure
from ._compare import Claim, Comparison, Curve, compare, excess_cost, mean_cost, ranking
from ._grid import BETA2S, EPS, adagrad, adam, nesterov
from ._search import halvings
from ._training import Grid, TrainingPanel, line, rows

BATCH = 128
L2 = 0.0  # open: section 6.3 names none
SCHEDULE = "constant"  # open: section 6.3 names none

# Open: the rates of dropout on the input and on the fully connected layer, by variant.
VARIANTS: Mapping[str, tuple[float, float]] = {"": (0.0, 0.0), " + dropout": (0.2, 0.5)}
DASHES: Mapping[str, Dash] = {"": "solid", " + dropout": "dash"}
COLORS = {"AdaGrad": GREEN, "SGD Nesterov": ORANGE, "Adam": BLUE}

LOOKS = {name: Style(color) for name, color in COLORS.items()}

INITIAL = 3  # epochs: the left panel
ENOUGH = 15  # epochs, a third of the paper's, before what happens "eventually" can be judged

# The meaning of the paper's words is our choice, made beforehand. For the mean excess cost over the first
# epochs: the factor between "alike" and "slower" in Figure 1.
AS_FAST = (0.0, 1.5)
# For the final cost, which the right panel shows on a logarithmic axis.
CONSIDERABLY_SLOWER = (2.0, math.inf)
MARGINALLY_BETTER = (1 / 1.5, 1.0)
VANISHED = 0.5  # share of the parameters: then ε decides most stepsizes

INITIALLY = Claim(
    "Adam and AdaGrad both make rapid progress lowering the cost in the initial stage",
    "section 6.3, Figure 3 (left)",
    [Comparison("Adam", "SGD Nesterov", *AS_FAST), Comparison("AdaGrad", "SGD Nesterov", *AS_FAST)],
)
EVENTUALLY = [
    Claim(
        "Adam and SGD Nesterov eventually converge considerably faster than AdaGrad",
        "section 6.3, Figure 3 (right)",
        [
            Comparison("AdaGrad", "Adam", *CONSIDERABLY_SLOWER),
            Comparison("AdaGrad", "SGD Nesterov", *CONSIDERABLY_SLOWER),
        ],
    ),
    Claim(
        "Adam shows marginal improvement over SGD with momentum",
        "section 6.3, Figure 3 (right)",
        [Comparison("Adam", "SGD Nesterov", *MARGINALLY_BETTER)],
    ),
]
VANISHING = "v̂ vanishes to zeros after a few epochs and is dominated by ε"


@dataclass(frozen=True)
class Convolutional:
    """The networks of a preset, with and without dropout, and their charts.

    Args:
        data, count, channels, units: the problem's options (see `problems.images_cnn`).
        epochs: passes over the training set.
        records_per_epoch: see `Training`.
        adam, adagrad, sgd: the stepsizes of the optimizers' grids, ascending: open.
    """

    data: str
    count: int
    channels: int
    units: int
    epochs: int
    records_per_epoch: int
    adam: Sequence[float]
    adagrad: Sequence[float]
    sgd: Sequence[float]

    def grids(self) -> dict[str, Grid]:
        """Return the grid of each optimizer."""
        return {
            "AdaGrad": Grid(adagrad(self.adagrad), SCHEDULE),
            "SGD Nesterov": Grid(nesterov(self.sgd), SCHEDULE),
            "Adam": Grid(adam(self.adam, BETA2S[:1]), SCHEDULE, observers=("vanished",)),
        }

    def network(self) -> str:
        """Return the network as the paper writes it: channels, and units of the fully connected layer."""
        return f"c{self.channels}-c{self.channels}-c{2 * self.channels}-{self.units}"

    def note(self) -> str:
        """Return the facts about the data that a reader must know."""
        if self.data != "cifar10":
            return "patches of scikit-learn's two photographs (not CIFAR-10)"
        _, data = problems.fields("images_cnn", self._options(0.0, 0.0))
        count = min(self.count, cifar10.train_count(data))
        images = f"{count:,}" if count == cifar10.ALL else f"{count:,} of the {cifar10.ALL:,}"
        return f"CIFAR-10, {images} training images"

    def panels(self) -> dict[str, TrainingPanel]:
        """Return a panel for each variant: each finds its own best stepsizes."""
        return {
            name: TrainingPanel(
                title=f"{self.network()}{name or ', no dropout'}",
                note=self.note(),
                cost="training cost (mini-batch NLL)",
                problem="images_cnn",
                options=self._options(*rates),
                l2=L2,
                batch=BATCH,
                epochs=self.epochs,
                seeds=[0],
                grids=self.grids(),
                claims=[],
                records_per_epoch=self.records_per_epoch,
                rungs=halvings(self.epochs),
            )
            for name, rates in VARIANTS.items()
        }

    def _options(self, dropout_input: float, dropout_units: float) -> dict[str, Option]:
        return {
            "data": self.data,
            "count": self.count,
            "channels": self.channels,
            "units": self.units,
            "dropout_input": dropout_input,
            "dropout_units": dropout_units,
        }

    def runs(self, records: Records = NONE, failed: Collection[Run] = ()) -> list[Run]:
        return [run for panel in self.panels().values() for run in panel.runs(records, failed)]

    def tables(self, records: Records) -> list[Table]:
        return [
            table
            for panel in self.panels().values()
            for curves in [panel.curves(records)]
            for table in (_table(panel, curves), *panel.searched(curves))
        ]

    def charts(self, records: Records) -> list[list[Chart]]:
        curves = {name: panel.curves(records) for name, panel in self.panels().items()}
        early = {
            name: {each: curve.until(INITIAL) for each, curve in of_variant.items()}
            for name, of_variant in curves.items()
        }
        first = _costs(f"{self.network()}, the first {INITIAL} epochs", self, early)
        whole = _costs(f"{self.network()}, {self.epochs} epochs", self, curves)
        sweeps = [panel.sweep(records, LOOKS) for panel in self.panels().values()]
        vanishing = [_share(self, curves), _root(self, curves)]
        later = [] if self.epochs <= INITIAL else [dataclasses.replace(whole, log_y=True)]
        return [[first, *later], sweeps, vanishing]


Variants = Mapping[str, Mapping[str, Curve]]


def _costs(title: str, size: Convolutional, curves: Variants) -> Chart:
    lines = [
        _line(size, variant, name, "cost", curve)
        for variant, of_variant in curves.items()
        for name, curve in of_variant.items()
    ]
    found = [
        f"{name.removeprefix(' + ') or 'no dropout'}: {ranking(each)}"
        for name, each in curves.items()
        if ranking(each)
    ]
    said, cost = "; ".join(found), "training cost (mini-batch NLL)"
    return Chart(title, size.note(), "epoch", cost, lines, whole_x=True, finding=said, clip=True)


def _share(size: Convolutional, curves: Variants) -> Chart:
    lines = _of_adam(size, curves, "vanished")
    finding = f"√v̂ < ε: at most {_highest(lines):.2%} of the parameters" if lines else ""
    y = "share of parameters with √v̂ < ε"
    return Chart("Vanished second moments", "", "epoch", y, lines, whole_x=True, finding=finding)


def _root(size: Convolutional, curves: Variants) -> Chart:
    """Chart the distance from vanishing: the share alone says nothing where it is zero."""
    lines = _of_adam(size, curves, "median_root_v")
    levels = [Level("ε", EPS, Style("#000000", "dot"))]
    low = min((float(np.nanmin(each.values)) for each in lines), default=np.nan)
    finding = f"The median √v̂ is at least {low / EPS:.2g} × ε" if lines else ""
    chart = Chart("Second moments", "", "epoch", "median √v̂", lines, levels, finding=finding)
    return dataclasses.replace(chart, log_y=True, whole_x=True)


def _highest(lines: Sequence[Line]) -> float:
    return max(float(np.nanmax(each.values)) for each in lines)


def _of_adam(size: Convolutional, curves: Variants, measure: str) -> list[Line]:
    return [
        _line(size, variant, "Adam", measure, of_variant["Adam"])
        for variant, of_variant in curves.items()
        if "Adam" in of_variant
    ]


def _line(size: Convolutional, variant: str, name: str, measure: str, curve: Curve) -> Line:
    style = Style(COLORS[name], DASHES[variant])
    return line(size.grids()[name], name + variant, curve, measure, style)


def _table(panel: TrainingPanel, curves: Mapping[str, Curve]) -> Table:
    vanished = curves["Adam"].last("vanished") if "Adam" in curves else None
    found = [
        {**row, "vanished": vanished if row["optimizer"] == "Adam" else None} for row in rows(panel, curves)
    ]
    return Table(f"{panel.title}, {panel.note}", found, findings(panel.epochs, curves))


def findings(epochs: int, curves: Mapping[str, Curve]) -> list[Finding]:
    """Judge the paper's claims by the curves of a variant, so many epochs long."""
    early = {name: curve.until(INITIAL) for name, curve in curves.items()}
    ends = {name: curve.last_epoch() for name, curve in curves.items()}
    final = f"final cost, after {epochs} epochs,"
    early_to_tell = "too early to tell" if epochs < ENOUGH else ""
    eventually = [compare(claim, ends, mean_cost, final).unless(early_to_tell) for claim in EVENTUALLY]
    initially = compare(INITIALLY, early, excess_cost, f"mean excess cost, over {INITIAL} epochs,")
    return [initially, *eventually, _vanishing(curves.get("Adam"))]


def _vanishing(adam: Curve | None) -> Finding:
    source = "section 6.3"
    if adam is None:
        return Finding(VANISHING, source, "no finished run of Adam", "not measured")
    said, held = [], []
    for curve in (adam.until(INITIAL), adam):
        epoch, share = curve.last("epoch"), curve.last("vanished")
        held.append(share >= VANISHED)
        said.append(
            f"after {epoch:g} epochs √v̂ < ε for {share:.2%} of the parameters, median √v̂ "
            f"{curve.last('median_root_v'):.1e}"
        )
    measured = f"{'; '.join(dict.fromkeys(said))} (our threshold: at least {VANISHED:.0%}; ε = {EPS:g})"
    return Finding(VANISHING, source, measured, verdict(held)).unless(adam.lacking())


FIGURE = Figure(
    "Figure 3 of Adam: cost of a convolutional network",
    {
        "demo": [
            Convolutional(
                data="photos",
                count=cifar10.ALL,
                channels=8,
                units=64,
                epochs=15,
                records_per_epoch=2,
                adam=(1e-3, 3e-3, 1e-2),
                adagrad=(1e-2, 3e-2, 1e-1),
                sgd=(1e-2, 3e-2, 1e-1),
            )
        ],
        "quick": [
            Convolutional(
                data="cifar10",
                count=10_000,
                channels=64,
                units=1_000,
                epochs=3,
                records_per_epoch=4,
                adam=(3e-4, 1e-3),
                adagrad=(1e-3, 3e-3),
                sgd=(1e-2, 3e-2),
            )
        ],
        "paper": [
            Convolutional(
                data="cifar10",
                count=cifar10.ALL,
                channels=64,
                units=1_000,
                epochs=45,
                records_per_epoch=4,
                adam=(1e-4, 3e-4, 1e-3, 3e-3),
                adagrad=(1e-3, 3e-3, 1e-2, 3e-2),
                sgd=(3e-3, 1e-2, 3e-2, 1e-1),
            )
        ],
    },
)
