"""What a step did to a parameter, as a value, and what is read of its state after the step."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..backends.numba import LIMITS
from ..rules import Gauge, Rule
from .conversion import sampled
from .slots import find

__all__ = [
    "NO_LIMITS",
    "QUANTILES",
    "Measured",
    "gauge_of",
    "limits_of",
    "measured_of",
    "rate_of",
    "sample",
    "samples_of",
    "signals_of",
    "sums_of",
]

# The quantiles of `Measured.signal`.
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
# The elements of which they are.
_SAMPLE, _RUN = 256, 8
_PLAIN = (torch.float32, torch.float64)
_FACTORS = ("mean_factor", "root_factor")
# A step of this share of `Gauge.bound` counts as one at the bound.
_AT_BOUND = 0.9


@dataclass(frozen=True)
class Measured:
    """What one step did to one parameter; of a DTensor to the whole, but for `signal` and `oldest_row`.

    Attributes:
        step: the number of the step, of those that the parameter has taken.
        lr: the learning rate of its group, in the unit of the parameter for Adam; 1 for a rule without one.
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
            or where it is no second moment, or no even one (`Gauge.even`).
        signal: the quantiles `QUANTILES` of |m̂| / √v̂ over 32 runs of 8 elements, evenly spaced; None where
            the rule has not both.
        oldest_row: how many steps the row (index of dimension 0) that has longest had no gradient has had
            none, as far as measured steps tell; None where all rows have one now, or it cannot be told: with
            coupled weight decay, decays that change, or a rule without a slot that decays.
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
    oldest_row: int | None


# Those of a parameter that is left alone.
NO_LIMITS = (math.inf, 0.0)


def gauge_of(rule: Rule, t: int) -> Gauge:
    """How the state of a rule is read after step t; nothing of it where a correction of bias is 0.

    Raises:
        TypeError: its `gauge` cannot be used; the message says why.
    """
    name = type(rule).__name__
    try:
        gauge, first = rule.gauge(t), rule.gauge(1)
    except ZeroDivisionError:
        return Gauge()
    except Exception as error:
        raise TypeError(f"{name}.gauge({t}) raises {error!r}") from error
    slots = rule.form().slots
    for each in (gauge, first):
        if not isinstance(each, Gauge):
            raise TypeError(f"{name}.gauge returns a Gauge, not {each!r}")
    for slot in (gauge.mean, gauge.root):
        if slot is not None and slot not in slots:
            raise TypeError(
                f"{name}.gauge names the slot {slot!r}, and its slots are {', '.join(slots) or 'none'}"
            )
    if gauge.root not in (None, first.root):
        raise TypeError(
            f"{name}.gauge names the root {gauge.root!r} at step {t}, and {first.root!r} at step 1"
        )
    if not gauge.root_factor > 0:
        raise TypeError(f"{name}.gauge has a root_factor of {gauge.root_factor!r}, and it is positive")
    return gauge


def rate_of(rule: Rule) -> float:
    """The learning rate of a rule; 1 where it has none by this name."""
    return float(getattr(rule, "lr", 1.0))


def limits_of(gauge: Gauge) -> tuple[float, ...]:
    """`LIMITS` of a parameter."""
    reach = math.inf if gauge.bound is None else _AT_BOUND * abs(gauge.bound)
    hidden = 0.0 if gauge.root is None else gauge.hidden_below()
    # Where α is 0, every step is as long as the bound.
    limits = {"reach": reach or math.inf, "hidden": hidden}
    return tuple(limits[name] for name in LIMITS)


def measured_of(
    sums: Sequence[float],
    gauge: Gauge,
    *,
    step: int,
    lr: float,
    elements: int,
    unscale: float,
    signal: tuple[float, ...] | None,
    oldest_row: int | None,
) -> Measured:
    """The value of one parameter.

    Args:
        sums: `MEASURES`.
        gauge: how its state is read.
        step, lr, elements, signal, oldest_row: as of `Measured`.
        unscale: the factor on its gradient, one over the loss scale.
    """
    gradient, parameter, update, root, nonfinite, zeros, unmoved, far, hidden, largest = sums
    divides = gauge.root is not None and elements > 0
    return Measured(
        step,
        lr,
        elements,
        grad_norm=math.sqrt(gradient) * abs(unscale),
        param_norm=math.sqrt(parameter),
        update_norm=math.sqrt(update),
        largest_update=largest,
        nonfinite=int(nonfinite),
        zeros=int(zeros),
        unmoved=int(unmoved),
        at_bound=None if gauge.bound is None else int(far),
        hidden=int(hidden) if divides else None,
        mean_square=root * gauge.root_factor / elements if divides and gauge.rooted and gauge.even else None,
        signal=signal,
        oldest_row=oldest_row,
    )


