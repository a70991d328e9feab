"""A fixed problem decides which β2 is large enough: below it Adam goes the wrong way, above it converges.

Ten costs, of which one outweighs the nine others: f_0 = n x and f_i = -x for x ≥ -1, and beyond that
parabolas that continue them smoothly, f_0 = n (x + 2)² / 2 - 3 n / 2 and f_i = -(x + 2)² / 2 + 3 / 2, n
= 10. Their sum is x for x ≥ -1 and (x + 2)² / 2 - 3 / 2 beyond: lowest at -2. An average of g² that
forgets f_0 before it comes again makes its step as short as the nine others', which lead away.
"""

from __future__ import annotations

import itertools

import numpy as np

from adamas.backends import reference
from adamas.rules import Adam

from ..claims._steps import Array
from ..findings import verdict
from ..runs.online import Scheduled
from . import Comparison, Learned, Value

N, BEST = 10, -2.0
BETA1S, LOW, HIGH = (0.0, 0.9), (0.5, 0.95), (0.99,)
ALPHA, START, SEEDS, EPOCHS = 1.0, 0.0, 10, 2_000
NEAR = 0.25  # |x + 2| of the mean over seeds at the end: ours


def gradient(chosen: Array, x: Array) -> Array:
    """Return the gradient of cost number `chosen` at x, elementwise."""
    slope = np.where(x >= -1, 1.0, x + 2)
    return np.where(chosen == 0, N * slope, -slope)


def order() -> Array:
    """Return the costs of each step, in a new random order every epoch, (steps, seeds)."""
    random = np.random.default_rng(0)
    return np.concatenate(
        [random.permuted(np.tile(np.arange(N), (SEEDS, 1)), axis=1).T for _ in range(EPOCHS)]
    )


def distance(beta1: float, beta2: float) -> float:
    """Return |x + 2| after the last epoch, the mean over seeds."""
    orders = order()
    states = reference.trajectory(
        Scheduled(Adam(ALPHA, beta1, beta2, 1e-8), 1.0),
        np.full(SEEDS, START),
        lambda t, x: gradient(orders[t - 1], x),
        len(orders),
    )
    last = next(itertools.islice(states, len(orders), None))
    return float(np.abs(last.p - BEST).mean())


def measure() -> Comparison:
    """Measure the distance from the best point by β1 and β2."""
    found = {(one, two): distance(one, two) for one, two in itertools.product(BETA1S, LOW + HIGH)}
    ends = {beta2: max(found[one, beta2] for one in BETA1S) for beta2 in HIGH}
    misses = {beta2: min(found[one, beta2] for one in BETA1S) for beta2 in LOW}
    return Comparison(
        f"after {EPOCHS:,} epochs at α / √t, over β1 of {', '.join(map(str, BETA1S))}, |x + 2| is at most "
        f"{', '.join(f'{each:.2g} at β2 {beta2:g}' for beta2, each in ends.items())}, and at least "
        f"{', '.join(f'{each:.2g} at {beta2:g}' for beta2, each in misses.items())} (near: {NEAR:g}, ours)",
        verdict([each <= NEAR for each in ends.values()] + [each > NEAR for each in misses.values()]),
        [
            Value(f"β1 {one:g}, β2 {two:g}: |x + 2|", 0.0 if two in HIGH else None, each)
            for (one, two), each in found.items()
        ],
    )


CLAIM = Learned(
    "On a fixed problem Adam converges once β2 is large enough, and not below: a phase transition",
    "Zhang, Chen, Shi, Sun & Luo 2022, arXiv 2208.09632; Zhang et al. 2026, arXiv 2603.02092",
    "converges for β2 ≥ .99 and misses for β2 ≤ .95, at every β1 tried (β1 < √β2)",
    measure,
    read=False,
)
