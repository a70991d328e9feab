"""Section 3, equations (1) to (4): the distance of the uncorrected moments from E[g] and E[g²]."""

from __future__ import annotations

import numpy as np

from adamas.rules import Adam

from ..findings import Preset, verdict
from . import Claim, Measured
from ._moments import CHANCE, MEAN, SQUARE, mean, stationary, walk

STEPS = (1, 2, 5, 10, 100, 1000)
COORDINATES = {"demo": 10_000, "quick": 100_000, "paper": 1_000_000}


def measure(preset: Preset) -> Measured:
    """Measure the mean of m and v at each of `STEPS`, as a share of E[g] and E[g²], against 1 - β^t."""
    coordinates = COORDINATES[preset]
    rule = Adam(bias_correction=False)
    shares: list[list[str]] = [[], []]
    errors = []
    for taken in walk(rule, np.zeros(coordinates), stationary(coordinates), max(STEPS)):
        if taken.t in STEPS:
            truths = (MEAN, rule.beta1), (SQUARE, rule.beta2)
            for moment, (truth, beta), shown in zip(taken.slots, truths, shares, strict=True):
                estimate, error = mean(moment)
                errors.append((estimate - truth * (1 - beta**taken.t)) / error)
                shown.append(f"{estimate / truth:.3g}")
    return Measured(
        f"at t = {', '.join(map(str, STEPS))} the mean of m is {', '.join(shares[0])} × E[g], and of v "
        f"{', '.join(shares[1])} × E[g²]; the worst is {max(map(abs, errors)):.1f} standard errors "
        f"from 1 - β^t (our threshold: at most {CHANCE:g})",
        verdict([abs(error) <= CHANCE for error in errors]),
    )


CLAIM = Claim(
    "Without correction the moments are biased towards their zero start: they average to E[g] (1 - β1^t) and "
    "E[g²] (1 - β2^t)",
    "section 3, equations (1) to (4)",
    measure,
)
