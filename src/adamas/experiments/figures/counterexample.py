"""Counterexamples to Theorem 4.1: convex costs on which Adam's regret is linear (Reddi, Kale & Kumar 2018).

The convergence proof of the paper (section 4, appendix 10.1) has a gap: it sums √(t v̂_t) - √((t-1) v̂_(t-1))
as if that were never negative, but v̂ shrinks once a large gradient is forgotten. The costs here make use of
it, see `streams.rare`. AMSGrad never forgets, and its regret falls. In every panel costs are convex,
gradients and distances bounded, γ = β1²/√β2 < 1, stepsizes α/√t, and momentum decays by a λ in (0, 1). But
(a), (c) and (d) project points on [-1, 1], as Reddi et al. do, and Algorithm 1 does not. (b) does not: there
every condition of the theorem is met as it is printed.

(a) is their Theorem 1 with C = 3: β1 = 0, β2 = 1/(1 + C²), and α below √(1 - β2) = .949. (b) is the same with
momentum that decays, α = 1, and costs that need no projection, which they do not have. In both, gradients,
β1 and λ are so small that the bound itself is soon exceeded. (c) and (d) are their section 5, β1 = .9 and
β2 = .99, where we let β1 decay as the theorem asks, and they do not. With gradients of 1010 no run is long
enough to reach the bound; with random costs the best fixed point shows after a million rounds only, so (d)
has long runs alone. For section 5 they do not give their α: ours is half of the feasible set.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from adamas.rules import Adam, AMSGrad, Rule

from ..bounds import gamma
from ..charts import STYLES, Chart, Level, Line, Style
from ..problems import Option
from ..runs.online import Online
from ..streams.rare import PROBABILITY
from . import Cell, Finding, Preset, Records, Table, verdict
from ._online import Absent, Array, Played, bound_line, guide, played

DECADES = 1.0  # the last of T, over which AMSGrad's steepness is measured
BEST = Style("#888888", "dot", 1.0)
THEOREM, COROLLARY = "section 4, Theorem 4.1", "section 4, Corollary 4.2"
REDDI = "Reddi, Kale & Kumar 2018, Corollary 1"


Results = Mapping[str, Played | Absent]


@dataclass(frozen=True)
class Panel:
    """A column: a stream, played with Adam and AMSGrad.

    Args:
        title: of the axes.
        note: what a reader must know of the costs.
        options: of the stream.
        beta1, beta2: of both rules.
        decay: λ.
        rounds: of every run.
        alpha: of both rules; by default half of [-1, 1].
        bounded: whether the bound can be exceeded in so few rounds, so that it is looked at.
        seeds: a run of both with each.
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
        """By name; AMSGrad as its paper has it, without correction."""
        theirs = AMSGrad(self.alpha, self.beta1, self.beta2, bias_correction=False)
        return {"Adam": Adam(self.alpha, self.beta1, self.beta2), "AMSGrad": theirs}

    def runs(self, name: str) -> list[Online]:
        """One a seed."""
        options = tuple(sorted(self.options.items()))
        return [
            Online("rare", options, self.rules[name], self.decay, self.rounds, seed) for seed in self.seeds
        ]

    def results(self, records: Records) -> Results:
        """By rule."""
        return {name: played(self.runs(name), records) for name in self.rules}

    @property
    def worst(self) -> float:
        """The regret a round of staying at x = 1, in the long run and the mean."""
        period, large, small = (float(self.options[name]) for name in ("period", "large", "small"))
        rare = 1 / period if self.options["order"] == "in turn" else PROBABILITY
        return 2 * (rare * large - (1 - rare) * small)


def late_regret(result: Played) -> float:
    """The regret a round in the last nine tenths of the rounds, or somewhat more, the mean over seeds.

    They begin at the last record that is not later; where there is none, at the first round.
    """
    rounds, regret = (np.concatenate([[0], each]) for each in _means(result))
    first = int((rounds <= rounds[-1] / 10).sum()) - 1
    return float((regret[-1] - regret[first]) / (rounds[-1] - rounds[first]))


def _means(result: Played) -> tuple[Array, Array]:
    return result.rounds, result.measure("regret").mean(axis=0)


def findings(panel: Panel, results: Results) -> list[Finding]:
    """Of the theorem, its corollary, and AMSGrad."""
    where = panel.title.partition(" ")[2]
    adam, amsgrad = results["Adam"], results["AMSGrad"]
    judged = [
        _theorem(
            f"Under its conditions Adam's regret stays within the theorem's bound: {where}", panel, adam
        ),
        _corollary(f"Under its conditions Adam's average regret goes to 0 as 1/√T: {where}", panel, adam),
        _amsgrad(f"AMSGrad's average regret goes to 0 as 1/√T: {where}", amsgrad),
    ]
    return judged if panel.bounded else judged[1:]


def _theorem(claim: str, panel: Panel, adam: Played | Absent) -> Finding:
    if isinstance(adam, Absent):
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


