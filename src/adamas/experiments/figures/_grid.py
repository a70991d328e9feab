"""Hyperparameters and grids of stepsizes that the figures of the paper's experiments have in common."""

from __future__ import annotations

from collections.abc import Iterable

EPS = 1e-8  # the paper's for Adam (Algorithm 1); open for AdaGrad and RMSProp
BETA1, BETA2 = 0.9, 0.999  # the paper's "good default settings" (Algorithm 1)
MOMENTUM = 0.9  # open: section 6.1 searches it as well, by a grid that the paper does not give
RMSPROP_DECAY = 0.99  # open
DIGITS_SHIFT = 0.5  # the demos' digits are few, so there are fewer steps, and they must be larger


def powers(exponents: Iterable[float], shift: float = 0.0) -> list[float]:
    """Return ten to these exponents plus a shift, to the three digits that are displayed."""
    return [float(f"{10 ** (exponent + shift):.3g}") for exponent in exponents]
