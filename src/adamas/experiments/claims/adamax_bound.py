"""Section 7.1: AdaMax steps at most α, and its u needs no bias correction.

Three parts, each with room for rounding alone, as the paper prints "≤": the bound for stationary gradients of
several kinds; the bound for gradients that shrink by β2 a step, the worst case, for which |g_i| ≤ u_t /
β2^(t-i) is an equation; and u = |g| from the first step on where gradients are constant, as for a corrected
average.
"""

from __future__ import annotations

import numpy as np

from adamas.rules import AdaMax

from ..findings import Preset, verdict
from . import Claim, Measured
from ._steps import ELEMENTS, ROUNDING, kinds, states, steps

STEPS = 500
RULE = AdaMax(lr=1.0)


def measure(preset: Preset) -> Measured:
    """Measure the longest step for gradients of both sorts, and the bias of u."""
    stationary = kinds(STEPS, ELEMENTS[preset])
    common = max(float(np.abs(steps(RULE, gradients)).max()) for gradients in stationary.values())
    shrinking = float(np.abs(steps(RULE, RULE.beta2 ** np.arange(STEPS))).max())
    bias = max(float(np.abs(u - 1)) for _, _, u in states(RULE, np.ones(STEPS)))
    text = (
        f"longest step: {common:.4f} α for gradients {', '.join(stationary)}; {shrinking:.4f} α for ones "
        f"that shrink by β2 a step; u is off by {100 * bias:.0f} % under constant gradients, from step 1 on"
    )
    return Measured(text, verdict([common <= 1 + ROUNDING, shrinking <= 1 + ROUNDING, bias <= ROUNDING]))


CLAIM = Claim(
    "AdaMax steps at most α, and needs no correction of the bias of u", "section 7.1, Algorithm 2", measure
)
