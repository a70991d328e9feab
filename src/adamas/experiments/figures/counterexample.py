"""Counterexamples to Theorem 4.1: convex costs on which Adam's regret is linear (Reddi, Kale & Kumar 2018).

The convergence proof of the paper (section 4, appendix 10.1) has a gap: it sums √(t v̂_t) - √((t-1) v̂_(t-1))
as if that were never negative, but v̂ shrinks once a large gradient is forgotten. The costs here exploit it,
see `online_problems.reddi`. AMSGrad never forgets, and its regret falls. In every panel costs are convex,
gradients and distances bounded, γ = β1²/√β2 < 1, stepsizes α/√t, and momentum decays by a λ in (0, 1). But
(a), (c) and (d) project points on [-1, 1], as Reddi et al. do, and Algorithm 1 does not. (b) does not: there
every condition of the theorem is met as it is printed.

(a) is their Theorem 1 with C = 3: β1 = 0, β2 = 1/(1 + C²), and α below √(1 - β2) = .949. (b) is the same with
momentum that decays, α = 1, and costs that need no projection, which their paper does not have. In both,
gradients, β1 and λ are so small that the bound itself is soon exceeded. (c) and (d) are their section 5, β1 =
.9 and β2 = .99; there we let β1 decay as the theorem asks, and they do not. With gradients of 1010 no run is
long enough to reach the bound; with random costs the best fixed point shows after a million rounds only, so
(d) has long runs only. Section 5 does not give α: ours is half of the feasible set.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from adamas.rules import Adam, AMSGrad, Rule

from ..bootstrap import Estimate, mean_of
from ..charts import Chart, Level, Line, Style, styles
from ..findings import Cell, Finding, Table, Verdict, verdict
from ..online_problems.reddi import PROBABILITY
from ..problems import Option
from ..records import Records
from ..runs import Run
from ..runs.online import Online
from . import NONE, Figure
from ._regret import MissingRuns, RegretCurves, bound_line, guide, regret_curves
from ._theorem import gamma

DECADES = 1.0  # the last of T, over which AMSGrad's steepness is measured
BEST = Style("#888888", "dot", 1.0)
THEOREM, COROLLARY = "section 4, Theorem 4.1", "section 4, Corollary 4.2"
REDDI = "Reddi, Kale & Kumar 2018, Corollary 1"

STYLES = styles(("Adam", "AMSGrad"))
Results = Mapping[str, RegretCurves | MissingRuns]


@dataclass(frozen=True)
class CounterexamplePanel:
    """A column: an online problem, played with Adam and AMSGrad.

    Args:
        title: the title of the column.
        note: facts about the costs that a reader must know.
        options: the options of the problem `reddi`.
        beta1, beta2: β1 and β2 of both rules.
        decay: λ.
        rounds: the length of every run.
        alpha: α of both rules; by default half of [-1, 1].
        bounded: whether so few rounds can exceed the bound, so that it is judged.
        seeds: both rules run with each of them.
    """

    title: str
    note: str
    options: Mapping[str, Option]
    beta1: float
    beta2: float
    decay: float
    rounds: int
    alpha: float = 1.0
    bounded: bool = True
    seeds: Sequence[int] = (0,)

    @property
    def rules(self) -> Mapping[str, Rule]:
        """The rules by name; AMSGrad as in its paper, without correction."""
        theirs = AMSGrad(self.alpha, self.beta1, self.beta2, bias_correction=False)
        return {"Adam": Adam(self.alpha, self.beta1, self.beta2), "AMSGrad": theirs}

    def runs_of(self, name: str) -> list[Online]:
        """Return the runs of a rule, one a seed."""
        options = tuple(sorted(self.options.items()))
        return [
            Online("reddi", options, self.rules[name], self.decay, self.rounds, seed) for seed in self.seeds
        ]

    def results(self, records: Records) -> Results:
        """Return the regret curves by rule."""
        return {name: regret_curves(self.runs_of(name), records) for name in self.rules}

    def runs(self, records: Records = NONE, failed: Collection[Run] = ()) -> list[Run]:
        return [run for name in self.rules for run in self.runs_of(name)]

    def tables(self, records: Records) -> list[Table]:
        return [_table(self, self.results(records))]

    def charts(self, records: Records) -> list[list[Chart]]:
        results = self.results(records)
        return [[_regrets(self, results)], [_points(self, results)]]

    @property
    def worst(self) -> float:
        """The mean regret a round of staying at x = 1, in the long run."""
        period, large, small = (float(self.options[name]) for name in ("period", "large", "small"))
        rare = 1 / period if self.options["order"] == "in turn" else PROBABILITY
        return 2 * (rare * large - (1 - rare) * small)


def late_regret(result: RegretCurves) -> Estimate:
    """Estimate the regret a round in about the last nine tenths of the rounds, the mean over seeds.

    They begin at the last record of the first tenth; where there is none, at the first round.
    """
    rounds, regret = np.append(0, result.rounds), result.measure("regret")
    first = int((rounds <= rounds[-1] / 10).sum()) - 1
    before = regret[:, first - 1] if first else 0
    return mean_of((regret[:, -1] - before) / (rounds[-1] - rounds[first]))


def findings(panel: CounterexamplePanel, results: Results) -> list[Finding]:
    """Judge the theorem, its corollary, and AMSGrad."""
    where = panel.title.partition(" ")[2]
    adam, amsgrad = results["Adam"], results["AMSGrad"]
    within = f"Under its conditions Adam's regret stays within the theorem's bound: {where}"
    return [
        *([_theorem(within, panel, adam)] if panel.bounded else []),
        _corollary(f"Under its conditions Adam's average regret goes to 0 as 1/√T: {where}", panel, adam),
        _amsgrad(f"AMSGrad's average regret goes to 0 as 1/√T: {where}", amsgrad),
    ]


def _theorem(claim: str, panel: CounterexamplePanel, adam: RegretCurves | MissingRuns) -> Finding:
    if isinstance(adam, MissingRuns):
        return Finding(claim, THEOREM, adam.text, "not measured")
    rule = panel.rules["Adam"]
    assert isinstance(rule, Adam)
    shares = (adam.measure("regret") / adam.bound()).max(axis=0)
    over = adam.rounds[shares > 1]
    conditions = (
        f"γ = {gamma(rule):.2g} < 1, λ = {panel.decay:g}, |∇f| ≤ {float(panel.options['large']):g}, "
        f"distances ≤ {adam.measure('widest').max():.2g}"
    )
    largest = f"regret reaches {shares.max():.3g} × the bound by T = {int(adam.rounds[shares.argmax()]):,}"
    since = f", which it exceeds from T = {int(over[0]):,} on" if len(over) else ""
    return Finding(claim, THEOREM, f"{largest}{since}; {conditions}", verdict([not len(over)]))


def _corollary(claim: str, panel: CounterexamplePanel, adam: RegretCurves | MissingRuns) -> Finding:
    """Judge whether Adam late does better than staying at x = 1, whose regret is linear, and improves."""
    if isinstance(adam, MissingRuns):
        return Finding(claim, COROLLARY, adam.text, adam.rate)
    late, rate = late_regret(adam), adam.rate(DECADES)
    measured = (
        f"{late:.3g} a round in the last nine tenths of {panel.rounds:,} rounds (our threshold: less than "
        f"the {panel.worst:.3g} of staying at x = 1), and {rate.text}; "
        f"x ends at {adam.measure('x')[:, -1].mean():.2f}, the best is -1"
    )
    better = late.below(panel.worst)
    undecided: Verdict = "fails" if better is False or rate.verdict == "fails" else "undecided"
    return Finding(claim, COROLLARY, measured, rate.verdict if better else undecided)


def _amsgrad(claim: str, amsgrad: RegretCurves | MissingRuns) -> Finding:
    if isinstance(amsgrad, MissingRuns):
        return Finding(claim, REDDI, amsgrad.text, amsgrad.rate)
    rate = amsgrad.rate(DECADES)
    measured = (
        f"{rate.text}, {amsgrad.measure('average_regret')[:, -1].mean():.3g} at the end; "
        f"x ends at {amsgrad.measure('x')[:, -1].mean():.2f}"
    )
    return Finding(claim, REDDI, measured, rate.verdict)


def _table(panel: CounterexamplePanel, results: Results) -> Table:
    rows: list[Mapping[str, Cell]] = []
    for name, found in results.items():
        result = found if isinstance(found, RegretCurves) else None
        bounded = result and name == "Adam" and panel.bounded
        rows.append(
            {
                "optimizer": name,
                "rounds": panel.rounds,
                "average_regret": float(result.measure("average_regret")[:, -1].mean()) if result else None,
                "late_regret": late_regret(result).value if result else None,
                "staying_at_1": panel.worst,
                "bound": float(result.bound()[:, -1].mean() / panel.rounds) if result and bounded else None,
                "x": float(result.measure("x")[:, -1].mean()) if result else None,
            }
        )
    title = f"{panel.title}, {panel.note}".replace("\n", " ")
    return Table(title, rows, findings(panel, results))


def _finished(results: Results) -> dict[str, RegretCurves]:
    return {name: result for name, result in results.items() if isinstance(result, RegretCurves)}


def _regrets(panel: CounterexamplePanel, results: Results) -> Chart:
    finished = _finished(results)
    lines = [
        Line(name, result.rounds, result.measure("average_regret"), STYLES[name])
        for name, result in finished.items()
    ]
    if "AMSGrad" in finished:
        lines.append(guide(finished["AMSGrad"]))
    if "Adam" in finished and panel.bounded:
        lines.append(bound_line(finished["Adam"]))
    y = "average regret R(T) / T"
    finding = _ends("R(T)/T at the end", finished, "average_regret")
    return Chart(panel.title, panel.note, "rounds T", y, lines, log_x=True, log_y=True, finding=finding)


def _ends(what: str, finished: Mapping[str, RegretCurves], measure: str) -> str:
    """Say where a measure ends, the mean over seeds."""
    ends = [f"{name} {result.measure(measure)[:, -1].mean():.2g}" for name, result in finished.items()]
    return f"{what}: {', '.join(ends)}" if ends else ""


def _points(panel: CounterexamplePanel, results: Results) -> Chart:
    lines = [
        Line(name, result.rounds, result.measure("x"), STYLES[name])
        for name, result in _finished(results).items()
    ]
    finding = _ends("x at the end", _finished(results), "x")
    best = [Level("best fixed point", -1.0, BEST)]
    return Chart("", "", "rounds T", "point x", lines, best, log_x=True, finding=finding)


C = 3.0
THREE: Mapping[str, Option] = {"large": C, "small": 1.0, "period": 3, "order": "in turn"}
REPEATED: Mapping[str, Option] = {"large": 1010.0, "small": 10.0, "period": 101}
BETA2 = 1 / (1 + C * C)
ALPHA = 0.9  # their Theorem 1 asks for less than √(1 - β2), here .949


def panels(three: int, hundred: int, random: int) -> list[CounterexamplePanel]:
    """Return the panels with so many rounds each; a panel without rounds is left out."""
    projected = "\nprojected on [-1, 1] (Algorithm 1 does not)"
    plain = f"C = 3, β1 = 0, β2 = .1, α = .9;{projected}"
    decaying = "C = 3, β1,t = ¼ × .9^(t-1), β2 = .1, α = 1;\nno projection"
    slopes = f"slopes 1010 and -10; β1,t = .9 × .99^(t-1), β2 = .99, α = 1;{projected}"
    in_turn, at_random = ({**REPEATED, "order": order} for order in ("in turn", "random"))
    flat = {**THREE, "edges": "flat"}
    chosen = [
        CounterexamplePanel("(a) Every third cost is C x", plain, THREE, 0.0, BETA2, 0.5, three, ALPHA),
        CounterexamplePanel("(b) The same on the whole line", decaying, flat, 0.25, BETA2, 0.9, three),
        CounterexamplePanel(
            "(c) One large cost in 101", slopes, in_turn, 0.9, 0.99, 0.99, hundred, 1.0, False
        ),
        CounterexamplePanel(
            "(d) One in 100, at random",
            slopes,
            at_random,
            0.9,
            0.99,
            0.99,
            random,
            1.0,
            False,
            (0, 1, 2, 3, 4),
        ),
    ]
    return [panel for panel in chosen if panel.rounds]


FIGURE = Figure(
    "Convex costs on which Adam does not converge: Theorem 4.1 does not hold as stated",
    {
        "demo": panels(100_000, 200_000, 0),
        "quick": panels(1_000_000, 1_000_000, 1_000_000),
        "paper": panels(10_000_000, 10_000_000, 10_000_000),
    },
)
