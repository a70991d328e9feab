"""Section 2.1: α predicts the number of steps to an optimum, whatever the scale of the cost."""

from __future__ import annotations

import numpy as np

from adamas.backends import reference
from adamas.rules import Adam

from ..findings import Preset, verdict
from . import Claim, Measured

DISTANCE = 10.0
ALPHAS, SCALES = (0.01, 0.03, 0.1), (1e-3, 1.0, 1e3)
WITHIN = 2.0  # a factor: "the right order of magnitude" is asked for


def taken(alpha: float, scale: float) -> int:
    """Return the steps from x = `DISTANCE` to within a tenth of it of the optimum of ½ scale x²."""
    most = int(10 * WITHIN * DISTANCE / alpha)
    states = reference.trajectory(Adam(lr=alpha), np.full(1, DISTANCE), lambda t, x: scale * x, most)
    return next((state.t for state in states if abs(state.p[0]) <= DISTANCE / 10), most)


def measure(preset: Preset) -> Measured:
    """Measure the steps taken over the steps predicted, distance / α."""
    ratios = [taken(alpha, scale) * alpha / DISTANCE for alpha in ALPHAS for scale in SCALES]
    return Measured(
        f"for α of .01 to .1 and costs scaled by 10⁻³ to 10³, {min(ratios):.2f} to {max(ratios):.2f} × "
        f"distance / α steps are taken (a factor of {WITHIN:g} allowed)",
        verdict([min(ratios) >= 1 / WITHIN and max(ratios) <= WITHIN]),
    )


CLAIM = Claim("α tells in how many steps an optimum at a known distance is reached", "section 2.1", measure)
