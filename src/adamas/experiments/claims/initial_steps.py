"""Section 3: the first steps without bias correction, for sparse gradients and β2 near 1.

An uncorrected first step is α (1 - β1) / √(1 - β2), a corrected one α. The paper prints "this case of small
β2" (last paragraph), but means a β2 near 1: at β2 = .9 the uncorrected step is .32 α, which is smaller. It
mentions sparse gradients because they require such a β2. (Where an element's first gradient comes late, the
corrected step is as large: Algorithm 1 corrects by the number of steps, not of the element's gradients.)
"""

from __future__ import annotations

import math

import numpy as np

from adamas.rules import Adam

from ..bootstrap import Estimate, ratio_of
from ..findings import Preset, verdict
from . import Claim, Measured
from ._steps import Array, steps

DECAYS = (0.9, 0.99, 0.999, 0.9999)
NEAR_ONE = (0.999, 0.9999)  # the paper's default, and the largest in its Figure 4
SPARSITY = 0.1  # share of steps at which an element has a gradient
STEPS = 10  # the initial ones
LARGER = 2.0  # "much larger" is at least twice, our choice
BLOCKS = 10
ELEMENTS = {"demo": 10_000, "quick": 100_000, "paper": 1_000_000}


def sizes(rule: Adam, elements: int) -> tuple[float, Array]:
    """Return the first step where there is a gradient at it, and the mean |Δ| of `STEPS`, in units of α.

    The mean is by block of elements, (`BLOCKS`,).
    """
    random, shape = np.random.default_rng(0), (STEPS, elements)
    gradients = random.standard_normal(shape) * (random.random(shape) < SPARSITY)
    moved = np.abs(steps(rule, gradients)) / rule.lr
    return float(moved[0].max()), moved.reshape(STEPS, BLOCKS, -1).mean(axis=(0, 2))


def measure(preset: Preset) -> Measured:
    """Measure both, uncorrected over corrected, by β2."""
    ratios = {}
    for beta2 in DECAYS:
        with_it, without = (
            sizes(Adam(beta2=beta2, bias_correction=each), ELEMENTS[preset]) for each in (True, False)
        )
        ratios[beta2] = Estimate(without[0] / with_it[0]), ratio_of(without[1], with_it[1])
    shown = [f"β2 = {beta2:g}: {first:.2f} × and {mean:.2f} ×" for beta2, (first, mean) in ratios.items()]
    return Measured(
        f"uncorrected over corrected, first step and mean |Δ| of {STEPS}, {SPARSITY:.0%} of gradients "
        f"not 0: {'; '.join(shown)} (our threshold: at least {LARGER:g} × from β2 = {NEAR_ONE[0]:g} on; "
        f"of a small β2, as the paper prints, it would be false)",
        verdict([ratio.within(LARGER, math.inf) for beta2 in NEAR_ONE for ratio in ratios[beta2]]),
    )


CLAIM = Claim(
    "With sparse gradients, which ask for a β2 near 1, lack of bias correction makes the initial steps much "
    "larger",
    "section 3, last paragraph",
    measure,
)
