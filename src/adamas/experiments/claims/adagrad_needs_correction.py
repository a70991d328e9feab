"""Section 5: without bias correction AdaGrad is no limit of Adam, because the updates become infinite.

The first step is then α / √(1 - β2). It holds if the distance from AdaGrad's iterates grows without end: by a
factor of five or more for every factor of a hundred in 1 - β2, where ten follows from the first step.
"""

from __future__ import annotations

from itertools import pairwise

from ..findings import Preset, verdict
from . import Claim, Measured
from .adagrad_limit import GAINS, STEPS, distances


def measure(preset: Preset) -> Measured:
    """Measure the distances without bias correction."""
    found = distances(preset, bias_correction=False)
    texts = [f"{distance:.3g} α at 1 - β2 = {gain:g}" for gain, distance in zip(GAINS, found, strict=True)]
    text = f"without it, largest distance from AdaGrad's iterates in {STEPS} steps: {', '.join(texts)}"
    return Measured(text, verdict([b >= 5 * a for a, b in pairwise(found)]))


CLAIM = Claim(
    "Without bias correction Adam does not become AdaGrad: with 1 - β2 to 0 its updates become infinite",
    "section 5",
    measure,
)
