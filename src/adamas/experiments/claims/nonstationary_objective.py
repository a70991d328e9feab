"""Sections 1 and 5: objectives that change; Adam beside AdaGrad, whose steps only shrink.

The objective is half the squared distance from a moving target; gradients have noise; α is the best over the
first steps.
"""

from __future__ import annotations

import numpy as np

from adamas.rules import Adagrad, Adam, Rule

from ..bootstrap import estimate
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


def squares(rule: Rule, target: Array, steps: int) -> Array:
    """Return the mean square distance from the target in the last 500 of so many steps, (elements,)."""
    random = np.random.default_rng(1)

    def gradient(t: int, p: Array) -> Array:
        return np.asarray(p - target[t - 1] + random.standard_normal(ELEMENTS))

    path = np.array([taken.p for taken in walk(rule, np.zeros(ELEMENTS), gradient, steps)])
    return np.asarray(np.mean((path - target[:steps])[-2 * PERIOD :] ** 2, axis=0))


def best(kind: type[Adam | Adagrad], target: Array) -> tuple[float, Array]:
    """Return the best α of `GRID` over the first steps, and its mean squares after them."""
    first = {lr: squares(kind(lr=lr), target, FIRST) for lr in GRID}
    lr = min(GRID, key=lambda each: float(first[each].mean()))
    return lr, first[lr]


def ratios(drawn: Array) -> Array:
    """Return Adam's last error over its first, and over AdaGrad's last, (resamples, 2)."""
    first, last, other = np.sqrt(drawn.mean(axis=1)).T
    return np.stack([last / first, last / other], axis=-1)


def measure(preset: Preset) -> Measured:
    """Measure the error after the first steps and after all, by target and optimizer."""
    steps, shown, parts = STEPS[preset], [], []
    for name, target in targets(steps).items():
        (lr, first), (other_lr, other_first) = (best(kind, target) for kind in (Adam, Adagrad))
        last = squares(Adam(lr=lr), target, steps)
        other = squares(Adagrad(lr=other_lr), target, steps)
        growth, lead = estimate(ratios, np.stack([first, last, other], axis=-1), ratio=True)
        parts += [growth.within(0, KEEPS_UP), lead.below(1)]
        a, b, c, d = (float(np.sqrt(each.mean())) for each in (first, last, other_first, other))
        shown.append(
            f"{name}: Adam {a:.2f} and {b:.2f}, AdaGrad {c:.2f} and {d:.2f}: Adam's last is {growth:.2f} × "
            f"its first, {lead:.2f} × AdaGrad's"
        )
    return Measured(
        f"error after {FIRST:,} steps, where α is chosen, and after {steps:,}: {'; '.join(shown)} (for Adam, "
        f"our threshold: at most {KEEPS_UP:g} × the first, and less than AdaGrad's)",
        verdict(parts),
    )


CLAIM = Claim(
    "Adam suits non-stationary objectives (AdaGrad's steps only shrink)", "abstract; section 1", measure
)
