"""Section 2, last paragraph: Algorithm 1 in another order of computation, with ε̂ instead of ε.

`Adam` computes in that order, so Algorithm 1 is written out here. Both are the same where ε̂ = ε √(1 - β2^t):
it holds if no step differs by more than ROUNDING α, for gradients as small as ε too. A fixed ε̂ is not judged.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from adamas.rules import NONNEGATIVE, SIGNED, Adam, Rule, xp

from ..findings import Preset, verdict
from . import Claim, Measured
from ._steps import ELEMENTS, ROUNDING, Array, kinds, steps

STEPS = 300


@dataclass(frozen=True)
class Algorithm1(Rule):
    """Adam in the order of Algorithm 1, with its default β's."""

    lr: float
    eps: float
    slots = {"m": SIGNED, "v": NONNEGATIVE}

    def scalars(self, t: int) -> tuple[float, ...]:
        return self.lr, self.eps, 1 - 0.9**t, 1 - 0.999**t

    @staticmethod
    def update(p: Array, g: Array, m: Array, v: Array, *scalars: float) -> tuple[Array, ...]:
        lr, eps, correction1, correction2 = scalars
        m = 0.9 * m + (1 - 0.9) * g
        v = 0.999 * v + (1 - 0.999) * g**2
        return p - lr * (m / correction1) / (xp.sqrt(v / correction2) + eps), m, v


def measure(preset: Preset) -> Measured:
    """Measure the largest difference of a step, in α, for gradients of size 1 and of size ε."""
    normal = kinds(STEPS, ELEMENTS[preset])["normal"]

    def difference(eps: float, rule: Adam, size: float) -> float:
        return float(np.abs(steps(rule, size * normal) - steps(Algorithm1(1.0, eps), size * normal)).max())

    zero = max(difference(0, Adam(lr=1.0, eps=0, eps_placement="hat"), size) for size in (1, 1e-8))
    same = max(difference(1e-8, Adam(lr=1.0, eps_placement="outside"), size) for size in (1, 1e-8))
    large, small = (difference(1e-8, Adam(lr=1.0, eps_placement="hat"), size) for size in (1, 1e-8))
    text = (
        f"a step differs from Algorithm 1's by at most {zero:.0e} α at ε̂ = ε = 0 and by {same:.0e} α at "
        f"ε = 1e-8, ε̂ = ε √(1 - β2^t); a fixed ε̂ = 1e-8 moves it by {large:.0e} α for gradients of size 1, "
        f"by {small:.1g} α for size 1e-8"
    )
    return Measured(text, verdict([zero <= ROUNDING, same <= ROUNDING]))


TEXT = "Algorithm 1 can be computed in a cheaper order, with the same steps up to what ε means"
CLAIM = Claim(TEXT, "section 2, last paragraph", measure)
