"""Least squares: f_t(θ) = ½ (a_t·θ - b_t)² with b_t = a_t·θ° + noise, over the box |θ_i| ≤ 1."""

from __future__ import annotations

from typing import cast

import numpy as np

from ..problems import Option
from ._regression import TARGETS, Box, Vector, rows

NOISE = 0.5  # standard deviation of the targets


class LeastSquares(Box):
    """The problem; θ° is uniform on the box."""

    def __init__(self, seed: int, rounds: int, dimensions: int) -> None:
        super().__init__(dimensions)
        random = np.random.default_rng([seed, TARGETS])
        truth = random.uniform(-1, 1, dimensions)
        self._a = rows(seed, rounds, dimensions)
        self._b = self._a @ truth + NOISE * random.standard_normal(rounds)
        residual = np.abs(self._a).sum(axis=1) + np.abs(self._b)  # at most so far from 0 in the box
        self.gradient_bound = float((np.abs(self._a).max(axis=1) * residual).max())

    def cost(self, t: int, point: Vector) -> float:
        return 0.5 * float(self._a[t - 1] @ point - self._b[t - 1]) ** 2

    def gradient(self, t: int, point: Vector) -> Vector:
        a = self._a[t - 1]
        return cast(Vector, (a @ point - self._b[t - 1]) * a)

    def best(self, rounds: int) -> tuple[Vector, float]:
        a, b = self._a[:rounds], self._b[:rounds]
        # A sum of squares over all rounds is a quadratic with as few coefficients as there are dimensions.
        square, linear, constant = a.T @ a, a.T @ b, float(b @ b)

        def mean(point: Vector) -> tuple[float, Vector]:
            image = square @ point
            return float(point @ image / 2 - linear @ point) / rounds, (image - linear) / rounds

        point, least = self.minimize(mean)
        return point, rounds * least + constant / 2


def build(seed: int, rounds: int, dimensions: Option) -> LeastSquares:
    """Build the problem with so many features."""
    return LeastSquares(seed, rounds, int(dimensions))
