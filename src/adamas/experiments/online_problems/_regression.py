"""Regression costs on random rows, over the box of parameters with elements in [-1, 1]."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

Vector = NDArray[np.float64]
Objective = Callable[[Vector], tuple[float, Vector]]

ROWS, TARGETS = 0, 1  # two independent generators a seed: one for the rows, one for everything else


def rows(seed: int, rounds: int, dimensions: int) -> Vector:
    """Draw the features of each round, independent and uniform on [-1, 1], (rounds, dimensions)."""
    return np.random.default_rng([seed, ROWS]).uniform(-1, 1, (rounds, dimensions))


class Box:
    """The feasible set {θ: |θ_i| ≤ 1}, and θ_1 = 0 in it."""

    period = 1

    def __init__(self, dimensions: int) -> None:
        self.start = np.zeros(dimensions)
        self._best = self.start

    def project(self, point: Vector) -> Vector:
        """Clip, which is the projection on a box in every diagonal norm."""
        return np.minimum(np.maximum(point, -1.0), 1.0)

    def minimize(self, objective: Objective) -> tuple[Vector, float]:
        """Return the argmin and min over the box of a convex function that gives its gradient too.

        The search starts where the last one ended, as the best of more rounds is near the best of fewer. It
        uses
        TNC: L-BFGS-B multiplies its little matrices with BLAS, whose threads would wait for each other.
        """
        tolerances = {"ftol": 1e-15, "gtol": 1e-9, "xtol": 0.0, "maxfun": 2000}
        bounds = [(-1.0, 1.0)] * len(self.start)
        found = minimize(objective, self._best, jac=True, bounds=bounds, method="TNC", options=tolerances)
        self._best = found.x
        return found.x, float(found.fun)
