"""What a step did to a parameter, as a value, and what is read of its state after the step."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..backends.numba import LIMITS, MEASURES
from ..rules import Gauge
from .conversion import sampled
from .slots import find

__all__ = ["QUANTILES", "Measured", "limits_of", "measured_of", "sample", "signal_of", "sums_of"]

# The quantiles of `Measured.signal`.
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
# The elements of which they are.
_SAMPLE = 4096
# A step of this share of `Gauge.bound` counts as one at the bound.
_AT_BOUND = 0.9


@dataclass(frozen=True)
class Measured:
    """What one step did to one parameter: to the elements that this process has of it.

    Attributes:
        step: the number of the step, of those that the parameter has taken.
        lr: the learning rate of its group, in the unit of the parameter for Adam.
        elements: their number; a complex one is two.
        grad_norm: the 2-norm of the gradient, a loss scale divided out, before clipping.
        param_norm: that of the parameter after the step.
        update_norm: that of Δ, the parameter after the step less that before; weight decay is part of it.
        largest_update: the largest |Δ| of an element.
        nonfinite: the elements whose gradient is NaN or infinite.
        zeros: the elements whose gradient is 0.
        unmoved: the elements with another gradient whose parameter is the same number as before.
        at_bound: the elements with |Δ| of at least 0.9 times `Gauge.bound`, α for Adam; None where the rule
            has no such bound.
        hidden: the elements with √v̂ < ε; None where the rule does not divide by a slot.
        mean_square: the mean of v̂ over the elements, in the unit of a squared gradient; None as of `hidden`,
            or where it is no second moment.
        signal: the quantiles `QUANTILES` of |m̂| / √v̂ over at most 4,096 elements, evenly spaced; None where
            the rule has not both.
        oldest_row: how many steps the row (index of dimension 0) that has longest had no gradient has had
            none, as far as measured steps tell; None where all rows have one now.
    """

    step: int
    lr: float
    elements: int
    grad_norm: float
    param_norm: float
    update_norm: float
    largest_update: float
    nonfinite: int
    zeros: int
    unmoved: int
    at_bound: int | None
    hidden: int | None
    mean_square: float | None
    signal: tuple[float, ...] | None
    oldest_row: int | None = None


def _unit(lr: float) -> float:
    """A power of two near 1 / lr: the factor on Δ whose squares then are numbers of float32."""
    if not 1e-30 < abs(lr) < 1e30:
        return 1.0
    return 2.0 ** -round(math.log2(abs(lr)))


def limits_of(gauge: Gauge, lr: float) -> tuple[float, ...]:
    """`LIMITS` of a parameter."""
    reach = math.inf if gauge.bound is None else _AT_BOUND * abs(gauge.bound)
    hidden = 0.0 if gauge.root is None else gauge.hidden_below()
    # Where α is 0, every step is as long as the bound.
    limits = {"reach": reach or math.inf, "hidden": hidden, "unit": _unit(lr)}
    return tuple(limits[name] for name in LIMITS)


def measured_of(
    sums: NDArray[Any],
    gauge: Gauge,
    *,
    step: int,
    lr: float,
    elements: int,
    unscale: float,
    signal: tuple[float, ...] | None,
) -> Measured:
    """The value of one parameter.

    Args:
        sums: `MEASURES`.
        gauge: how its state is read.
        step, lr, elements, signal: as of `Measured`.
        unscale: the factor on its gradient, one over the loss scale.
    """
    got = dict(zip(MEASURES, sums.tolist(), strict=True))
    divides = gauge.root is not None and elements > 0
    return Measured(
        step=step,
        lr=lr,
        elements=elements,
        grad_norm=math.sqrt(got["squared_gradient"]) * abs(unscale),
        param_norm=math.sqrt(got["squared_parameter"]),
        update_norm=math.sqrt(got["squared_update"]) / _unit(lr),
        largest_update=got["largest_update"],
        nonfinite=int(got["nonfinite"]),
        zeros=int(got["zeros"]),
        unmoved=int(got["unmoved"]),
        at_bound=None if gauge.bound is None else int(got["far"]),
        hidden=int(got["hidden"]) if divides else None,
        mean_square=got["root"] * gauge.root_factor / elements if divides and gauge.rooted else None,
        signal=signal,
    )


def signal_of(
    state: Mapping[str, Any], keys: Mapping[str, str], gauge: Gauge, p: Tensor
) -> tuple[float, ...] | None:
    """The quantiles of |m̂| / √v̂, see `Measured.signal`.

    Args:
        state: that of the parameter.
        keys: the key of each slot.
        gauge: how it is read.
        p: what is as its state: of its shape and strides.
    """
    if gauge.mean is None or gauge.root is None or p.numel() == 0:
        return None
    m, v = (
        sample(state, keys[slot], p, signed) for slot, signed in ((gauge.mean, True), (gauge.root, False))
    )
    if m is None or v is None:
        return None
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        v = gauge.root_factor * v
        ratio = np.abs(gauge.mean_factor * m) / (np.sqrt(v) if gauge.rooted else v)
    ratio = np.where((m == 0) & (v == 0), 0.0, ratio)
    return tuple(np.quantile(ratio, QUANTILES, method="nearest").tolist())


def sample(state: Mapping[str, Any], key: str, p: Tensor, signed: bool) -> NDArray[Any] | None:
    """Values of a slot in float64, the same places of every slot of a parameter."""
    held = find(state, key)
    if held is None:
        return None
    floats = p.numel() * (2 if p.is_complex() else 1)
    places = torch.arange(0, floats, max(1, math.ceil(floats / _SAMPLE)), device="cpu")
    return sampled(held, p, signed, places)


def sums_of(before: Tensor, p: Tensor, g: Tensor, root: Tensor | None, limits: Sequence[float]) -> Tensor:
    """`MEASURES` of one parameter by torch, where no kernel measures: float64, on its device.

    Args:
        before, p: the parameter before and after the step.
        g: its gradient, dense.
        root: the slot that is divided by, if its values can be read.
        limits: `LIMITS`.
    """
    reach, hidden, unit = limits
    wide = torch.promote_types(p.dtype, torch.float32)
    p, before, g = (torch.view_as_real(x) if x.is_complex() else x for x in (p, before, g))
    p, before, g = p.to(wide.to_real()), before.to(wide.to_real()), g.to(wide.to_real())
    d = p - before
    zero = torch.zeros((), dtype=torch.float64, device=p.device)
    squares = [torch.linalg.vector_norm(x, dtype=torch.float64) ** 2 for x in (g, p, unit * d)]
    counts = [
        (~g.isfinite()).sum(),
        (g == 0).sum(),
        ((d == 0) & (g != 0)).sum(),
        (d.abs() >= reach).sum(),
        zero if root is None else (root < hidden).sum(),
    ]
    largest = d.abs().amax() if d.numel() else zero
    of_root = zero if root is None else root.sum(dtype=torch.float64)
    return torch.stack([x.to(torch.float64) for x in (*squares, of_root, *counts, largest)])
