"""Section 5, natural gradient: v̂ as an approximation of the diagonal of the Fisher information.

Logistic regression, an example a step, labels drawn from the model at θ*, where E[g²] is that diagonal. The
paper names no place, so besides θ* and the end of training, -θ* is measured, where the model draws other
labels.
"""

from __future__ import annotations

import numpy as np
from scipy.special import expit

from adamas.rules import Adam

from ..findings import Preset, verdict
from . import Claim, Measured
from ._moments import corrected, walk
from ._steps import Array

SCALES = np.logspace(-0.5, 0.5, 10)  # of the features
TRUTH = np.random.default_rng(1).standard_normal(10) / SCALES / 2  # θ*
PLACES = {"at θ*": (TRUTH, 1e-9), "trained from 0": (0 * TRUTH, 0.003), "at -θ*": (-TRUTH, 1e-9)}  # and α
CLOSE = 0.25  # v̂ averages some 1000 squares, each heavy-tailed: a random error of 5 %, for ten at once 15 %
SLOPES = -0.6, -0.4  # of log step over log Fisher: -1/2 for its inverse root, where natural gradient has -1
STEPS = {"demo": 6000, "quick": 30_000, "paper": 100_000}


def compare(start: Array, lr: float, steps: int) -> tuple[Array, float]:
    """Return v̂ over the diagonal where Adam is after these steps, and the slope of the step over it."""
    rule, random = Adam(lr=lr), np.random.default_rng(0)

    def gradient(t: int, p: Array) -> Array:
        x = SCALES * random.standard_normal(10)
        return np.asarray(x * (expit(x @ p) - (random.random() < expit(x @ TRUTH))))

    *_, last = walk(rule, start, gradient, steps)
    m, v = corrected(rule, last)
    x = SCALES * np.random.default_rng(2).standard_normal((100_000, 10))
    p = expit(x @ last.p)
    diagonal = (p * (1 - p)) @ x**2 / len(x)
    return v / diagonal, float(np.polyfit(np.log(diagonal), np.log(np.abs(last.moved / m)), 1)[0])


def measure(preset: Preset) -> Measured:
    """Measure the ratio at each place, and the slope in training."""
    found = {name: compare(*place, STEPS[preset]) for name, place in PLACES.items()}
    slope = found["trained from 0"][1]
    close = [bool(np.all(np.abs(ratio - 1) <= CLOSE)) for ratio, _ in found.values()]
    shown = [f"{name} {ratio.min():.2f} to {ratio.max():.2f}" for name, (ratio, _) in found.items()]
    return Measured(
        f"v̂ over the diagonal: {'; '.join(shown)} (our threshold: 1 ± {CLOSE:g}); the step is m̂ by the "
        f"diagonal to the power {slope:.2f} (our threshold: {SLOPES[0]:g} to {SLOPES[1]:g}; "
        f"natural gradient's is -1)",
        verdict([*close, SLOPES[0] <= slope <= SLOPES[1]]),
    )


CLAIM = Claim(
    "v̂ approximates the Fisher information's diagonal; Adam, more conservative than NGD, divides by its root",
    "section 5, natural gradient descent (NGD)",
    measure,
)
