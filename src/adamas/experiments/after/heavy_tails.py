"""Noise of infinite variance leaves gradient descent with infinite variance, and not Adam or clipping.

On x² / 2 with steps of fixed length, descent is x ← (1 - η) x - η ξ: a sum of the noise with fixed
weights, which has the noise's tail. If P(|ξ| > s) falls like s^-a with 1 < a < 2, so does that of x:
its mean square is infinite at any η, and that of n samples grows like n^(2 / a - 1). A step of clipped
descent, or of Adam, is bounded whatever ξ is.
"""

from __future__ import annotations

import itertools

import numpy as np

from adamas.backends import reference
from adamas.rules import SGD, Adam, Rule

from ..bootstrap import Estimate, mean_of
from ..claims._steps import Array
from ..findings import verdict
from . import Comparison, Learned, Value

TAIL = 1.5  # a
RUNS, STEPS, BLOCKS = 60_000, 100, 20
LARGEST = 0.005  # share of the runs that the tail is read from
CLIP = 2.0
LIGHT = 3.0  # a tail at least so steep has a finite variance, with room for error; ours


def noise(random: np.random.Generator) -> Array:
    """Return symmetric noise of this tail, (runs,)."""
    return np.asarray(random.pareto(TAIL, RUNS) * random.choice((-1.0, 1.0), RUNS))


def ends(rule: Rule, clip: float = np.inf) -> Array:
    """Return x of each run after the last step, (runs,)."""
    random = np.random.default_rng(0)
    states = reference.trajectory(
        rule, np.zeros(RUNS), lambda t, x: np.clip(x + noise(random), -clip, clip), STEPS
    )
    return np.asarray(next(itertools.islice(states, STEPS, None)).p)


def tail(x: Array) -> Estimate:
    """Return the exponent of the tail by Hill's estimator, over blocks of runs."""
    blocks = np.sort(np.abs(x).reshape(BLOCKS, -1), axis=1)
    count = int(LARGEST * blocks.shape[1])
    means = np.log(blocks[:, -count:] / blocks[:, [-count - 1]]).mean(axis=1)
    inverse = mean_of(means)
    low, high = inverse.interval or (inverse.value, inverse.value)
    return Estimate(1 / inverse.value, (1 / high, 1 / max(low, 1e-12)))


def measure() -> Comparison:
    """Measure the tails of x after descent, clipped descent and Adam."""
    found = {
        "gradient descent": tail(ends(SGD(lr=0.1))),
        "clipped descent": tail(ends(SGD(lr=0.1), CLIP)),
        "Adam": tail(ends(Adam(0.1))),
    }
    heavy, *light = found.values()
    texts = "; ".join(f"{name} {each:.2f}" for name, each in found.items())
    return Comparison(
        f"exponent of the tail of x, with noise of exponent {TAIL:g}: {texts} (below 2 the mean square is "
        f"infinite; of the others at least {LIGHT:g}, ours)",
        verdict([heavy.below(2), *(each.above(LIGHT) for each in light)]),
        [
            Value("gradient descent: exponent of the tail", TAIL, heavy.value),
            *(Value(f"{name}: exponent of the tail (finite variance: above 2)", None, found[name].value)
              for name in ("clipped descent", "Adam")),
        ],
    )  # fmt: skip


CLAIM = Learned(
    "Under heavy-tailed noise gradient descent has no finite mean square; methods of bounded steps have",
    "Zhang, Karimireddy, Veit, Kim, Reddi, Kumar & Sra 2020, arXiv 1912.03194, abstract; tails derived here",
    "P(|x| > s) ∝ s^-a where P(|ξ| > s) ∝ s^-a, so that E x² = ∞ for a < 2",
    measure,
)
