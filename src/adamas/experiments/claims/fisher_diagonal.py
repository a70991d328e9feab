"""Section 5, natural gradient: v̂ as an approximation of the diagonal of the Fisher information.

Logistic regression, an example a step, labels drawn from the model at θ*, where E[g²] is that diagonal. The
paper names no place, so besides θ* and the end of training, -θ* is measured, where the model draws other
labels. All is done with several seeds at once, and v̂ is their mean.
"""

from __future__ import annotations

import numpy as np
from scipy.special import expit

from adamas.rules import Adam

from ..bootstrap import mean_of
from ..findings import Preset, every, verdict
from . import Claim, Measured
from ._moments import corrected, walk
from ._steps import Array

SCALES = np.logspace(-0.5, 0.5, 10)  # of the features
TRUTH = np.random.default_rng(1).standard_normal(10) / SCALES / 2  # θ*
TRAINED = "trained from 0"
PLACES = {"at θ*": (TRUTH, 1e-9), TRAINED: (0 * TRUTH, 0.003), "at -θ*": (-TRUTH, 1e-9)}  # and α
CLOSE = 0.25  # v̂ averages some 1000 squares, each heavy-tailed: a random error of 5 %, for ten at once 15 %
SEEDS = 8
SLOPES = -0.6, -0.4  # of log step over log Fisher: -1/2 for its inverse root, where natural gradient has -1
STEPS = {"demo": 6000, "quick": 30_000, "paper": 100_000}


def compare(start: Array, lr: float, steps: int) -> tuple[Array, Array]:
    """Return by seed v̂ over the diagonal where Adam then is, and the slope of the step over the diagonal."""
    rule, random = Adam(lr=lr), np.random.default_rng(0)

    def gradient(t: int, p: Array) -> Array:
        x = SCALES * random.standard_normal((SEEDS, 10))
        drawn = random.random((SEEDS, 1)) < expit(x @ TRUTH)[:, None]
        return np.asarray(x * (expit((x * p).sum(axis=1, keepdims=True)) - drawn))

    *_, last = walk(rule, np.tile(start, (SEEDS, 1)), gradient, steps)
    m, v = corrected(rule, last)
    x = SCALES * np.random.default_rng(2).standard_normal((100_000, 10))
    p = expit(x @ last.p.T)
    diagonal = (p * (1 - p)).T @ x**2 / len(x)
    logs = np.log(diagonal), np.log(np.abs(last.moved / m))
    slopes = [float(np.polyfit(*pair, 1)[0]) for pair in zip(*logs, strict=True)]
    return v / diagonal, np.array(slopes)


def measure(preset: Preset) -> Measured:
    """Measure the ratio at each place, and the slope in training."""
    close, shown = [], []
    for name, place in PLACES.items():
        ratios, slopes = compare(*place, STEPS[preset])
        found = sorted(map(mean_of, ratios.T), key=lambda each: each.value)
        close.append(every([each.within(1 - CLOSE, 1 + CLOSE) for each in found]))
        shown.append(f"{name} {found[0]:.2f} to {found[-1]:.2f}")
        if name == TRAINED:
            slope = mean_of(slopes)
    return Measured(
        f"v̂ over the diagonal: {'; '.join(shown)} (our threshold: 1 ± {CLOSE:g}); the step is m̂ by the "
        f"diagonal to the power {slope:.2f} (our threshold: {SLOPES[0]:g} to {SLOPES[1]:g}; "
        f"natural gradient's is -1)",
        verdict([*close, slope.within(*SLOPES)]),
    )


CLAIM = Claim(
    "v̂ approximates the Fisher information's diagonal; Adam, more conservative than NGD, divides by its root",
    "section 5, natural gradient descent (NGD)",
    measure,
)
