"""Runs of steps without a gradient, as update rules: the arithmetic that `numba.missed` has the numbers for.

Kernels are made of them as of any rule; the gradient that they take is not read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..rules import NONNEGATIVE, SIGNED, Coast, Rule, xp
from ..rules._base import Scalars

__all__ = ["Scaled", "moving"]


@dataclass(frozen=True)
class _Moving(Rule):
    """A parameter that moves along a slot, by steps summed up.

    Args:
        eps: that of the rule, which says whether subnormal state matters.
    """

    eps: float = 0.0

    def scalars(self, t: int) -> Scalars:
        return (0.0,) * _SCALARS[type(self)]


class OverRoot(_Moving):
    """Along a slot, over the root of another: one part of the sum in `numba.missed`."""

    slots = {"m": SIGNED, "v": NONNEGATIVE}

    @staticmethod
    def update(p, g, m, v, factor_m, factor_v, plain, center, c0, c1, c2, c3, c4, c5):  # type: ignore[no-untyped-def]
        u = 1 / (xp.sqrt(v) + center)
        w = center * u
        total = c0 + w * (c1 + w * (c2 + w * (c3 + w * (c4 + w * c5))))
        return p - m * (u * total + plain), factor_m * m, factor_v * v


class Over(_Moving):
    """Along a slot, over another; what it is over may be 0 where nothing moves."""

    slots = {"m": SIGNED, "v": NONNEGATIVE}

    @staticmethod
    def update(p, g, m, v, factor_m, factor_v, plain, center, c0, c1, c2, c3, c4, c5):  # type: ignore[no-untyped-def]
        u = 1 / xp.where(v + center == 0, 1, v + center)
        w = center * u
        total = c0 + w * (c1 + w * (c2 + w * (c3 + w * (c4 + w * c5))))
        return p - m * (u * total + plain), factor_m * m, factor_v * v


class Along(_Moving):
    """Along a slot."""

    slots = {"m": SIGNED}

    @staticmethod
    def update(p, g, m, factor_m, plain):  # type: ignore[no-untyped-def]
        return p - plain * m, factor_m * m


class AlongSign(_Moving):
    """Along the sign of a slot."""

    slots = {"m": SIGNED}

    @staticmethod
    def update(p, g, m, factor_m, plain):  # type: ignore[no-untyped-def]
        return p - plain * xp.sign(m), factor_m * m


@dataclass(frozen=True)
class Scaled(Rule):
    """An array, a slot or a parameter, that nothing moves: multiplied, added to, and held up."""

    def scalars(self, t: int) -> Scalars:
        return 1.0, 0.0, 0.0

    @staticmethod
    def update(p, g, factor, offset, least):  # type: ignore[no-untyped-def]
        return (xp.maximum(factor * p + offset, least),)


_SCALARS: dict[Any, int] = {OverRoot: 10, Over: 10, Along: 2, AlongSign: 2}


def moving(form: Coast, rule: Rule) -> Rule | None:
    """The rule of the parameter's movement; None where nothing moves it."""
    if form.along is None or form.stepwise:
        return None
    if form.over is None:
        cls: type[_Moving] = AlongSign if form.signed else Along
    else:
        cls = OverRoot if form.rooted else Over
    return cls(eps=float(getattr(rule, "eps", 0.0)))
