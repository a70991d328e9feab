"""What a step did to all parameters together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ..measured import Measured

__all__ = ["Total", "total_of"]


@dataclass(frozen=True)
class Total:
    """One measured step, over all parameters that had a gradient.

    Attributes:
        step: its number.
        grad, param, update: 2-norms.
        elements: those whose gradient was not 0.
        bound, hidden, unmoved: the shares of these at the bound, with √v̂ < ε, and that did not move; None
            where the rules do not say.
        shortfall: the mean squared gradient, clipped, over the mean of v̂; None where the rules do not say.
        signal: the median of |m̂|/√v̂, a mean over elements; None where the rules do not say.
    """

    step: int
    grad: float
    param: float
    update: float
    elements: int
    bound: float | None
    hidden: float | None
    unmoved: float
    shortfall: float | None
    signal: float | None


def total_of(found: Sequence[Measured], step: int, clip_factor: float) -> Total:
    """The total of what was measured in a step, in which gradients were clipped by a factor."""
    elements = sum(m.elements - m.zeros for m in found)

    def share(counts: Sequence[int | None], less: int = 0) -> float | None:
        known = [count for count in counts if count is not None]
        return (sum(known) - less) / elements if known and elements else None

    hidden = [m for m in found if m.hidden is not None]
    squares = [m for m in found if m.mean_square is not None]
    second = sum((m.mean_square or 0.0) * m.elements for m in squares)
    return Total(
        step=step,
        grad=math.hypot(*[m.grad_norm for m in found]),
        param=math.hypot(*[m.param_norm for m in found]),
        update=math.hypot(*[m.update_norm for m in found]),
        elements=elements,
        bound=share([m.at_bound for m in found]),
        # Where the gradient is 0 now, v is often 0, and nothing is lost.
        hidden=share([m.hidden for m in hidden], sum(m.zeros for m in hidden)),
        unmoved=share([m.unmoved for m in found]) or 0.0,
        signal=_mean([(m.signal[2], m.elements) for m in found if m.signal is not None]),
        shortfall=clip_factor**2 * sum(m.grad_norm**2 for m in squares) / second if second > 0 else None,
    )


def _mean(weighted: Sequence[tuple[float, int]]) -> float | None:
    weight = sum(n for _, n in weighted)
    return sum(x * n for x, n in weighted) / weight if weight else None
