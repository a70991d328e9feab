"""Section 2.1 and the abstract: steps are invariant to the scale of gradients, also to one for each element.

It holds if no step differs by more than ROUNDING times α: the paper's cancellation is exact, for ε = 0.
"""

from __future__ import annotations

import numpy as np

from adamas.rules import Adam

from ..findings import Preset, verdict
from . import Claim, Measured
from ._steps import ELEMENTS, ROUNDING, kinds, steps

STEPS = 300


def measure(preset: Preset) -> Measured:
    """Compare steps with gradients unscaled, and scaled by 1e-6 to 1e6, a factor for each element."""
    factors = np.geomspace(1e-6, 1e6, ELEMENTS[preset])
    exact, default = 0.0, 0.0
    for gradients in kinds(STEPS, ELEMENTS[preset]).values():
        first, second = (
            float(np.abs(steps(rule, gradients * factors) - steps(rule, gradients)).max())
            for rule in (Adam(lr=1.0, eps=0), Adam(lr=1.0))
        )
        exact, default = max(exact, first), max(default, second)
    text = (
        f"gradients scaled by 1e-6 to 1e6 change a step by at most {exact:.0e} α at ε = 0 "
        f"(by {default:.1g} α at the default ε = 1e-8, which has the unit of a gradient)"
    )
    return Measured(text, verdict([exact <= ROUNDING]))


CLAIM = Claim(
    "A step is invariant to the scale of the gradients, also where each element is scaled by its own factor",
    "section 2.1, abstract",
    measure,
)
