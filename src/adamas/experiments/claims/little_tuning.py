"""Abstract: hyperparameters need little tuning; here the stepsize, on the logistic regression of Figure 1.

Adam alone is judged; SGD with Nesterov's momentum is reported beside it, to show tuning elsewhere.
"""

from __future__ import annotations

import math

import numpy as np

from adamas.rules import SGD, Adam, Rule

from .. import problems
from ..bootstrap import estimate, share
from ..figures.fig1 import BATCH, L2
from ..findings import Preset, verdict
from ..records import Record, Records
from ..runs.training import Training
from . import Measured, RunClaim
from ._steps import Array

# The first three decades of each optimizer's grid in Figure 1.
RULES: dict[str, list[Rule]] = {
    "Adam": [Adam(lr=lr) for lr in (1e-3, 1e-2, 1e-1)],
    "SGD Nesterov": [SGD(lr=lr, momentum=0.9, nesterov=True) for lr in (1e-2, 1e-1, 1e0)],
}
EPOCHS = {"demo": ("digits", 30), "quick": ("mnist", 2), "paper": ("mnist", 10)}
NEAR = 1.25  # a final cost within a quarter of the best counts as well tuned: our choice
SEEDS = (0, 1, 2)
LITTLE = 2 / 3  # tuning counts as little when two of three decades are well tuned


def training(rule: Rule, preset: Preset) -> list[Training]:
    """Return the runs of a rule, one a seed."""
    name, epochs = EPOCHS[preset]
    options, data = problems.fields("images_softmax", {"data": name})
    fixed = ("images_softmax", options, data, rule, "constant", L2, BATCH, epochs)
    return [Training(*fixed, seed=seed) for seed in SEEDS]


def final(record: Record) -> float:
    """Return the training cost of the last epoch; infinite if the run diverged."""
    return float(record["epochs"][-1]["cost"]) if record["status"] == "done" else math.inf


def _format(cost: float) -> str:
    return f"{cost:.3g}" if math.isfinite(cost) else "diverged"


def judge(preset: Preset, records: Records) -> Measured:
    """Compare the costs, and count the stepsizes that come near the best of their optimizer."""
    shares, texts = {}, []
    for name, rules in RULES.items():
        costs = np.array([[final(records[run]) for run in training(rule, preset)] for rule in rules])
        shares[name] = share(_near(costs))
        means = [
            f"{_format(cost)} at {rule.lr:g}" for rule, cost in zip(rules, costs.mean(axis=1), strict=True)
        ]
        near = f"{shares[name]:.0%} within {NEAR - 1:.0%} of the best"
        texts.append(f"{name}: cost {', '.join(means)}; {near}")
    data, epochs = EPOCHS[preset]
    return Measured(
        f"{data}, {epochs} epochs, by α: {'; '.join(texts)} (our threshold: at least {LITTLE:.0%} for Adam)",
        verdict([shares["Adam"].within(LITTLE, 1.0)]),
    )


def _near(costs: Array) -> list[bool | None]:
    """Return whether each α comes near the best, from its costs by seed, (α, seeds)."""

    def ratios(drawn: Array) -> Array:
        means = drawn.mean(axis=1)
        return np.asarray(means / means.min(axis=1, keepdims=True))

    done = [bool(np.isfinite(each).all()) for each in costs]
    found = iter(estimate(ratios, costs[done].T, ratio=True) if any(done) else ())
    return [next(found).within(0, NEAR) if each else False for each in done]


CLAIM = RunClaim(
    "Adam's hyperparameters need little tuning",
    "abstract",
    lambda preset: [run for rules in RULES.values() for rule in rules for run in training(rule, preset)],
    judge,
)
