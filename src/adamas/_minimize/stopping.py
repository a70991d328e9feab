"""When a run has converged: a gradient below a tolerance, or a run that gets nowhere any more.

Under noise neither a value nor a gradient tells that by itself, and at a fixed step size the iterates never
come to rest. What ends is the progress: the gradient of a run that still moves somewhere has a mean, and the
objective a trend. Two tests look at the last third and the last quarter of the run:

- the signal of the gradient, |Σ g|² / Σ g², a coordinate, which is what |m̂|² / v̂ is to Adam, over a part
  of the run instead of 1 / (1 - β1) steps. It grows like the number of iterations while there is a direction
  to go, is 1 for noise without a direction, and falls towards 0 at a minimum, where every step away is
  answered by a gradient back: the sum of the gradients is then bounded, as the iterates are.
- the trend of the objective: the slope of block means over its standard error.

One of the two parts has to pass both, at each check for a while: one or few coordinates are below the
threshold by chance now and then. A run in which no direction was ever seen may be at a minimum from the
beginning, or see nothing for noise; it has to pass for as long again as it has run.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from .blocks import Blocks, Window
from .trees import Array

__all__ = ["Evidence", "Judge", "evidence"]

# Checks begin here, and then come whenever the run is so much longer.
FIRST_CHECK = 96
GROWTH = 1.05
# Parts of the run, and the largest signal that converged runs have there; for many coordinates the second
# threshold, so many deviations of noise below 1, is the larger one.
PARTS = ((1 / 3, 0.6), (1 / 4, 0.4))
DEVIATIONS = 1.5
# A trend further below zero is one.
TREND = -2.5
# Both hold while the run grows by 1 + this / n; or by a factor of 2, where no signal was ever so many
# deviations of noise above 1.
PERSISTENCE = 0.2
SEEN = 6.0
UNSEEN_PERSISTENCE = 2.0
# Iterations in a row whose gradient is below `tol`: of a noisy gradient one is, once in a while.
IN_A_ROW = 3


class Evidence(NamedTuple):
    """What the tests found in a window.

    Attributes:
        signal: the mean over coordinates of |Σ g|² / Σ g².
        trend: the slope of the objective over its standard error.
    """

    signal: float
    trend: float


def evidence(window: Window) -> Evidence:
    """The statistics of both tests."""
    squares = window.squares
    total = window.gradients.sum(axis=0)
    signal = np.divide(total * total, squares, out=np.zeros_like(total), where=squares > 0)
    return Evidence(float(signal.mean()), trend(window.values))


def trend(values: Array) -> float:
    """The slope of a line through values over its standard error, which is at least that of rounding."""
    time = np.arange(len(values)) - (len(values) - 1) / 2
    centred = values - values.mean()
    spread = float(time @ time)
    slope = float(time @ centred) / spread
    rest = centred - slope * time
    rounding = np.finfo(np.float64).eps * float(np.abs(values).max())
    error = math.sqrt(float(rest @ rest) / (len(values) - 2) / spread) + rounding
    return slope / error if error else 0.0


class Judge:
    """Decides after each iteration; holds what it found before, which is part of the state."""

    def __init__(self, tol: float, size: int, stationary: bool) -> None:
        """`size` is that of x; `stationary` says whether a run that gets nowhere any more ends."""
        self._tol, self._size, self._on = tol, size, stationary
        self._most = size * tol * tol
        self._deviation = math.sqrt(2 / size)  # of the signal of noise
        self._small, self._since, self._next, self._peak = 0, 0, FIRST_CHECK, 0.0

    def small_gradient(self, g: Array, squares: float) -> bool:
        """Whether the gradient, of this sum of squares, has been within `tol` for the last iterations."""
        # The largest square is at least the mean one, which spares a search for it.
        if squares > self._most or float(np.abs(g).max()) > self._tol:
            self._small = 0
            return False
        self._small += 1
        return self._small >= IN_A_ROW

    def stationary(self, t: int, blocks: Blocks) -> Evidence | None:
        """What says so, where a run of t iterations gets nowhere any more; asked after each block."""
        if t < self._next or not self._on:
            return None
        self._next = max(t + FIRST_CHECK // 6, math.ceil(t * GROWTH))
        passed = None
        for share, most in PARTS:
            window = blocks.window(share)
            if window is None:
                return None
            found = evidence(window)
            self._peak = max(self._peak, found.signal)
            if found.signal <= max(most, 1 - DEVIATIONS * self._deviation) and found.trend >= TREND:
                passed = found
        if passed is None:
            self._since = 0
            return None
        self._since = self._since or t
        return passed if t >= self._persistence() * self._since else None

    def _persistence(self) -> float:
        seen = self._peak - 1 > SEEN * self._deviation
        return 1 + PERSISTENCE / self._size if seen else UNSEEN_PERSISTENCE

    def state(self) -> tuple[int, int, int, float]:
        """All of it, as plain values."""
        return self._small, self._since, self._next, self._peak

    def load(self, state: tuple[int, int, int, float]) -> None:
        """Go on from what `state` returned."""
        self._small, self._since, self._next, self._peak = state
