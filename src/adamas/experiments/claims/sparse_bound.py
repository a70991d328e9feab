"""Section 2.1: the bound on a step in the most severe sparsity, a gradient after and before none.

It holds if no step is longer than the bound times 1 + ROUNDING: a bound leaves room for rounding alone.
"""

from __future__ import annotations

import numpy as np

from adamas.rules import Adam

from ..findings import Preset, verdict
from . import Claim, Measured
from ._steps import ELEMENTS, ROUNDING, TINY, steps

STEPS = 5_000
# Pairs with 1 - β1 > √(1 - β2), the case of the bound. The paper's defaults are first.
BETAS = [(0.9, 0.999), (0.9, 0.995), (0.5, 0.9)]


def measure(preset: Preset) -> Measured:
    """Measure with one gradient for each element, at any time from first to last, of sizes 1e-6 to 1e6."""
    times = np.geomspace(1, STEPS, ELEMENTS[preset]).astype(int)
    gradients = np.zeros((STEPS, times.size))
    sizes = 10 ** np.random.default_rng(0).uniform(-6, 6, times.size)
    gradients[times - 1, np.arange(times.size)] = sizes
    within, texts = [], []
    for beta1, beta2 in BETAS:
        bound = (1 - beta1) / (1 - beta2) ** 0.5
        longest = np.abs(steps(Adam(1.0, beta1, beta2, TINY), gradients)).max()
        within.append(bool(longest <= bound * (1 + ROUNDING)))
        texts.append(f"{longest:.4f} α of {bound:.4f} α at β = ({beta1:g}, {beta2:g})")
    text = f"the longest step, for one gradient at any of the steps 1 to {STEPS:,}: {', '.join(texts)}"
    return Measured(text, verdict(within))


CLAIM = Claim(
    "In the most severe sparsity, one gradient among zeros, a step is at most α (1 - β1) / √(1 - β2)",
    "section 2.1",
    measure,
)
