"""The cost of storing state in fewer bits: training in each format beside float32, with Adam and other rules.

Everything is chosen here, beforehand. The final cost of a run is the mean over the last epoch's mini-batches,
each as it was optimized: every format sees the same mini-batches from the same starting point, and hundreds
of them average out the noise of a single moment. The epochs are so few that the cost stays far from zero,
where a ratio would say nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adamas import formats
from adamas.rules import SGD, AdaBelief, Adam, Lion, RMSprop

from .. import problems
from ..bootstrap import ratio_of
from ..charts import BLUE, GREEN, ORANGE, SKY, Chart, Level, Line, Style, by_epoch
from ..findings import Cell, Finding, Table, verdict
from ..problems import Option
from ..records import Record, Records
from ..runs import Run
from ..runs.training import Training
from . import NONE, Figure
from ._bars import BASE, SOURCE, BarPanel, Case, Look, Regime

RULE = Adam(lr=1e-3)  # of panels (a) and (b)
# Each format, its bound of how far from float32's the final cost may lie, and its line.
_LOOKS = {
    "bfloat16": Look(0.01, Style(BLUE)),
    "float8": Look(0.02, Style(ORANGE, "dash")),
    "float4": Look(0.05, Style(GREEN, "dashdot")),
}
LOOKS = {name: look for name, look in _LOOKS.items() if name in formats.names()}
STYLES = {BASE: Style(SKY, width=4), **{name: look.style for name, look in LOOKS.items()}}
# What panel (c) trains with. The stepsizes were chosen with other seeds, by how little chance moves the cost:
# at Adam's 1e-3, bfloat16 state changes that of a seed by 0.6 % (standard deviation), at 5e-4 by 0.15 %.
CASES = (
    Case("Adam", Adam(lr=5e-4)),
    Case("Adam, β₁ = .99", Adam(lr=5e-4, beta1=0.99)),
    Case("AdamW", Adam(lr=5e-4), decay=0.1),
    Case("Lion", Lion(lr=3e-4)),
    Case("SGD, momentum .9", SGD(lr=0.02, momentum=0.9)),
    Case("SGD, momentum .99", SGD(lr=0.003, momentum=0.99)),
    Case("RMSprop", RMSprop(lr=3e-4)),
    Case("AdaBelief", AdaBelief(lr=5e-4)),
)
SEEDS = (0, 1, 2, 3, 4)
FEW = (0, 1, 2)  # for the demo
HEADS = 4


@dataclass(frozen=True)
class FormatPanel:
    """A problem, trained with the state in each format.

    Args:
        title: the title of the charts.
        note: facts about the problem that a reader must know, for the figure and the table.
        problem, options, batch, epochs, records_per_epoch: see `Training`.
        seeds: every format runs with each of them, two at least.
    """

    title: str
    note: str
    problem: str
    options: Mapping[str, Option]
    batch: int
    epochs: int
    records_per_epoch: int
    seeds: Sequence[int]

    def runs_of(self, state_format: str) -> list[Run]:
        """Return the runs with a format, one a seed."""
        options, data = problems.fields(self.problem, self.options)
        # Without the option the state is float32.
        phase = () if state_format == BASE else (("state_format", state_format),)
        fixed = (self.problem, options, data, RULE, "constant", 0.0, self.batch, self.epochs)
        each = self.records_per_epoch
        return [Training(*fixed, seed=seed, records_per_epoch=each, phase=phase) for seed in self.seeds]

    def results(self, records: Records) -> dict[str, Result]:
        """Return the results by format, where every seed has its record."""
        found = {name: [records.get(run) for run in self.runs_of(name)] for name in STYLES}
        whole = {name: [r for r in each if r is not None] for name, each in found.items()}
        return {
            name: Result(each, self.records_per_epoch)
            for name, each in whole.items()
            if len(each) == len(self.seeds)
        }

    def runs(self, records: Records = NONE, failed: Collection[Run] = ()) -> list[Run]:
        return [run for name in STYLES for run in self.runs_of(name)]

    def tables(self, records: Records) -> list[Table]:
        results = self.results(records)
        rows = [_row(name, results) for name in STYLES]
        return [Table(f"{self.title}, {self.note}", rows, [judge(name, results) for name in LOOKS])]

    def charts(self, records: Records) -> list[list[Chart]]:
        results = {name: result for name, result in self.results(records).items() if not result.diverged}
        return [[_costs(self, results)], [_ratios(self, results)]]


@dataclass(frozen=True)
class Result:
    """The records of a format, one a seed."""

    records: Sequence[Record]
    records_per_epoch: int

    @property
    def diverged(self) -> int:
        """The number of runs that diverged; where any did, there is no measure."""
        return sum(record["status"] == "diverged" for record in self.records)

    def measure(self, name: str) -> NDArray[np.float64]:
        """Return a measure by seed and record."""
        return by_epoch([record["epochs"] for record in self.records], name)

    def final(self) -> NDArray[np.float64]:
        """Return the final cost by seed (see above)."""
        last: NDArray[np.float64] = self.measure("cost")[:, -self.records_per_epoch :].mean(axis=1)
        return last


def judge(name: str, results: Mapping[str, Result]) -> Finding:
    """Judge a format's bound by the results."""
    bound = LOOKS[name].bound
    claim = f"the mean final cost with {name} state is within {bound:.0%} of that with {BASE} state"
    missing = [each for each in (BASE, name) if each not in results]
    if missing:
        return Finding(claim, SOURCE, f"no finished runs of {' and '.join(missing)}", "not measured")
    diverged = [f"{results[each].diverged} runs of {each} diverged" for each in (BASE, name)]
    if results[BASE].diverged or results[name].diverged:
        return Finding(claim, SOURCE, "; ".join(diverged), "fails")
    base, final = results[BASE].final(), results[name].final()
    # In pairs with one seed, so that the seed's effect on both formats cancels.
    ratio = ratio_of(final, base)
    measured = (
        f"{ratio:.4f} ×, over {len(base)} seeds; the seed alone changes {BASE}'s by "
        f"{base.std(ddof=1) / base.mean():.1%} (standard deviation)"
    )
    return Finding(claim, SOURCE, measured, verdict([ratio.within(1 - bound, 1 + bound)]))


