"""Test functions in the plane, for optimizers to meet: values and gradients in NumPy's float64.

Each takes points (..., 2).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["FUNCTIONS", "Function"]

Points = NDArray[np.float64]


@dataclass(frozen=True)
class Function:
    """A function whose least value is 0.

    Attributes:
        name: for people.
        value, gradient: from points (..., 2) to values (...) and gradients (..., 2).
        start: where to begin; (2,).
        noise: the deviation of the gradient's noise.
    """

    name: str
    value: Callable[[Points], Points]
    gradient: Callable[[Points], Points]
    start: Sequence[float]
    noise: float = 0.0


def _stacked(x: Any, y: Any) -> Points:
    return np.stack([x, y], axis=-1)


def _quadratic(p: Points) -> Points:
    return np.asarray(0.5 * (p[..., 0] ** 2 + 100 * p[..., 1] ** 2))


def _quadratic_gradient(p: Points) -> Points:
    return np.asarray(p * np.array([1.0, 100.0]))


def _rosenbrock(p: Points) -> Points:
    x, y = p[..., 0], p[..., 1]
    return np.asarray((1 - x) ** 2 + 100 * (y - x**2) ** 2)


def _rosenbrock_gradient(p: Points) -> Points:
    x, y = p[..., 0], p[..., 1]
    return _stacked(-2 * (1 - x) - 400 * x * (y - x**2), 200 * (y - x**2))


def _beale(p: Points) -> Points:
    x, y = p[..., 0], p[..., 1]
    return np.asarray(sum((c - x + x * y**k) ** 2 for k, c in _BEALE))


def _beale_gradient(p: Points) -> Points:
    x, y = p[..., 0], p[..., 1]
    parts = [(2 * (c - x + x * y**k), k) for k, c in _BEALE]
    return _stacked(sum(r * (y**k - 1) for r, k in parts), sum(r * k * x * y ** (k - 1) for r, k in parts))


_BEALE = ((1, 1.5), (2, 2.25), (3, 2.625))

FUNCTIONS = (
    Function("quadratic, condition 100", _quadratic, _quadratic_gradient, (-4.0, 2.0)),
    Function("the same, noisy", _quadratic, _quadratic_gradient, (-4.0, 2.0), noise=10.0),
    Function("Rosenbrock", _rosenbrock, _rosenbrock_gradient, (-1.2, 1.0)),
    Function("Beale", _beale, _beale_gradient, (1.0, 1.0)),
)
