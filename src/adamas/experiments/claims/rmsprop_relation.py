"""Sections 5 and 6.4: the common parts and the differences of Adam and RMSProp with momentum.

Section 5 names two differences: momentum is taken of the rescaled gradient, and there is no bias correction.
Section 6.4 calls Adam without the correction "RMSProp with momentum" all the same. So each part is measured
alone. ε is outside the root in both.
"""

from __future__ import annotations

import numpy as np

from adamas.rules import Adam, RMSprop, Rule

from ..findings import Preset, verdict
from . import Claim, Measured
from ._steps import Array, iterates

LR, BETA1, BETA2 = 1e-3, 0.9, 0.999
STEPS = {"demo": 500, "quick": 5000, "paper": 50_000}
DIFFERENT = 0.01  # of the distance gone: far beyond rounding, which is 1e-16


def path(rule: Rule, steps: int) -> Array:
    """Return the iterates under Gaussian gradients whose scale swings between 1/e and e."""
    scale = np.exp(np.sin(np.arange(steps) / 50))[:, None]
    return iterates(rule, scale * np.random.default_rng(0).standard_normal((steps, 100)))


def apart(a: Array, b: Array) -> float:
    """Return the largest distance of iterates of the same step, in units of the farthest iterate of `a`."""
    return float(np.abs(a - b).max() / np.abs(a).max())


def measure(preset: Preset) -> Measured:
    """Compare without momentum and correction, with momentum, and with correction."""
    steps = STEPS[preset]
    plain = path(Adam(LR, 0.0, BETA2, bias_correction=False), steps)
    same = apart(plain, path(RMSprop(LR, BETA2), steps))
    averaged = path(Adam(LR, BETA1, BETA2, bias_correction=False), steps)
    # Momentum is a sum and the moment is a mean: the factor 1 - β1 makes them comparable.
    momentum = apart(averaged, path(RMSprop(LR * (1 - BETA1), BETA2, momentum=BETA1), steps))
    correction = apart(plain, path(Adam(LR, 0.0, BETA2), steps))
    return Measured(
        f"without momentum and correction they differ by {same:.1g} of the distance gone (0 by the "
        f"algebra), with momentum by {momentum:.2g}, by correction alone {correction:.2g} "
        f"(our threshold: over {DIFFERENT:g})",
        verdict([same == 0, momentum > DIFFERENT, correction > DIFFERENT]),
    )


CLAIM = Claim(
    "RMSProp with momentum is near to Adam, but takes momentum of the rescaled gradient and corrects no bias",
    "section 5, RMSProp; section 6.4",
    measure,
)