def signals_of(
    samples: Sequence[tuple[Tensor, Tensor] | None], gauges: Sequence[Gauge]
) -> list[tuple[float, ...] | None]:
    """`Measured.signal` of parameters, those of one size and device at once.

    Args:
        samples: as many values of the mean as of the slot that is divided by, of each parameter.
        gauges: how they are read.
    """
    found: list[tuple[float, ...] | None] = [None] * len(samples)
    alike: dict[tuple[int, torch.device], list[int]] = {}
    for k, each in enumerate(samples):
        if each is not None and each[0].numel():
            alike.setdefault((each[0].numel(), each[0].device), []).append(k)
    for (n, _), places in alike.items():
        values = [torch.stack([samples[k][side] for k in places]) for side in (0, 1)]  # type: ignore[index]
        # By NumPy: so few numbers are not worth waking torch's threads for.
        m, v = (x.cpu().numpy().astype(np.float64) for x in values)
        mean, root = (np.array([[getattr(gauges[k], name)] for k in places]) for name in _FACTORS)
        rooted = np.array([[gauges[k].rooted] for k in places])
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            ratio = np.abs(mean * m) / np.where(rooted, np.sqrt(root * v), root * v)
        ratio[(m == 0) & (v == 0)] = 0
        at = [round(q * (n - 1)) for q in QUANTILES]
        chosen = np.sort(ratio, axis=1)[:, at].tolist()
        for k, row in zip(places, chosen, strict=True):
            found[k] = tuple(row)
    return found


def samples_of(
    state: Mapping[str, Any], keys: Mapping[str, str], gauge: Gauge, p: Tensor
) -> tuple[Tensor, Tensor] | None:
    """Values of the mean and of the slot that is divided by, where the rule and the state have both.

    Args:
        state, p: as of `sample`.
        keys: the key of each slot.
        gauge: which they are.
    """
    if gauge.mean is None or gauge.root is None:
        return None
    m = sample(state, keys[gauge.mean], p, signed=True)
    v = sample(state, keys[gauge.root], p, signed=False)
    return None if m is None or v is None else (m, v)


def sample(state: Mapping[str, Any], key: str, p: Tensor, signed: bool) -> Tensor | None:
    """Values of a slot, the same places of every slot of a parameter; None where there is no such slot.

    Args:
        state: that of the parameter.
        key: the slot's.
        p: what is as its state: of its shape and strides.
        signed: whether its values may be negative.
    """
    held = state.get(key)
    floats = p.numel() * (2 if p.is_complex() else 1)
    # Runs of a few elements, which share a line of the cache.
    run = _RUN if floats >= _SAMPLE else 1
    step = max(1, floats // _SAMPLE) * run
    shape = (min(_SAMPLE // run, floats // run), run)
    if isinstance(held, Tensor) and held.dtype in _PLAIN and _dense(held):  # soon done: there may be hundreds
        return held.detach().as_strided(shape, (step, 1)).reshape(-1)
    found = find(state, key)
    if found is None:
        return None
    runs, within = (torch.arange(n, device="cpu") for n in shape)
    places = (step * runs[:, None] + within).reshape(-1)
    return torch.from_numpy(sampled(found, p, signed, places))


def _dense(x: Tensor) -> bool:
    """Whether a tensor has no gaps in memory."""
    if x.is_contiguous():
        return True
    return 1 + sum((n - 1) * stride for n, stride in zip(x.shape, x.stride(), strict=True)) == x.numel()


def sums_of(before: Tensor, p: Tensor, g: Tensor, root: Tensor | None, limits: Sequence[float]) -> Tensor:
    """`MEASURES` of one parameter by torch, where no kernel measures: float64, on its device.

    Args:
        before, p: the parameter before and after the step.
        g: its gradient, dense.
        root: the slot that is divided by, if its values can be read.
        limits: `LIMITS`.
    """
    reach, hidden = limits
    wide = torch.promote_types(p.dtype, torch.float32)
    p, before, g = (torch.view_as_real(x) if x.is_complex() else x for x in (p, before, g))
    p, before, g = p.to(wide.to_real()), before.to(wide.to_real()), g.to(wide.to_real())
    d = p - before
    zero = torch.zeros((), dtype=torch.float64, device=p.device)
    squares = [torch.linalg.vector_norm(x, dtype=torch.float64) ** 2 for x in (g, p, d)]
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
