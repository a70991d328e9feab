"""With α = 1 / √N and β2 = 1 - 1 / N, N steps of Adam without momentum find a small gradient: ln N / √N.

The bound of the paper's theorem for β1 = 0, on the mean of |∇F|² over the steps, for d parameters,
gradients of at most R in each, an L-smooth F that is F₀ at the start and F* at its lowest, and its ε
within the root, is

    2 R (F₀ - F*) / (α N) + E (ln(1 + R² / ((1 - β2) ε)) / N - ln β2),
    E = 4 d R² / √(1 - β2) + α d R L / (1 - β2).

It is told here as it is remembered. F is not convex: Σ x² / (1 + x²), whose gradient is at most .65.
"""

from __future__ import annotations

import itertools

import numpy as np

from adamas.backends import reference
from adamas.rules import Adam

from ..bootstrap import Estimate, mean_of
from ..claims._steps import Array
from ..findings import verdict
from . import Comparison, Learned, Value

LENGTHS = (100, 400, 1_600, 6_400)  # N
DIMENSIONS, SEEDS, START, EPS = 10, 20, 2.0, 1e-8
NOISE = 1.0  # uniform within ± this
STEEPEST = 3**1.5 * 3 / 16 * 2 / 3  # of 2 x / (1 + x²)², at x = 1 / √3: .65
LARGEST, SMOOTH = STEEPEST + NOISE, 2.0  # R and L


def slope(x: Array) -> Array:
    """Return ∇F."""
    return np.asarray(2 * x / (1 + x**2) ** 2)


def bound(steps: int) -> float:
    """Return the theorem's bound after N steps."""
    alpha, beta2 = 1 / np.sqrt(steps), 1 - 1 / steps
    lowered = DIMENSIONS * START**2 / (1 + START**2)
    each = 4 * DIMENSIONS * LARGEST**2 / np.sqrt(1 - beta2)
    each += alpha * DIMENSIONS * LARGEST * SMOOTH / (1 - beta2)
    memory = np.log1p(LARGEST**2 / ((1 - beta2) * EPS)) / steps - np.log(beta2)
    return float(2 * LARGEST * lowered / (alpha * steps) + each * memory)


def found(steps: int) -> Array:
    """Return the mean of |∇F|² over the points before each step, (seeds,)."""
    random, shape = np.random.default_rng(0), (SEEDS, DIMENSIONS)
    rule = Adam(1 / np.sqrt(steps), 0.0, 1 - 1 / steps, EPS)
    states = reference.trajectory(
        rule, np.full(shape, START), lambda t, x: slope(x) + random.uniform(-NOISE, NOISE, shape), steps
    )
    squares = ((slope(state.p) ** 2).sum(axis=1) for state in itertools.islice(states, steps))
    return np.asarray(np.mean(list(squares), axis=0))


def fall(one: Array, other: Array, ratio: float) -> Estimate:
    """Return the exponent of N between two lengths whose ratio this is, over seeds."""
    return mean_of(np.log(other / one) / np.log(ratio))


def measure() -> Comparison:
    """Measure the mean squared gradient by N, and how fast it falls."""
    means = {steps: found(steps) for steps in LENGTHS}
    first, last = LENGTHS[0], LENGTHS[-1]
    exponent = fall(means[first], means[last], last / first)
    rate = np.log(np.log(last) / np.log(first)) / np.log(last / first) - 0.5
    most = DIMENSIONS * STEEPEST**2
    listed = ", ".join(f"{each.mean():.2g} at {steps:,}" for steps, each in means.items())
    return Comparison(
        f"the mean of |∇F|² over N steps is {listed}: it falls like N^{exponent:.2f}, where ln N / √N "
        f"falls like N^{rate:.2f} over these N; the theorem's bound with its constants, {bound(last):.0f} at "
        f"the largest N, says nothing here, where |∇F|² is at most {most:.1f}",
        verdict([exponent.below(rate)]),
        [
            *(Value(f"N = {n:,}: mean of |∇F|²", None, float(each.mean())) for n, each in means.items()),
            Value("exponent of N (at most)", float(rate), exponent.value),
        ],
    )  # fmt: skip


CLAIM = Learned(
    "α = 1 / √N and β2 = 1 - 1 / N give Adam the rate ln N / √N on smooth functions, convex or not",
    "Défossez, Bottou, Bach & Usunier 2020, arXiv 2003.02395, abstract; constants as remembered",
    "mean of E|∇F|² ≤ C ln N / √N",
    measure,
)
