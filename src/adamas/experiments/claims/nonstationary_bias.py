"""Section 3, equation (4): the term ζ, the bias that remains where E[g²] drifts.

v is linear in the squared gradients. So gradients of exactly the expected square give the expectation of v
without sampling error, and each kind of drift is one coordinate.

The paper prints that "β1 can (and should)" be so chosen; since ζ belongs to an average with β2, it means β2.
"""

from __future__ import annotations

import numpy as np

from adamas.rules import Adam

from ..findings import Preset, verdict
from . import Claim, Measured
from ._moments import corrected, walk
from ._steps import Array

SHORT, LONG = 0.1, 10.0  # the reach of the average, 1 / (1 - β2), in units of the time the drift takes
# With a reach of a tenth of that time, gradients are about a tenth out of date on average: 10 % to first
# order, and half as much again for the higher orders.
SMALL = 0.15
DRIFTS = ("constant", "falling e-fold", "rising e-fold", "swinging between 1/2 and 3/2")
TIMES = {"demo": 200, "quick": 1000, "paper": 5000}  # steps in which E[g²] changes e-fold


def second_moments(t: int, time: int) -> Array:
    """Return E[g²] at step t under each of `DRIFTS`."""
    s = t / time
    return np.array([1.0, np.exp(-s), np.exp(s), 1 + 0.5 * np.sin(s)])


def biases(reach: float, time: int) -> Array:
    """Return the largest |E[v̂] / E[g²] - 1| of each drift, in the last half of 10 of its times."""
    rule = Adam(beta2=1 - 1 / (reach * time))
    taken = walk(rule, np.zeros(4), lambda t, p: np.sqrt(second_moments(t, time)), 10 * time)
    last = [corrected(rule, each)[1] / each.g**2 - 1 for each in taken if each.t > 5 * time]
    return np.asarray(np.abs(last).max(axis=0))


def measure(preset: Preset) -> Measured:
    """Measure with a short and with a long reach."""
    short, long = (biases(reach, TIMES[preset]) for reach in (SHORT, LONG))
    shown = [f"{name}: {a:.1%} and {b:.0%}" for name, a, b in zip(DRIFTS, short, long, strict=True)]
    return Measured(
        f"bias of v̂ averaged over {SHORT:g} and over {LONG:g} × the time of the drift: {'; '.join(shown)} "
        f"(our threshold: at most {SMALL:.0%} for the short, and for the long more where there is drift)",
        verdict([*(short <= SMALL), *(long[1:] > short[1:])]),
    )


CLAIM = Claim(
    "Where E[g²] is not stationary the bias that is left stays small if β2 is such that gradients far in the "
    "past weigh little; where it is stationary there is none",
    "section 3, the term ζ of equation (4)",
    measure,
)
