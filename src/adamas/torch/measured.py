"""What one step did to each parameter, as a value."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Measured"]


@dataclass(frozen=True)
class Measured:
    """What one step did to one parameter, over all its elements. None: the rule does not say.

    Attributes:
        lr, step: the learning rate, and t, the parameter's own count.
        elements: how many there are.
        grad_norm: of the gradient, loss scale divided out, before clipping.
        param_norm: after the step.
        update_norm, largest_update: of Δ = p after - p before (decay included): its norm, and max |Δ|.
        nonfinite: elements of the gradient that are NaN or infinite.
        zeros: elements whose gradient is 0.
        unmoved: elements with a gradient that is not 0 whose value did not change.
        at_bound: elements with |Δ| >= 0.9 * bound; None without one.
        hidden: elements with √v̂ < ε.
        mean_square: mean of v̂ over the elements, in the unit of a squared gradient.
        signal: quantiles .05 .25 .5 .75 .95 of |m̂|/√v̂ (of at most 4096 elements, evenly spaced).
        oldest_row: steps since the row that has been untouched longest had a gradient; 0 where all have one.
    """

    lr: float
    step: int
    elements: int
    grad_norm: float
    param_norm: float
    update_norm: float
    largest_update: float
    nonfinite: int
    zeros: int
    unmoved: int
    at_bound: int | None = None
    hidden: int | None = None
    mean_square: float | None = None
    signal: tuple[float, ...] | None = None
    oldest_row: int | None = None