def _row(name: str, results: Mapping[str, Result]) -> Mapping[str, Cell]:
    known = {each: result for each, result in results.items() if not result.diverged}
    result, base = known.get(name), known.get(BASE)
    ratios = result.final() / base.final() if result and base else None
    return {
        "state": name,
        "final_cost": float(result.final().mean()) if result else None,
        "deviation": float(result.final().std(ddof=1)) if result else None,
        "of_float32": float(result.final().mean() / base.final().mean()) if result and base else None,
        "lowest_seed": float(ratios.min()) if ratios is not None else None,
        "highest_seed": float(ratios.max()) if ratios is not None else None,
        "train_nll": float(result.measure("train_nll")[:, -1].mean()) if result else None,
        "test_nll": float(result.measure("test_nll")[:, -1].mean()) if result else None,
        "test_error": float(result.measure("test_error")[:, -1].mean()) if result else None,
    }


def _costs(panel: FormatPanel, results: Mapping[str, Result]) -> Chart:
    lines = [
        Line(f"{name} state", result.measure("epoch")[0], result.measure("cost"), STYLES[name])
        for name, result in results.items()
    ]
    y = "training cost (mini-batch NLL)"
    return Chart(panel.title, panel.note, "epoch", y, lines, log_y=True, whole_x=True)


