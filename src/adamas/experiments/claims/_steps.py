"""Helpers of the claims: a rule on a sequence of gradients, on the reference in float64."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from adamas.backends import reference
from adamas.rules import Rule

from ..findings import Preset

Array = NDArray[np.float64]

# An ε that prevents 0 / 0 for gradients of 0 and changes no digit otherwise.
TINY = 1e-100
# The error that float64 may leave in an equation: some thousand roundings of 1e-16 each.
ROUNDING = 1e-12
# The number of elements stepped side by side, each with its own gradients.
ELEMENTS: Mapping[Preset, int] = {"demo": 100, "quick": 500, "paper": 2_000}


def kinds(steps: int, elements: int) -> dict[str, Array]:
    """Return stationary gradients by description, random but always the same, (steps, elements)."""
    random, shape = np.random.default_rng(0), (steps, elements)
    return {
        "constant": np.ones(shape),
        "normal": random.normal(size=shape),
        "uniform in [-1, 1]": random.uniform(-1, 1, shape),
        "normal of mean 1": random.normal(1, 1, shape),
        "exponential": random.exponential(size=shape),
    }


def states(rule: Rule, gradients: ArrayLike, start: ArrayLike = 0.0) -> Iterator[tuple[Array, ...]]:
    """Yield the parameter and the slots of `rule` after each row of `gradients`, from `start` on."""
    rows = np.asarray(gradients, np.float64)
    p = np.array(np.broadcast_to(np.asarray(start, np.float64), rows.shape[1:]))
    taken = reference.trajectory(rule, p, lambda t, _: rows[t - 1], len(rows))
    for state in itertools.islice(taken, 1, None):
        yield state.p, *state.slots


def iterates(rule: Rule, gradients: ArrayLike, start: ArrayLike = 0.0) -> Array:
    """Return θ_0, which is `start`, to θ_T: one row more than `gradients`."""
    first = np.broadcast_to(np.asarray(start, np.float64), np.shape(gradients)[1:])
    return np.stack([first, *(p for p, *_ in states(rule, gradients, start))])


def steps(rule: Rule, gradients: ArrayLike) -> Array:
    """Return θ_t - θ_{t-1}, a row for each of `gradients`; from 0, so that θ has few digits to lose."""
    return np.diff(iterates(rule, gradients), axis=0)
