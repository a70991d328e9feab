"""With β1 = β2, Adam's second moment is its first one squared, plus a variance that it estimates online.

From m₊ = m + (1 - β)(g - m) and v₊ = β v + (1 - β) g² follows for s = v - m² that s₊ = β s + β (1 -
β)(g - m)²: an exponential average of the squared surprise, and so never negative. The step m / √v is
then 1 / √(1 + s / m²): the sign of m, shortened by the ratio of noise to signal.
"""

from __future__ import annotations

import numpy as np

from adamas.rules import Adam

from ..claims._steps import TINY, Array, states
from ..findings import verdict
from . import Comparison, Learned, Value

BETAS = (0.0, 0.5, 0.9, 0.95, 0.99)
STEPS, ELEMENTS = 400, 50
WITHIN = 1e-9  # of v: the error of a difference of two squares


def gradients() -> dict[str, Array]:
    """Return sequences of gradients by kind, (steps, elements)."""
    random, shape = np.random.default_rng(0), (STEPS, ELEMENTS)
    turning = np.where(np.arange(STEPS) % 2, -1.0, 1.0)[:, None] * random.uniform(0.5, 2, shape)
    return {
        "normal": random.normal(size=shape),
        "alternating": turning,
        "heavy-tailed": random.standard_cauchy(shape),
        "rare": random.normal(size=shape) * (random.uniform(size=shape) < 0.05),
        "of large mean": random.normal(100, 1, shape),
    }


def variance(beta: float, sequence: Array) -> Array:
    """Return s after each gradient by its own recursion, (steps, elements)."""
    m, s, found = np.zeros(sequence.shape[1]), np.zeros(sequence.shape[1]), []
    for g in sequence:
        s = beta * s + beta * (1 - beta) * (g - m) ** 2
        m = beta * m + (1 - beta) * g
        found.append(s)
    return np.array(found)


def error(beta: float, sequence: Array) -> float:
    """Return the largest |v - (m² + s)| over v."""
    found = [(m, v) for _, m, v in states(Adam(1.0, beta, beta, TINY), sequence)]
    m, v = (np.array(each) for each in zip(*found, strict=True))
    apart = np.abs(v - (m**2 + variance(beta, sequence)))
    return float(np.max(apart / np.where(v == 0, 1, v)))


def measure() -> Comparison:
    """Measure the error of the identity over all kinds of gradients."""
    errors = {beta: max(error(beta, each) for each in gradients().values()) for beta in BETAS}
    return Comparison(
        f"over {len(gradients())} kinds of gradients, {STEPS} steps of {ELEMENTS} elements, v differs from "
        f"m² + s by at most {max(errors.values()):.1e} of v (rounding: {WITHIN:g} allowed)",
        verdict([each <= WITHIN for each in errors.values()]),
        [Value(f"β1 = β2 = {beta:g}: largest |v - m² - s| / v", 0.0, each) for beta, each in errors.items()],
    )


CLAIM = Learned(
    "With β1 = β2 = β, v is m² plus an online estimate of the gradient's variance",
    "Orvieto & Gower 2025, arXiv 2505.21829",
    "v = m² + s with s ← β s + β (1 - β)(g - m)², so that m / √v = sign(m) / √(1 + s / m²)",
    measure,
    read=False,
)
