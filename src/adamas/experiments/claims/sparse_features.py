"""Section 4: for sparse features the sums in the bound are O(log d √T), a non-adaptive method has O(√(dT)).

Features are those of Duchi, Hazan & Singer 2011 (section 1.2): feature i is present with probability 1/i².
Both sums are of expected values, so they are means over seeds; T is d² at the largest d, so that the rarest
features occur too.
"""

from __future__ import annotations

import numpy as np

from adamas.rules import Adam

from ..bootstrap import estimate
from ..findings import Preset, verdict
from . import Claim, Measured
from ._steps import Array

ROUNDS = 1_000_000
DIMENSIONS = (10, 100, 1_000)
SEEDS = {"demo": 16, "quick": 64, "paper": 256}
LAST = 20_000  # the rounds that v̂ remembers: β2 to this power is 2e-9
GROWTH = 1.25  # relative to the growth of log d, from the first d to the last
NAMES = "Σ‖g_i‖", "Σ√(T v̂_i)"


def chances(dimensions: int) -> Array:
    """Return the probability of each feature."""
    return np.asarray(1 / np.arange(1, dimensions + 1) ** 2)


def totals(dimensions: int, seeds: int) -> Array:
    """Return both `NAMES` over √T at T = `ROUNDS`, for gradients of ±1 where features are, (seeds, 2)."""
    return np.array([_totals(dimensions, np.random.default_rng(seed)) for seed in range(seeds)])


def _totals(dimensions: int, random: np.random.Generator) -> tuple[float, float]:
    beta2, chance = Adam().beta2, chances(dimensions)
    before, late = (random.binomial(rounds, chance) for rounds in (ROUNDS - LAST, LAST))
    ages = (random.choice(LAST, count, replace=False, shuffle=False) for count in late)
    v = np.array([(1 - beta2) * (beta2**age).sum() for age in ages]) / (1 - beta2**ROUNDS)
    return float(np.sqrt((before + late) / ROUNDS).sum()), float(np.sqrt(v).sum())


def measure(preset: Preset) -> Measured:
    """Measure the growth of both with d, beside log d and √d."""
    sample = np.stack([totals(dimensions, SEEDS[preset]) for dimensions in DIMENSIONS], axis=1)
    sums = sample.mean(axis=0)
    first, last = DIMENSIONS[0], DIMENSIONS[-1]
    log, root = np.log(last) / np.log(first), (last / first) ** 0.5
    growths = estimate(_growth, sample, ratio=True)
    shown = [
        f"{name} is {', '.join(f'{each:.2f}' for each in column)} × √T and grows {growth:.2f} ×"
        for name, column, growth in zip(NAMES, sums.T, growths, strict=True)
    ]
    return Measured(
        f"at d = {', '.join(f'{each:,}' for each in DIMENSIONS)} and T = {ROUNDS:,} {'; '.join(shown)} "
        f"(our threshold: at most {GROWTH * log:.2f} ×: log d grows {log:.2f} ×, √d {root:.0f} ×)",
        verdict([growth.within(0, GROWTH * log) for growth in growths]),
    )


def _growth(drawn: Array) -> Array:
    """Return the growth of the means over seeds, (resamples, sums), of (resamples, seeds, d, sums)."""
    means = drawn.mean(axis=1)
    return np.asarray(means[:, -1] / means[:, 0])


CLAIM = Claim(
    "For sparse features the sums in the regret bound are O(log d √T), better than the O(√(dT)) of a "
    "non-adaptive method",
    "section 4, after Theorem 4.1",
    measure,
)
