"""What the figures of the paper's experiments have in common: hyperparameters, and grids of stepsizes."""

from __future__ import annotations

from collections.abc import Iterable

EPS = 1e-8  # the paper's for Adam (Algorithm 1); open for AdaGrad and RMSProp
BETA1, BETA2 = 0.9, 0.999  # the paper's "good default settings" (Algorithm 1)
MOMENTUM = 0.9  # open: for section 6.1 the paper searches it as well, by a grid it does not give
RMSPROP_DECAY = 0.99  # open
DIGITS_SHIFT = 0.5  # the digits of the demos are few: fewer steps, so larger ones


def powers(exponents: Iterable[float], shift: float = 0.0) -> list[float]:
    """Ten to these exponents, moved by so much: to three digits, as they are told."""
    return [float(f"{10 ** (exponent + shift):.3g}") for exponent in exponents]
