"""Regret: online convex optimization with Adam, and the bound of Theorem 4.1 beside it (section 4).

Everything is chosen here, beforehand. The paper has no experiment in that section; it gives
α_t = α/√t, β1,t = β1 λ^(t-1), and the bound. Costs are those of regression on random rows: what such costs
can show is that the bound holds and the rate is reached where the costs are not made to prevent it; see the
figure `counterexample` for costs that are.

Two conditions are not met to the letter. The theorem asks for ‖∇f_t(θ)‖ ≤ G at all θ in R^d, where the
gradients of least squares are bounded on the box |θ_i| ≤ 1 only (its G∞ here is that of the box). And to stay
there points are projected on the box, which Algorithm 1 does not do.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from adamas.rules import Adam

from ..bootstrap import caveat, mean_of
from ..charts import Chart, Line, styles
from ..findings import Finding, Table, verdict
from ..records import Records
from ..runs import Run
from ..runs.online import Online
from . import NONE, Figure
from ._regret import MissingRuns, RegretCurves, bound_line, guide, regret_curves

RULE = Adam(lr=1.0)  # open: half a side of the box; the β's and ε are the paper's defaults
DECAY = 0.99  # λ: open; with "close to 1, e.g. 1 - 10⁻⁸" the bound's third term is 10¹² times as large
DIMENSIONS = 10
DECADES = 2.0  # the last of T, over which the steepness is measured


@dataclass(frozen=True)
class RegretPanel:
    """One chart: an online problem, played with several seeds."""

    title: str
    problem: str
    rounds: int
    seeds: Sequence[int]

    def runs(self, records: Records = NONE, failed: Collection[Run] = ()) -> list[Online]:
        """Return the runs, one a seed."""
        options = (("dimensions", DIMENSIONS),)
        return [Online(self.problem, options, RULE, DECAY, self.rounds, seed) for seed in self.seeds]

    def findings(self, result: RegretCurves | MissingRuns) -> list[Finding]:
        """Judge the corollary and the theorem on these costs."""
        costs = self.title.partition(" ")[2].lower()
        rate = f"Adam's average regret falls as 1/√T: {costs}"
        bound = f"Adam's regret stays within the bound of the theorem: {costs}"
        sources = "section 4, Corollary 4.2", "section 4, Theorem 4.1"
        if isinstance(result, MissingRuns):
            return [
                Finding(rate, sources[0], result.text, result.rate),
                Finding(bound, sources[1], result.text, "not measured"),
            ]
        measured = result.rate(DECADES)
        shares = result.measure("regret") / result.bound()
        last = mean_of(shares[:, -1])
        # A bound must hold for every seed, so the largest share decides, and no mean.
        within = f"at most {shares.max():.2g} × the bound, on average {last:.2g} × at T = {self.rounds:,}"
        said = caveat([last])
        return [
            Finding(rate, sources[0], measured.text + said, measured.verdict),
            Finding(bound, sources[1], within + said, verdict([bool(shares.max() <= 1)])),
        ]

    def tables(self, records: Records) -> list[Table]:
        return [_table(self, regret_curves(self.runs(), records))]

    def charts(self, records: Records) -> list[list[Chart]]:
        return [[_chart(self, regret_curves(self.runs(), records))]]


NOTE = (
    f"{DIMENSIONS} random features; α = {RULE.lr:g}, λ = {DECAY:g};\n"
    "projected on |θ_i| ≤ 1 (Algorithm 1 does not), for bounded gradients"
)


def _table(panel: RegretPanel, found: RegretCurves | MissingRuns) -> Table:
    result = found if isinstance(found, RegretCurves) else None
    last = result.measure("average_regret")[:, -1] if result else None
    steepness = result.rate(DECADES).steepness if result else None
    row = {
        "rounds": panel.rounds,
        "seeds": len(panel.seeds),
        "average_regret": float(last.mean()) if last is not None else None,
        "lowest_seed": float(last.min()) if last is not None else None,
        "highest_seed": float(last.max()) if last is not None else None,
        "bound": float(result.bound()[:, -1].mean() / panel.rounds) if result else None,
        "steepness": steepness.value if steepness else None,
    }
    title = f"{panel.title}, {NOTE}".replace("\n", " ")
    return Table(title, [row], panel.findings(found))


def _chart(panel: RegretPanel, result: RegretCurves | MissingRuns) -> Chart:
    lines: list[Line] = []
    finding = ""
    if isinstance(result, RegretCurves):
        measured = Line("Adam", result.rounds, result.measure("average_regret"), styles(["Adam"])["Adam"])
        lines = [measured, guide(result), bound_line(result)]
        last, bound = measured.mean[-1], lines[-1].mean[-1]
        rate = result.rate(DECADES).steepness
        falls = f"falls as T^{rate.value:.2f}" if rate else f"ends at {last:.2g}"
        finding = f"Adam's R(T)/T {falls}; the bound is {bound / last:,.0f} × as large"
    y = "average regret R(T) / T"
    return Chart(panel.title, NOTE, "rounds T", y, lines, log_x=True, log_y=True, finding=finding)


def panels(rounds: int, seeds: Sequence[int]) -> list[RegretPanel]:
    """Return a panel for each problem."""
    return [
        RegretPanel("(a) Logistic regression", "logistic", rounds, seeds),
        RegretPanel("(b) Least squares", "least_squares", rounds, seeds),
    ]


FIGURE = Figure(
    "Regret of Adam in online convex optimization",
    {
        "demo": panels(20_000, (0, 1, 2, 3, 4)),
        "quick": panels(100_000, (0, 1, 2, 3, 4)),
        "paper": panels(1_000_000, (0, 1, 2, 3, 4)),
    },
)
