"""Logistic regression: f_t(θ) = ln(1 + exp(-y_t a_t·θ)), y_t = ±1 drawn from a model θ°, over |θ_i| ≤ 1."""

from __future__ import annotations

import math
from typing import cast

import numpy as np
from scipy.special import expit

from ..problems import Option
from ._regression import TARGETS, Box, Vector, rows


class Logistic(Box):
    """The problem; θ° is uniform on a box four times as wide, so the best point is partly at the edge."""

    def __init__(self, seed: int, rounds: int, dimensions: int) -> None:
        super().__init__(dimensions)
        random = np.random.default_rng([seed, TARGETS])
        truth = random.uniform(-4, 4, dimensions)
        a = rows(seed, rounds, dimensions)
        signs = np.where(random.uniform(size=rounds) < expit(a @ truth), 1.0, -1.0)
        self._ya = signs[:, None] * a
        self.gradient_bound = float(np.abs(a).max())

    def cost(self, t: int, point: Vector) -> float:
        return float(np.logaddexp(0, -(self._ya[t - 1] @ point)))

    def gradient(self, t: int, point: Vector) -> Vector:
        ya = self._ya[t - 1]
        return cast(Vector, ya * (-1 / (1 + math.exp(ya @ point))))

    def best(self, rounds: int) -> tuple[Vector, float]:
        ya = self._ya[:rounds]

        def mean(point: Vector) -> tuple[float, Vector]:
            margins = ya @ point
            return float(np.logaddexp(0, -margins).mean()), -(expit(-margins) @ ya) / rounds

        point, least = self.minimize(mean)
        return point, rounds * least


def build(seed: int, rounds: int, dimensions: Option) -> Logistic:
    """Build the problem with so many features."""
    return Logistic(seed, rounds, int(dimensions))