def _ratios(panel: FormatPanel, results: Mapping[str, Result]) -> Chart:
    """Chart the costs as multiples of float32's with the same seed, and the bounds of the mean final cost."""
    base = results.get(BASE)
    lines = [
        Line(
            f"{name} state",
            base.measure("epoch")[0],
            results[name].measure("cost") / base.measure("cost"),
            STYLES[name],
        )
        for name in LOOKS
        if base and name in results
    ]
    levels = [
        Level(f"bound for {name}: ±{look.bound:.0%}" if side > 0 else "", 1 + side * look.bound, _edge(name))
        for name, look in LOOKS.items()
        for side in (1, -1)
    ]
    return Chart("", "", "epoch", f"cost ÷ {BASE}'s", lines, levels, whole_x=True)


def _edge(name: str) -> Style:
    return Style(STYLES[name].color, "dot")


def mlp(data: str, note: str, width: int, epochs: int, parts: int, seeds: Sequence[int]) -> FormatPanel:
    """Return panel (a)."""
    options: dict[str, Option] = {"data": data, "width": width}
    return FormatPanel("(a) Two hidden layers", note, "images_mlp", options, 128, epochs, parts, seeds)


def transformer(
    data: str,
    note: str,
    characters: int,
    width: int,
    layers: int,
    epochs: int,
    parts: int,
    seeds: Sequence[int],
) -> FormatPanel:
    """Return panel (b), with a context as long as the layers are wide."""
    options: dict[str, Option] = {
        "data": data,
        "characters": characters,
        "context": width,
        "width": width,
        "layers": layers,
        "heads": HEADS,
    }
    title = "(b) Character-level transformer"
    return FormatPanel(title, note, "text_transformer", options, 32, epochs, parts, seeds)


def mini(batch: int, epochs: int, last: int) -> Regime:
    """Return training on mini-batches, measured over so many of the last epochs."""
    return Regime(f"mini-batches of {batch}", batch, epochs, last)


def full(batch: int, steps: int, last: int) -> Regime:
    """Return training on the full batch, measured over so many of the last steps."""
    return Regime("full batch", batch, steps, last)


def bars(
    data: str, note: str, count: int, width: int, regimes: Sequence[Regime], cases: Sequence[Case]
) -> BarPanel:
    """Return panel (c), on the first `count` images."""
    options: dict[str, Option] = {"data": data, "width": width, "count": count}
    seeds = SEEDS if data == "mnist" else FEW
    return BarPanel("(c) Every rule", note, "images_mlp", options, regimes, cases, LOOKS, seeds)


DIGITS = "scikit-learn's digits, 1,437 images (not MNIST); 100 units a layer"
MNIST = "MNIST, 60,000 images; 1,000 units a layer"
IMDB = "text of IMDB reviews; 2 layers of width 128"
BABBLE = "SYNTHETIC text of random words (not IMDB); 1 layer of width 64"
PIXELS = "scikit-learn's digits, 1,437 images (not MNIST); 64 units a layer"
FIRST = "MNIST, its first 2,000 images; 64 units a layer"
MORE = "MNIST, its first 10,000 images; 128 units a layer"
FIGURE = Figure(
    "State in fewer bits",
    {
        "demo": [
            mlp("digits", DIGITS, 100, 20, 1, FEW),
            transformer("babble", BABBLE, 2**16, 64, 1, 4, 2, FEW),
            bars("digits", PIXELS, 1_437, 64, [mini(50, 4, 1), full(1_437, 40, 10)], [CASES[0], CASES[5]]),
        ],
        "quick": [
            mlp("mnist", MNIST, 1_000, 2, 4, SEEDS),
            transformer("imdb", IMDB, 2**19, 128, 2, 2, 4, SEEDS),
            bars("mnist", FIRST, 2_000, 64, [mini(50, 8, 2), full(2_000, 200, 20)], CASES),
        ],
        "paper": [
            mlp("mnist", MNIST, 1_000, 5, 4, SEEDS),
            transformer("imdb", IMDB, 2**22, 128, 2, 3, 8, SEEDS),
            bars("mnist", MORE, 10_000, 128, [mini(100, 8, 2), full(10_000, 400, 40)], CASES),
        ],
    },
    in_paper=False,
)
