"""Section 3: the corrected moments have the right expectation at every step.

A mean over many coordinates estimates the expectation, and agrees when it lies within `CHANCE` standard
errors: a bias much below the noise of an estimate is not excluded, but the uncorrected bias (see
`bias_without_correction`) is at first hundreds of times as large.
"""

from __future__ import annotations

import numpy as np

from adamas.rules import Adam

from ..findings import Preset, verdict
from . import Claim, Measured
from ._moments import CHANCE, MEAN, SQUARE, corrected, mean, stationary, walk

STEPS = (1, 2, 5, 10, 100, 1000)
COORDINATES = {"demo": 10_000, "quick": 100_000, "paper": 1_000_000}


def measure(preset: Preset) -> Measured:
    """Measure the mean of m̂ and v̂ at each of `STEPS`, as a multiple of what they estimate."""
    coordinates = COORDINATES[preset]
    rule, ratios, errors = Adam(), [], []
    for taken in walk(rule, np.zeros(coordinates), stationary(coordinates), max(STEPS)):
        if taken.t in STEPS:
            for moment, truth in zip(corrected(rule, taken), (MEAN, SQUARE), strict=True):
                estimate, error = mean(moment)
                ratios.append(estimate / truth)
                errors.append((estimate - truth) / error)
    shown = [", ".join(f"{ratio:.3f}" for ratio in ratios[first::2]) for first in (0, 1)]
    return Measured(
        f"at t = {', '.join(map(str, STEPS))} the mean of m̂ is {shown[0]} × E[g], and of "
        f"v̂ {shown[1]} × E[g²], over {coordinates:,} coordinates; the worst is off by "
        f"{max(map(abs, errors)):.1f} standard errors (our threshold: at most {CHANCE:g})",
        verdict([abs(error) <= CHANCE for error in errors]),
    )


CLAIM = Claim(
    "Bias-corrected, the first and second moments average to E[g] and E[g²] at every step, from the first, "
    "where the gradients are stationary",
    "section 3, after equation (4); Algorithm 1",
    measure,
)
