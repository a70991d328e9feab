"""Section 2.1: in the common case no step is much longer than α.

The paper bounds |E[g] / √E[g²]|, the ratio of the true moments. The measurement is of their estimates: m̂
averages about 1 / (1 - β1) gradients, which leaves it a scatter of √((1 - β1) / (1 + β1)) = 0.23 of √v. So
"about α" is defined as: 99 of 100 steps of every kind of gradient are within α plus that scatter.
"""

from __future__ import annotations

import numpy as np

from adamas.rules import Adam

from ..bootstrap import Estimate, mean_of
from ..findings import Preset, verdict
from . import Claim, Measured
from ._steps import ELEMENTS, kinds, steps

STEPS = 1_000
RULE = Adam(lr=1.0, eps=0)
ABOUT = 1 + ((1 - RULE.beta1) / (1 + RULE.beta1)) ** 0.5
SHARE = 0.01


def measure(preset: Preset) -> Measured:
    """Measure the median and largest step for each kind of gradient, in α."""
    within, texts, shares = [], [], []
    for kind, gradients in kinds(STEPS, ELEMENTS[preset]).items():
        lengths = np.abs(steps(RULE, gradients))
        shares.append(mean_of(np.mean(lengths > ABOUT, axis=0)))  # elements have gradients of their own
        within.append(shares[-1].within(-np.inf, SHARE))
        texts.append(f"{kind} {np.median(lengths):.2f} and {lengths.max():.2f}")
    text = (
        f"median and largest |Δ| / α, {STEPS:,} steps of {ELEMENTS[preset]:,} elements: {'; '.join(texts)}; "
        f"beyond {ABOUT:.2f} α are at most {max(shares, key=_value):.2%} of the steps of a kind (our "
        f"threshold: {SHARE:.0%})"
    )
    return Measured(text, verdict(within))


def _value(each: Estimate) -> float:
    return each.value


CLAIM = Claim(
    "Where gradients are not sparse, each step is at most about α: α is a trust region",
    "section 2.1",
    measure,
)
