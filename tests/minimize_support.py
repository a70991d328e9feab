"""Functions to minimize, with their gradients, minima and noise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

WithGradient = Callable[[np.ndarray], tuple[float, np.ndarray]]


@dataclass(frozen=True)
class Problem:
    """`fun` returns its value and gradient; the least value is 0."""

    fun: WithGradient
    x0: tuple[float, ...]

    def value(self, x: np.ndarray) -> float:
        return self.fun(x)[0]

    def noisy(self, deviation: float, seed: int) -> WithGradient:
        """The same with independent noise in the value and in each element of the gradient."""
        random = np.random.default_rng(seed)

        def fun(x: np.ndarray) -> tuple[float, np.ndarray]:
            value, g = self.fun(x)
            noise = deviation * random.standard_normal(g.size + 1)
            return value + noise[0], g + noise[1:]

        return fun


def rosenbrock(x: Any) -> tuple[float, np.ndarray]:
    a, b = x[1] - x[0] ** 2, 1 - x[0]
    return 100 * a**2 + b**2, np.array([-400 * x[0] * a - 2 * b, 200 * a])


def beale(point: Any) -> tuple[float, np.ndarray]:
    x, y = point
    a, b, c = 1.5 - x + x * y, 2.25 - x + x * y**2, 2.625 - x + x * y**3
    gx = 2 * a * (y - 1) + 2 * b * (y**2 - 1) + 2 * c * (y**3 - 1)
    return a * a + b * b + c * c, np.array([gx, 2 * a * x + 4 * b * x * y + 6 * c * x * y**2])


def booth(point: Any) -> tuple[float, np.ndarray]:
    x, y = point
    a, b = x + 2 * y - 7, 2 * x + y - 5
    return a * a + b * b, np.array([2 * a + 4 * b, 4 * a + 2 * b])


def himmelblau(point: Any) -> tuple[float, np.ndarray]:
    x, y = point
    a, b = x * x + y - 11, x + y * y - 7
    return a * a + b * b, np.array([4 * x * a + 2 * b, 2 * a + 4 * y * b])


def quadratic(*curvatures: float) -> WithGradient:
    h = np.array(curvatures)
    return lambda x: (0.5 * float(h @ (x * x)), h * x)


PROBLEMS = {
    "rosenbrock": Problem(rosenbrock, (-1.2, 1.0)),
    "beale": Problem(beale, (1.0, 1.0)),
    "booth": Problem(booth, (-3.0, 4.0)),
    "himmelblau": Problem(himmelblau, (0.0, 0.0)),
    "quadratic-1": Problem(quadratic(1.0), (3.0,)),
    "quadratic-30": Problem(quadratic(30.0), (3.0,)),
    "quadratic-10": Problem(quadratic(*np.logspace(0, 2, 10)), (2.0,) * 10),
    "condition-1e6": Problem(quadratic(*np.logspace(-3, 3, 7)), (1.0,) * 7),
    "quadratic-100": Problem(quadratic(*np.logspace(0, 1, 100)), (1.0,) * 100),
}
