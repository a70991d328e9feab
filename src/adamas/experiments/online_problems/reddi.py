"""Rare large gradients one way, frequent small ones the other: where Adam fails (Reddi, Kale & Kumar 2018).

On [-1, 1] each cost is a line: f_t(x) = L x in one round of every n, f_t(x) = -s x in the others. The
rare rounds outweigh the others, L > (n - 1) s, so -1 is the best point; but an average of squared gradients
that forgets makes the step of a large gradient about as short as that of a small one.

- Their Theorem 1: L = C > 2, s = 1, n = 3, rounds 1, 4, 7, ... are rare; β1 = 0, β2 = 1 / (1 + C²).
- Their section 5: L = 1010, s = 10, n = 101, in order, or at random with probability .01 for the rare cost.

`edges` says how x is bounded. "projected", as in their paper: points are projected on [-1, 1] after a step.
"flat", ours: there is no feasible set; the costs are L max(x, -1) and -s min(x, 1), convex on the whole line,
with the same gradients inside, and 0 or the same outside. Nothing then happens to the points that Algorithm 1
does not do.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..problems import Option

RECORDED_AS = "rare"  # the name in records
PROBABILITY = 0.01  # of the rare cost where the order is random


class Reddi:
    """The problem; `rare[t - 1]` says whether the large gradient comes in round t."""

    gradient_bound: float

    def __init__(
        self, large: float, small: float, rare: NDArray[np.bool_], period: int, flat: bool, start: float
    ) -> None:
        self.start, self.period, self.gradient_bound = start, period, max(large, small)
        self._large, self._small, self._flat = large, small, flat
        self._rare = rare.tolist()  # two objects however long the list; items of an array are slow
        self._counts = np.cumsum(rare)

    def cost(self, t: int, point: float) -> float:
        if self._rare[t - 1]:
            return self._large * (max(point, -1.0) if self._flat else point)
        return -self._small * (min(point, 1.0) if self._flat else point)

    def gradient(self, t: int, point: float) -> float:
        if self._rare[t - 1]:
            return 0.0 if self._flat and point < -1 else self._large
        return 0.0 if self._flat and point > 1 else -self._small

    def project(self, point: float) -> float:
        return point if self._flat else min(max(point, -1.0), 1.0)

    def best(self, rounds: int) -> tuple[float, float]:
        """Return -1 or 1, beyond which no cost falls, and the sum of the costs there."""
        rare = int(self._counts[rounds - 1])
        total = self._large * rare - self._small * (rounds - rare)
        return (-1.0, -total) if total >= 0 else (1.0, total)


def build(
    seed: int,
    rounds: int,
    large: Option,
    small: Option,
    period: Option,
    order: Option,
    edges: Option = "projected",
    start: Option = 0.0,
) -> Reddi:
    """Build the problem.

    Args:
        seed: decides the order, if it is random.
        rounds: the number of costs.
        large, small, period: L, s and n.
        order: "in turn", or "random": a round is rare with probability .01, whatever the period.
        edges: "projected" or "flat".
        start: θ_1.

    Raises:
        ValueError: another order.
    """
    if order == "in turn":
        rare, cycle = np.arange(1, rounds + 1) % int(period) == 1, int(period)
    elif order == "random":
        rare, cycle = np.random.default_rng(seed).uniform(size=rounds) < PROBABILITY, 1
    else:
        raise ValueError(f"order must be 'in turn' or 'random', got {order!r}")
    return Reddi(float(large), float(small), rare, cycle, edges == "flat", float(start))
