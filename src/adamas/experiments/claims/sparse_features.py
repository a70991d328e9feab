"""Section 4: for sparse features the sums in the bound are O(log d √T), where the worst is O(d √T)."""

from __future__ import annotations

import numpy as np

from ..figures import Preset, verdict
from . import Claim, Measured

ROUNDS = 2_000
DIMENSIONS = (10, 100, 1_000)
GROWTH = 1.25  # over that of log d, from the first to the last


def total(dimensions: int) -> float:
    """Σ_i ‖g_{1:T,i}‖₂ / √T for gradients of ±1 that are there with probability 1/i²."""
    chance = 1 / np.arange(1, dimensions + 1) ** 2
    counts = np.random.default_rng(0).binomial(ROUNDS, chance)
    return float(np.sqrt(counts / ROUNDS).sum())


def measure(preset: Preset) -> Measured:
    """Features as Duchi, Hazan & Singer 2011 have them, with the exponent that gives the logarithm."""
    sums = [total(dimensions) for dimensions in DIMENSIONS]
    growth = (sums[-1] / sums[0]) / (np.log(DIMENSIONS[-1]) / np.log(DIMENSIONS[0]))
    listed = ", ".join(f"{each:.2f} √T at d = {d:,}" for each, d in zip(sums, DIMENSIONS, strict=True))
    return Measured(
        f"Σ‖g_i‖ is {listed}, {growth:.2f} × the growth of log d (at most {GROWTH:g} expected)",
        verdict([bool(growth <= GROWTH), sums[-1] < 0.1 * DIMENSIONS[-1]]),
    )


CLAIM = Claim(
    "For sparse gradients the sums in the regret bound are O(log d √T), not O(d √T)", "section 4", measure
)
