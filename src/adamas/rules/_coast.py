"""What a step whose gradient is zero does: so that many of them can be taken at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

__all__ = ["Coast"]


class Coast(NamedTuple):
    r"""What `update` does to an element whose gradient is zero, as numbers of one step.

    .. math::
        s \leftarrow \max(f_s s + o_s, l_s) \text{ for every slot } s, \qquad
        \theta \leftarrow \theta - \alpha \, a / (r \sqrt{d} + \epsilon)

    with a and d as the slots are after the step.

    Attributes:
        factors: f of every slot that does not stay as it is.
        along: the slot a along which the parameter moves; None where it does not move.
        step: α.
        signed: whether it is the sign of a that counts.
        over: the slot d that a is divided by; None where a is divided by nothing.
        rooted: whether by its root.
        ratio: r.
        add: ε; with one of 0 an element whose d is 0 stays, if d is not under a root.
        offsets: o of slots where that is not 0.
        least: l of slots that are not held above -∞.
        stepwise: the parameter moves otherwise than the formula says, so that its steps must be taken one by
            one as long as they move it; `step` is without meaning, and `factors` say how long that is.
    """

    factors: Mapping[str, float] = {}
    along: str | None = None
    step: float = 0.0
    signed: bool = False
    over: str | None = None
    rooted: bool = True
    ratio: float = 1.0
    add: float = 0.0
    offsets: Mapping[str, float] = {}
    least: Mapping[str, float] = {}
    stepwise: bool = False
