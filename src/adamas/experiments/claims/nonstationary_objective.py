"""Sections 1 and 5: objectives that change; Adam beside AdaGrad, whose steps only shrink.

The objective is half the squared distance from a moving target; gradients have noise; α is the best over the
first steps.
"""

from __future__ import annotations

import numpy as np

from adamas.rules import Adagrad, Adam, Rule

from ..findings import Preset, verdict
from . import Claim, Measured
from ._moments import walk
from ._steps import Array

GRID = [float(f"{10**exponent:.3g}") for exponent in np.arange(-2.5, 2.5, 0.5)]
FIRST = 1000
STEPS = {"demo": 8000, "quick": 40_000, "paper": 200_000}
ELEMENTS, PERIOD = 10, 250
KEEPS_UP = 1.25  # the error may grow by a quarter, our choice: the targets move alike at all times


def targets(steps: int) -> dict[str, Array]:
    """Return the target at each step, for each way of moving."""
    t = np.arange(steps)[:, None] * np.ones(ELEMENTS)
    wandering = 0.05 * np.random.default_rng(0).standard_normal(t.shape).cumsum(axis=0)
    return {"steady": 0.005 * t, "wandering": wandering, "jumping": 3.5 * (-1) ** (t // PERIOD)}


def error(rule: Rule, target: Array, steps: int) -> float:
    """Return the root mean square distance from the target in the last 500 of so many steps."""
    random = np.random.default_rng(1)

    def gradient(t: int, p: Array) -> Array:
        return np.asarray(p - target[t - 1] + random.standard_normal(ELEMENTS))

    path = np.array([taken.p for taken in walk(rule, np.zeros(ELEMENTS), gradient, steps)])
    return float(np.sqrt(np.mean((path - target[:steps])[-2 * PERIOD :] ** 2)))


def measure(preset: Preset) -> Measured:
    """Measure the error after the first steps and after all, by target and optimizer."""
    steps, shown, parts = STEPS[preset], [], []
    for name, target in targets(steps).items():
        firsts = [min((error(kind(lr=lr), target, FIRST), lr) for lr in GRID) for kind in (Adam, Adagrad)]
        (a, lr), (b, other_lr) = firsts
        last, other = error(Adam(lr=lr), target, steps), error(Adagrad(lr=other_lr), target, steps)
        parts += [last <= KEEPS_UP * a, last < other]
        shown.append(f"{name}: Adam {a:.2f} and {last:.2f}, AdaGrad {b:.2f} and {other:.2f}")
    return Measured(
        f"error after {FIRST:,} steps, where α is chosen, and after {steps:,}: {'; '.join(shown)} (for Adam, "
        f"our threshold: at most {KEEPS_UP:g} × the first, and less than AdaGrad's)",
        verdict(parts),
    )


CLAIM = Claim(
    "Adam suits non-stationary objectives (AdaGrad's steps only shrink)", "abstract; section 1", measure
)
