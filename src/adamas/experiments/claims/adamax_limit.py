"""Section 7.1: AdaMax is the limit of Adam's generalization from the L² to the L^p norm, p to infinity.

With AdaMax's u, u^p ≤ Σ (β2^(t-i) |g_i|)^p ≤ t u^p, so v / u^p is between 1 - β2^p and t (1 - β2^p). Its p-th
root is within a hundredth of 1 at p = 512 and t ≤ 200, and goes to 1 about as 1 / p. So it holds if a step's
difference at least halves from each p to the next, four times larger, and ends below a hundredth of α.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from adamas.rules import NONNEGATIVE, SIGNED, AdaMax, Rule, xp

from ..findings import Preset, verdict
from . import Claim, Measured
from ._steps import ELEMENTS, Array, kinds, steps

STEPS = 200
POWERS = [2, 8, 32, 128, 512]


@dataclass(frozen=True)
class LpAdam(Rule):
    """Adam with v_t = β2^p v_{t-1} + (1 - β2^p) |g_t|^p, stored as u = v^(1/p); for gradients not 0."""

    lr: float
    power: float
    beta1: float = 0.9
    beta2: float = 0.999
    slots = {"m": SIGNED, "u": NONNEGATIVE}

    def scalars(self, t: int) -> tuple[float, ...]:
        step = self.lr / (1 - self.beta1**t)
        return self.beta1, self.beta2, 1 - self.beta2**self.power, self.power, step

    @staticmethod
    def update(p: Array, g: Array, m: Array, u: Array, *scalars: float) -> tuple[Array, ...]:
        beta1, beta2, gain2, power, step = scalars
        m = (
            beta1 * m + (1 - beta1) * g
        )  # below, only numbers up to 1 are raised to powers, so nothing overflows
        top = xp.maximum(beta2 * u, xp.abs(g))
        u = top * ((beta2 * u / top) ** power + gain2 * (xp.abs(g) / top) ** power) ** (1 / power)
        return p - step * m / u, m, u


def measure(preset: Preset) -> Measured:
    """Measure the largest difference of a step from AdaMax's, in α, at each p."""
    every = list(kinds(STEPS, ELEMENTS[preset]).values())
    found = [
        max(float(np.abs(steps(LpAdam(1.0, p), g) - steps(AdaMax(1.0), g)).max()) for g in every)
        for p in POWERS
    ]
    texts = [f"{difference:.2g} α at p = {p}" for p, difference in zip(POWERS, found, strict=True)]
    text = f"largest difference of a step from AdaMax's in {STEPS} steps: {', '.join(texts)}"
    return Measured(text, verdict([*(b <= a / 2 for a, b in pairwise(found)), found[-1] < 0.01]))


CLAIM = Claim("Adam with the L^p norm becomes AdaMax as p goes to infinity", "section 7.1", measure)
