"""Section 5: AdaGrad is a limit of Adam, at β1 = 0, 1 - β2 infinitesimal and the stepsize α / √t.

It holds if the distance of the iterates goes to 0 with 1 - β2: at least ten times smaller for every factor of
a hundred in 1 - β2 (a hundred times, to first order), and in the end below a millionth of α.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from adamas.rules import Adagrad, Adam
from adamas.schedules import inverse_sqrt

from ..findings import Preset, verdict
from . import Claim, Measured
from ._steps import ELEMENTS, iterates, kinds

STEPS = 200
# The values of 1 - β2. Smaller ones leave too few digits in 1 - β2^t.
GAINS = [1e-2, 1e-4, 1e-6, 1e-8]


@dataclass(frozen=True)
class AnnealedAdam(Adam):
    """Adam with the stepsize α / √t."""

    def scalars(self, t: int) -> tuple[float, ...]:
        *decays, step, outside, inside = super().scalars(t)
        return *decays, step * inverse_sqrt(t - 1), outside, inside


def distances(preset: Preset, bias_correction: bool) -> list[float]:
    """Return the largest distance from AdaGrad's iterates, in α, for each of `GAINS`."""
    gradients = kinds(STEPS, ELEMENTS[preset])["normal"]
    limit = iterates(Adagrad(lr=1.0, eps=0), gradients)
    rules = [AnnealedAdam(1.0, 0.0, 1 - gain, 0.0, bias_correction) for gain in GAINS]
    return [float(np.abs(iterates(rule, gradients) - limit).max()) for rule in rules]


def measure(preset: Preset) -> Measured:
    """Measure the distances with bias correction."""
    found = distances(preset, bias_correction=True)
    texts = [f"{distance:.1e} α at 1 - β2 = {gain:g}" for gain, distance in zip(GAINS, found, strict=True)]
    text = f"largest distance from AdaGrad's iterates in {STEPS} steps: {', '.join(texts)}"
    return Measured(text, verdict([*(b <= a / 10 for a, b in pairwise(found)), found[-1] < 1e-6]))


CLAIM = Claim("With β1 = 0, 1 - β2 to 0 and the stepsize α / √t, Adam becomes AdaGrad", "section 5", measure)
