"""Section 2.1: near an optimum gradients are mostly noise, so steps shrink though α does not.

The paper's signal-to-noise ratio, m̂/√v̂, is the step in units of α. So the ratio of the gradients
themselves, |E[g]| / √E[g²], is reported beside the steps. Steps do not shrink to 0: under pure noise m̂/√v̂
keeps a root mean square of √((1 - β1) / (1 + β1)), 0.23 for β1 = 0.9.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.special import expit

from adamas.rules import Adam

from ..bootstrap import ratio_of
from ..findings import Preset, verdict
from . import Claim, Measured
from ._moments import Taken, walk
from ._steps import Array

LR, DISTANCE = 0.01, 5.0  # 500 steps and more from the optimum, 0
# In the first steps m̂/√v̂ is ±1 whatever the noise; it averages from about the tenth on.
FAR = slice(10, 100)
SMALLER = 0.5  # steps shrink to half or less: our choice
STEPS = {"demo": 6000, "quick": 20_000, "paper": 60_000}
ELEMENTS, BATCH = 10, 10


def quadratic(theta: Array, random: np.random.Generator) -> Array:
    """Return gradients of half the squared distance from 0, noise added."""
    return theta + random.standard_normal(ELEMENTS)


def logistic(theta: Array, random: np.random.Generator) -> Array:
    """Return gradients of mini-batches of a logistic regression on labels from a fair coin."""
    x, y = random.standard_normal((BATCH, ELEMENTS)), random.integers(2, size=BATCH)
    return np.asarray(x.T @ (expit(x @ theta) - y) / BATCH)


def _sizes(part: Sequence[Taken]) -> tuple[Array, Array]:
    """Return the mean step in α and the signal-to-noise ratio of the gradients, (elements,) each."""
    g = np.array([each.g for each in part])
    steps = np.mean([np.abs(each.moved) for each in part], axis=0) / LR
    return steps, np.abs(g.mean(axis=0)) / np.sqrt((g**2).mean(axis=0))


def measure(preset: Preset) -> Measured:
    """Compare steps far from the optimum with those in the last tenth."""
    shown, parts, steps = [], [], STEPS[preset]
    for name, noisy in {"noisy quadratic": quadratic, "logistic regression": logistic}.items():
        random, start = np.random.default_rng(0), np.full(ELEMENTS, DISTANCE)
        taken = list(walk(Adam(lr=LR), start, lambda t, p, f=noisy, r=random: f(p, r), steps))  # type: ignore[misc]
        pairs = list(zip(_sizes(taken[FAR]), _sizes(taken[-steps // 10 :]), strict=True))
        found = [ratio_of(near, far) for far, near in pairs]  # over elements, each with its own noise
        of_size, of_ratio = (
            f"{far.mean():.2f} far and {near.mean():.2f} near, {ratio:.2f} ×"
            for (far, near), ratio in zip(pairs, found, strict=True)
        )
        shown.append(f"{name}: mean |Δ|/α {of_size}, |E[g]|/√E[g²] {of_ratio}")
        parts += [each.within(0, SMALLER) for each in found]
    return Measured(
        f"{'; '.join(shown)} (our threshold near the optimum: at most {SMALLER:g} ×)", verdict(parts)
    )


CLAIM = Claim(
    "Towards an optimum the signal-to-noise ratio falls, and with it the steps: automatic annealing",
    "section 2.1",
    measure,
)
