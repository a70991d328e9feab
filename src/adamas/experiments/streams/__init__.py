"""Online convex optimization: each public module here is a stream of convex costs f_1, f_2, ...

Of section 4 of the paper: at every t the algorithm predicts θ_t, and only then is f_t revealed. A stream's
module has `build(seed, rounds, **options)`, which makes a `Stream` of so many costs; the randomness of f_t
depends on the seed and t alone, so that a longer stream begins like a shorter one.
"""

from __future__ import annotations

from typing import Any, Protocol, cast

from adamas._tools import modules

from .. import ExperimentError
from ..problems import Option

__all__ = ["Point", "Stream", "StreamModule", "load"]

Point = Any
"""A float for a stream over the line, because arrays of one element are slow; else float64, shape (d,)."""


class Stream(Protocol):
    """Costs f_t, t = 1, 2, ..., convex in θ, over a feasible set."""

    @property
    def start(self) -> Point:
        """θ_1."""
        ...

    @property
    def period(self) -> int:
        """After how many rounds the costs repeat; 1 if they do not. Regret is recorded at its multiples."""
        ...

    @property
    def gradient_bound(self) -> float:
        """G∞ of Theorem 4.1: the largest size of an element of ∇f_t over the feasible set and all t."""
        ...

    def cost(self, t: int, point: Point) -> float:
        """f_t(point)."""
        ...

    def gradient(self, t: int, point: Point) -> Point:
        """∇f_t(point), or a subgradient."""
        ...

    def project(self, point: Point) -> Point:
        """The nearest feasible point."""
        ...

    def best(self, rounds: int) -> tuple[Point, float]:
        """The best fixed point in hindsight: the feasible argmin of f_1 + ... + f_rounds, and that sum."""
        ...


class StreamModule(Protocol):
    """What a stream's module contains."""

    def build(self, seed: int, rounds: int, **options: Option) -> Stream: ...


def load(name: str) -> StreamModule:
    """The stream of that name, a module of this package."""
    return cast(StreamModule, modules.load(__name__, name, ExperimentError))
