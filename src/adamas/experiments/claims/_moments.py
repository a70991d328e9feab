"""Helpers of the claims about the moments: a walk of a rule, and stationary gradients to average over."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from adamas.backends import reference
from adamas.rules import Adam, Rule

from ._steps import Array

MEAN, SQUARE = 0.5, 1.25  # E[g] and E[g²] of `stationary`
CORRELATION = 0.5  # of successive gradients: section 3 requires them to be stationary, not independent
CHANCE = 4.0  # standard errors: a dozen estimates are all within these, except once in a thousand times


class Taken(NamedTuple):
    """A step: its number, gradient and displacement; the parameter and the slots after it."""

    t: int
    g: Array
    moved: Array
    p: Array
    slots: tuple[Array, ...]


def walk(rule: Rule, start: Array, gradient: Callable[[int, Array], Array], steps: int) -> Iterator[Taken]:
    """Take steps in float64; `gradient` gets a step's number, from 1, and the parameter before it."""
    g = start

    def noted(t: int, p: Array) -> Array:
        nonlocal g
        g = gradient(t, p)
        return g

    for before, state in itertools.pairwise(reference.trajectory(rule, start, noted, steps)):
        yield Taken(state.t, g, state.p - before.p, state.p, state.slots)


def corrected(rule: Adam, taken: Taken) -> tuple[Array, Array]:
    """Return m̂ and v̂, which `rule` does not store: it corrects in the scalar of its step."""
    m, v = taken.slots
    return m / (1 - rule.beta1**taken.t), v / (1 - rule.beta2**taken.t)


def stationary(coordinates: int) -> Callable[[int, Array], Array]:
    """Return gradients of the same distribution at every step: Gaussian, with a mean, correlated in time."""
    random = np.random.default_rng(0)
    last = random.standard_normal(coordinates)

    def gradient(t: int, p: Array) -> Array:
        nonlocal last
        last = CORRELATION * last + (1 - CORRELATION**2) ** 0.5 * random.standard_normal(coordinates)
        return np.asarray(MEAN + last)

    return gradient


def mean(sample: Array) -> tuple[float, float]:
    """Return the mean over the coordinates and its standard error."""
    return float(sample.mean()), float(sample.std(ddof=1) / sample.size**0.5)
