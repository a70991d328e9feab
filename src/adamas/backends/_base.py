"""What all backends share: the envelope around every rule, and the rebinding of `xp`."""

from __future__ import annotations

import types
from typing import Any, NamedTuple

from ..rules._base import Update


class Envelope(NamedTuple):
    """What happens to every parameter and gradient around the rule, in the same pass.

    g = scale * g + l2 * p      scale: maximize, clipping and loss scale in one; l2: coupled decay
    p = shrink * p              decoupled decay
    mean = mean + average * (p - mean)      after the rule, where a running mean of p is kept
    """

    scale: float = 1.0
    l2: float = 0.0
    shrink: float = 1.0
    average: float = 0.0


def bind(update: Update, namespace: Any) -> Update:
    """`update`, and the functions of its module that it calls, with `namespace` in the place of `xp`."""
    assert isinstance(update, types.FunctionType)
    names = {**update.__globals__, "xp": namespace}
    for name in update.__code__.co_names:
        if isinstance(names.get(name), types.FunctionType):
            names[name] = bind(names[name], namespace)
    return types.FunctionType(
        update.__code__, names, update.__name__, update.__defaults__, update.__closure__
    )


def host_scalars(rule, t, *state):
    return rule.scalars(t, *state)


def host_carry(rule, t, *state):
    return rule.carry(t, *state)
