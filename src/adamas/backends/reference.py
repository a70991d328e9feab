"""The rule on whole arrays, in any namespace and dtype; in float64 it is the judge of every other backend."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..rules import Rule
from ._base import Envelope, bind

__all__ = ["init", "step"]


def init(rule: Rule, p: Any, xp: Any = np) -> tuple[Any, ...]:
    """The slots of `rule` for an array `p` of namespace `xp` before its first step, in the rule's order."""
    return tuple(xp.full_like(p, slot.initial) for slot in rule.form().slots.values())


def step(
    rule: Rule,
    t: int,
    p: Any,
    g: Any,
    slots: Sequence[Any],
    *,
    carried: Sequence[float] = (),
    envelope: Envelope = Envelope(),
    mean: Any = None,
    xp: Any = np,
) -> tuple[Any, ...]:
    """One step of `rule` on whole arrays; the arguments stay as they are.

    Args:
        rule: the update rule.
        t: the number of this step, from 1.
        p, g: the parameter and its gradient, arrays of one shape.
        slots: the rule's state arrays, in the rule's order, of the parameter's shape.
        carried: the rule's carried values of step t.
        envelope: gradient scale, weight decay, and the weight of the running mean.
        mean: the running mean of the parameter, if one is kept.
        xp: the namespace of the arrays: `numpy`, `torch` or `jax.numpy`.

    Returns:
        The new parameter, then the new slots, then the new mean if there is one.
    """
    update = bind(rule.form().update, xp)
    g = envelope.scale * g
    if envelope.l2 != 0:
        g = g + envelope.l2 * p
    new = tuple(update(envelope.shrink * p, g, *slots, *rule.scalars(t, *carried)))
    return new if mean is None else (*new, mean + envelope.average * (new[0] - mean))
