"""Abstract: hyperparameters need little tuning; here the stepsize, on the logistic regression of Figure 1.

Judged by Adam alone; SGD with Nesterov's momentum stands beside it, for what tuning is elsewhere.
"""

from __future__ import annotations

import math

from adamas.rules import SGD, Adam, Rule

from .. import problems
from ..figures import Preset, verdict
from ..figures._settings import MOMENTUM
from ..figures.fig1 import BATCH, L2
from ..runs.training import Training
from . import Claim, Measured

# The first three decades of the grid that Figure 1 has for each.
RULES: dict[str, list[Rule]] = {
    "Adam": [Adam(lr=lr) for lr in (1e-3, 1e-2, 1e-1)],
    "SGD Nesterov": [SGD(lr=lr, momentum=MOMENTUM, nesterov=True) for lr in (1e-2, 1e-1, 1e0)],
}
EPOCHS = {"demo": ("digits", 30), "quick": ("mnist", 2), "paper": ("mnist", 10)}
NEAR = 1.25  # a final cost within a quarter of the best counts as well tuned: our choice
LITTLE = 2 / 3  # and tuning as little when that is so for two of three decades


def final(rule: Rule, preset: Preset) -> float:
    """The training cost of the last epoch; infinite if it diverged."""
    data, epochs = EPOCHS[preset]
    identity = problems.load("images_softmax").identity(data=data)
    run = Training("images_softmax", (("data", data),), identity, rule, "constant", L2, BATCH, epochs, seed=0)
    run.prepare()
    outcome = run.execute()
    cost = outcome.epochs[-1]["cost"] if outcome.status == "done" else None
    return math.inf if cost is None else cost


def _shown(cost: float) -> str:
    return f"{cost:.3g}" if math.isfinite(cost) else "diverged"


def measure(preset: Preset) -> Measured:
    """The costs, and the share of stepsizes that come near the best of their optimizer."""
    shares, shown = {}, []
    for name, rules in RULES.items():
        costs = [final(rule, preset) for rule in rules]
        near = [math.isfinite(cost) and cost <= NEAR * min(costs) for cost in costs]
        shares[name] = sum(near) / len(costs)
        listed = ", ".join(f"{_shown(cost)} at {rule.lr:g}" for rule, cost in zip(rules, costs, strict=True))
        shown.append(f"{name}: cost {listed}; {shares[name]:.0%} within {NEAR - 1:.0%} of the best")
    data, epochs = EPOCHS[preset]
    return Measured(
        f"{data}, {epochs} epochs, by α: {'; '.join(shown)} (at least {LITTLE:.0%} expected of Adam)",
        verdict([shares["Adam"] >= LITTLE]),
    )


CLAIM = Claim("Adam's hyperparameters need little tuning", "abstract", measure)