def _corollary(claim: str, panel: Panel, adam: Played | Absent) -> Finding:
    """Late, Adam has to do better than to stay at x = 1, else its regret is linear, and to improve."""
    if isinstance(adam, Absent):
        return Finding(claim, COROLLARY, adam.text, adam.rate)
    late, rate = late_regret(adam), adam.rate(DECADES)
    measured = (
        f"{late:.3g} a round in the last nine tenths of {panel.rounds:,} rounds (less expected than the "
        f"{panel.worst:.3g} of staying at x = 1), and {rate.text}; "
        f"x ends at {adam.measure('x')[:, -1].mean():.2f}, the best is -1"
    )
    return Finding(claim, COROLLARY, measured, rate.verdict if late < panel.worst else "fails")


def _amsgrad(claim: str, amsgrad: Played | Absent) -> Finding:
    if isinstance(amsgrad, Absent):
        return Finding(claim, REDDI, amsgrad.text, amsgrad.rate)
    rate = amsgrad.rate(DECADES)
    measured = (
        f"{rate.text}, {amsgrad.measure('average_regret')[:, -1].mean():.3g} at the end; "
        f"x ends at {amsgrad.measure('x')[:, -1].mean():.2f}"
    )
    return Finding(claim, REDDI, measured, rate.verdict)


@dataclass(frozen=True)
class Counterexample:
    """The figure."""

    title: str
    panels: Mapping[Preset, Sequence[Panel]]
    of_paper: bool = True

    def runs(self, preset: Preset) -> list[Online]:
        return [run for panel in self.panels[preset] for name in panel.rules for run in panel.runs(name)]

    def tables(self, preset: Preset, records: Records) -> list[Table]:
        return [_table(panel, panel.results(records)) for panel in self.panels[preset]]

    def charts(self, preset: Preset, records: Records) -> list[list[Chart]]:
        columns = [(panel, panel.results(records)) for panel in self.panels[preset]]
        return [[_regrets(*each) for each in columns], [_points(*each) for each in columns]]


def _table(panel: Panel, results: Results) -> Table:
    rows: list[Mapping[str, Cell]] = []
    for name, found in results.items():
        result = found if isinstance(found, Played) else None
        bounded = result and name == "Adam" and panel.bounded
        rows.append(
            {
                "optimizer": name,
                "rounds": panel.rounds,
                "average_regret": float(result.measure("average_regret")[:, -1].mean()) if result else None,
                "late_regret": late_regret(result) if result else None,
                "staying_at_1": panel.worst,
                "bound": float(result.bound()[:, -1].mean() / panel.rounds) if result and bounded else None,
                "x": float(result.measure("x")[:, -1].mean()) if result else None,
            }
        )
    title = f"{panel.title}, {panel.note}".replace("\n", " ")
    return Table(title, rows, findings(panel, results))


def _finished(results: Results) -> dict[str, Played]:
    return {name: result for name, result in results.items() if isinstance(result, Played)}


def _regrets(panel: Panel, results: Results) -> Chart:
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
    return Chart(panel.title, panel.note, "rounds T", y, lines, log_x=True, log_y=True)


def _points(panel: Panel, results: Results) -> Chart:
    lines = [
        Line(name, result.rounds, result.measure("x"), STYLES[name])
        for name, result in _finished(results).items()
    ]
    return Chart("", "", "rounds T", "point x", lines, [Level("best fixed point", -1.0, BEST)], log_x=True)


C = 3.0
THREE: Mapping[str, Option] = {"large": C, "small": 1.0, "period": 3, "order": "in turn"}
REPEATED: Mapping[str, Option] = {"large": 1010.0, "small": 10.0, "period": 101}
BETA2 = 1 / (1 + C * C)
ALPHA = 0.9  # their Theorem 1 asks for less than √(1 - β2), here .949


def panels(three: int, hundred: int, random: int) -> list[Panel]:
    """Of so many rounds each; none, and the panel is left out."""
    projected = "\nprojected on [-1, 1] (Algorithm 1 does not)"
    plain = f"C = 3, β1 = 0, β2 = .1, α = .9;{projected}"
    decaying = "C = 3, β1,t = ¼ × .9^(t-1), β2 = .1, α = 1;\nno projection"
    slopes = f"slopes 1010 and -10; β1,t = .9 × .99^(t-1), β2 = .99, α = 1;{projected}"
    in_turn, at_random = ({**REPEATED, "order": order} for order in ("in turn", "random"))
    flat = {**THREE, "edges": "flat"}
    chosen = [
        Panel("(a) Every third cost is C x", plain, THREE, 0.0, BETA2, 0.5, three, ALPHA),
        Panel("(b) The same on the whole line", decaying, flat, 0.25, BETA2, 0.9, three),
        Panel("(c) One large cost in 101", slopes, in_turn, 0.9, 0.99, 0.99, hundred, 1.0, False),
        Panel("(d) One in 100, at random", slopes, at_random, 0.9, 0.99, 0.99, random, 1.0, False, (0, 1, 2)),
    ]
    return [panel for panel in chosen if panel.rounds]


FIGURE = Counterexample(
    "Convex costs on which Adam does not converge: Theorem 4.1 does not hold as stated",
    {
        "demo": panels(100_000, 200_000, 0),
        "quick": panels(1_000_000, 1_000_000, 1_000_000),
        "paper": panels(10_000_000, 10_000_000, 10_000_000),
    },
)
