"""Problems of online convex optimization (section 4 of the paper). Each public module here is one.

At every round t the algorithm predicts θ_t, and only then is the convex cost f_t revealed. A module has
`build(seed, rounds, **options)`, which makes an `OnlineProblem` of so many costs. The randomness of f_t
depends on the seed and t alone, so a longer problem begins like a shorter one.
"""

from __future__ import annotations

from typing import Any, Protocol, cast

from adamas._tools import modules

from .. import ExperimentError
from ..problems import Option

__all__ = ["OnlineModule", "OnlineProblem", "Point", "load", "recorded_name"]

Point = Any
"""A float for a problem on the line, because arrays of one element are slow; else float64, shape (d,)."""


class OnlineProblem(Protocol):
    """Costs f_t, t = 1, 2, ..., convex in θ, over a feasible set."""

    @property
    def start(self) -> Point:
        """θ_1."""
        ...

    @property
    def period(self) -> int:
        """The rounds after which the costs repeat; 1 if they do not. Records are at its multiples."""
        ...

    @property
    def gradient_bound(self) -> float:
        """G∞ of Theorem 4.1: the largest size of an element of ∇f_t over the feasible set and all t."""
        ...

    def cost(self, t: int, point: Point) -> float:
        """Return f_t(point)."""
        ...

    def gradient(self, t: int, point: Point) -> Point:
        """Return ∇f_t(point), or a subgradient."""
        ...

    def project(self, point: Point) -> Point:
        """Return the nearest feasible point."""
        ...

    def best(self, rounds: int) -> tuple[Point, float]:
        """Return the feasible argmin of f_1 + ... + f_rounds, the best point in hindsight, and that sum."""
        ...


class OnlineModule(Protocol):
    """The contents of a problem's module; `RECORDED_AS` is optional, see `recorded_name`."""

    def build(self, seed: int, rounds: int, **options: Option) -> OnlineProblem: ...


def load(name: str) -> OnlineModule:
    """Return the online problem of that name, a module of this package."""
    return cast(OnlineModule, modules.load(__name__, name, ExperimentError))


def recorded_name(name: str) -> str:
    """Return the name of a problem in records: its module's, or an older one, the module's `RECORDED_AS`."""
    return str(getattr(load(name), "RECORDED_AS", name))
