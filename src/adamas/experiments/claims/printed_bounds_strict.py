"""Section 2.1: its two upper bounds on a step, taken as printed: for every sequence of gradients.

They are tested with gradients after a long time without any: a few equal ones, and ones that grow by β2 / β1
a step, for which the Cauchy-Schwarz inequality of m and v is an equation, so that no step is longer. A bound
holds if none of them exceeds it by more than rounding: one counterexample is enough.
"""

from __future__ import annotations

import numpy as np

from adamas.rules import Adam

from ..findings import Preset, verdict
from . import Claim, Measured
from ._steps import ROUNDING, TINY, Array, steps

NONE = 10_000  # steps without a gradient: 1 - β2^t is 1 within 1e-4 after them
LAST = 150  # steps with one: (β1² / β2)^150 is nothing
# 1 - β1 > √(1 - β2), which is the first case, and the second.
BETAS = [(0.9, 0.999), (0.9, 0.98)]


def sequences(beta1: float, beta2: float) -> Array:
    """Return gradients, one sequence a column: two, three and four equal ones, then those that grow."""
    ages = np.arange(LAST)[::-1]
    equal = [np.where(ages < count, 1.0, 0.0) for count in (2, 3, 4)]
    return np.stack([*equal, (beta1 / beta2) ** ages], axis=1)


def measure(preset: Preset) -> Measured:
    """Measure the longest steps, for equal gradients and for all, in α."""
    within, texts = [], []
    for beta1, beta2 in BETAS:
        gradients = np.concatenate([np.zeros((NONE, 4)), sequences(beta1, beta2)])
        lengths = np.abs(steps(Adam(1.0, beta1, beta2, TINY), gradients)).max(axis=0)
        bound = max((1 - beta1) / (1 - beta2) ** 0.5, 1.0)
        within.append(bool(lengths.max() <= bound * (1 + ROUNDING)))
        two, three, *_, growing = lengths
        equal = f"{two:.2f} α for two equal gradients, {three:.2f} α for three"
        texts.append(f"β = ({beta1:g}, {beta2:g}): {equal}, {growing:.2f} α at most; printed: {bound:.2f} α")
    return Measured(f"after {NONE:,} steps without gradients, {'; '.join(texts)}", verdict(within))


CLAIM = Claim(
    "A step is at most α (1 - β1) / √(1 - β2) where 1 - β1 > √(1 - β2), and at most α otherwise",
    "section 2.1",
    measure,
)
