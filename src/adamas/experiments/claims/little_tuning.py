"""Abstract: hyperparameters need little tuning; here the stepsize, on the logistic regression of Figure 1.

Adam alone is judged; SGD with Nesterov's momentum is reported beside it, to show tuning elsewhere.
"""

from __future__ import annotations

import math

from adamas.rules import SGD, Adam, Rule

from .. import problems
from ..figures.fig1 import BATCH, L2
from ..findings import Preset, verdict
from ..records import Record, Records
from ..runs.training import Training
from . import Measured, RunClaim

# The first three decades of each optimizer's grid in Figure 1.
RULES: dict[str, list[Rule]] = {
    "Adam": [Adam(lr=lr) for lr in (1e-3, 1e-2, 1e-1)],
    "SGD Nesterov": [SGD(lr=lr, momentum=0.9, nesterov=True) for lr in (1e-2, 1e-1, 1e0)],
}
EPOCHS = {"demo": ("digits", 30), "quick": ("mnist", 2), "paper": ("mnist", 10)}
NEAR = 1.25  # a final cost within a quarter of the best counts as well tuned: our choice
LITTLE = 2 / 3  # tuning counts as little when two of three decades are well tuned


def training(rule: Rule, preset: Preset) -> Training:
    """Return the run of a rule."""
    name, epochs = EPOCHS[preset]
    options, data = problems.fields("images_softmax", {"data": name})
    return Training("images_softmax", options, data, rule, "constant", L2, BATCH, epochs, seed=0)


def final(record: Record) -> float:
    """Return the training cost of the last epoch; infinite if the run diverged."""
    return float(record["epochs"][-1]["cost"]) if record["status"] == "done" else math.inf


def _format(cost: float) -> str:
    return f"{cost:.3g}" if math.isfinite(cost) else "diverged"


def judge(preset: Preset, records: Records) -> Measured:
    """Compare the costs, and count the stepsizes that come near the best of their optimizer."""
    shares, texts = {}, []
    for name, rules in RULES.items():
        costs = [final(records[training(rule, preset)]) for rule in rules]
        near = [math.isfinite(cost) and cost <= NEAR * min(costs) for cost in costs]
        shares[name] = sum(near) / len(costs)
        listed = ", ".join(f"{_format(cost)} at {rule.lr:g}" for rule, cost in zip(rules, costs, strict=True))
        texts.append(f"{name}: cost {listed}; {shares[name]:.0%} within {NEAR - 1:.0%} of the best")
    data, epochs = EPOCHS[preset]
    return Measured(
        f"{data}, {epochs} epochs, by α: {'; '.join(texts)} (our threshold: at least {LITTLE:.0%} for Adam)",
        verdict([shares["Adam"] >= LITTLE]),
    )


CLAIM = RunClaim(
    "Adam's hyperparameters need little tuning",
    "abstract",
    lambda preset: [training(rule, preset) for rules in RULES.values() for rule in rules],
    judge,
)
