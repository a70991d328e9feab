"""The rule on whole arrays, in any namespace and dtype. In float64 it is the judge of all other backends."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..rules import Rule
from ._base import Envelope
from ._bind import array_scalars, host_carry, host_scalars
from ._check import check_rule
from ._sums import advance, kept_shape

__all__ = ["State", "init", "step", "trajectory"]


class State(NamedTuple):
    """A parameter and the rule's state arrays, slots and kept values, after `t` steps."""

    t: int
    p: Any
    slots: tuple[Any, ...]


def init(rule: Rule, p: Any, xp: Any = np) -> tuple[Any, ...]:
    """The state of `rule` for an array `p` of namespace `xp` before its first step, in the rule's order.

    Slots are of the shape of p; what a rule keeps for sums over p, which comes last, has as many dimensions.
    """
    form = check_rule(rule)
    slots = [xp.full_like(p, slot.initial) for slot in form.slots.values()]
    if form.reduction is None:
        return tuple(slots)
    shape = kept_shape(p.shape, form.reduction.scope)
    return (*slots, *(xp.full(shape, x, dtype=p.dtype) for x in form.reduction.kept.values()))


def step(
    rule: Rule,
    t: Any,
    p: Any,
    g: Any,
    slots: Sequence[Any],
    *,
    carried: Sequence[Any] = (),
    envelope: Envelope = Envelope(),
    mean: Any = None,
    xp: Any = np,
) -> tuple[Any, ...]:
    """One step of `rule` on whole arrays; the arguments stay as they are.

    Args:
        rule: the update rule.
        t: the number of this step, from 1; a traced number of `xp` as well.
        p, g: the parameter and its gradient, arrays of one shape.
        slots: the rule's state arrays, as `init` makes them.
        carried: the rule's carried values of step t.
        envelope: gradient scale, weight decay, and the weight of the running mean.
        mean: the running mean of the parameter, if one is kept.
        xp: the namespace of the arrays: `numpy`, `torch`, `jax.numpy`, or anything with the functions of
            a rule and arrays that have operators.

    Returns:
        The new parameter, then the new state arrays, then the new mean if there is one.
    """
    form = check_rule(rule)
    if isinstance(t, (int, float)):
        scalars = host_scalars(rule, t, *carried)  # type: ignore[arg-type]
    else:
        scalars = array_scalars(rule, t, *carried, xp=xp)
    g = envelope.scale * g
    if envelope.coupled_decay != 0:
        g = g + envelope.coupled_decay * p
    p = envelope.decay_factor * p
    new = advance(form, p, g, slots, scalars, xp, envelope.cautious_decay)
    return new if mean is None else (*new, mean + envelope.average * (new[0] - mean))


def trajectory(
    rule: Rule,
    p: Any,
    gradient: Callable[[int, Any], Any],
    steps: int,
    *,
    slots: Sequence[Any] | None = None,
    envelope: Envelope | Callable[[int], Envelope] = Envelope(),
    xp: Any = np,
) -> Iterator[State]:
    """The states of a run, step by step: first the one it begins with (t = 0), then one after each step.

    Args:
        rule: the update rule.
        p: the parameter to begin with.
        gradient: the gradient of step t at p, from (t, p).
        steps: how many.
        slots: the state to begin with; the rule's own by default.
        envelope: that of every step, or of step t.
        xp: the namespace of the arrays.
    """
    state = State(0, p, init(rule, p, xp) if slots is None else tuple(slots))
    carried = tuple(rule.carried.values())
    yield state
    for t in range(1, steps + 1):
        carried = host_carry(rule, t, *carried)
        around = envelope(t) if callable(envelope) else envelope
        g = gradient(t, state.p)
        new = step(rule, t, state.p, g, state.slots, carried=carried, envelope=around, xp=xp)
        state = State(t, new[0], new[1:])
        yield state
