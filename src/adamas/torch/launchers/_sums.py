"""The sums of rules over whole tensors, and what they cannot be had for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...backends import bind, row_elements, unit_count
from ...rules import Rule
from ...rules._reduction import Reduction
from .._compat import is_fake
from ..slots import memory_order
from . import Member, Request
from ._lists import Lists, lists_xp

__all__ = ["measured", "of_units", "units_of", "why_no_sums"]


def why_no_sums(member: Member, request: Request, by_address: bool = False) -> str | None:
    """Why the sums of a rule cannot be had for a parameter; None where they can, or where it has none.

    Args:
        member: the parameter.
        request: what is asked for it.
        by_address: whether rows are told by where they lie.
    """
    reduction, name = request.rule.form().reduction, type(request.rule).__name__
    if reduction is None:
        return None
    if request.differentiable:
        return f"a step of {name} needs sums as numbers, which cannot be differentiated"
    if reduction.scope == "row" and member.spread is not None:
        return f"{name} needs sums over rows, and a DTensor may have parts of them"
    if reduction.scope == "row" and by_address and member.local.dim() > 1:
        order = memory_order(member.local)
        if order is not None and order[0] != 0:
            return f"{name} needs sums over rows, which do not lie one after the other"
    return None


def units_of(layouts: Sequence[Tensor], rule: Rule) -> tuple[list[int] | None, list[int]]:
    """Over how many floats of each tensor one sum goes, and how many sums it has; nothing without sums."""
    reduction = rule.form().reduction
    if reduction is None:
        return None, []
    floats = [2 if x.is_complex() else 1 for x in layouts]
    lengths = [n * row_elements(x.shape, reduction.scope) for n, x in zip(floats, layouts, strict=True)]
    return lengths, [unit_count(x.shape, reduction.scope) for x in layouts]


def measured(
    rule: Rule, arrays: Sequence[Lists], scalars: Sequence[float], kept: Sequence[Lists], units: Sequence[int]
) -> NDArray[Any]:
    """The sums of what a rule measures, float64 of shape (units, terms).

    Args:
        rule: the rule.
        arrays: p, g and the slots, after the envelope.
        scalars: those of the step.
        kept: the kept values.
        units: how many sums of each term each tensor has.
    """
    reduction = _reduction(rule)
    terms = bind(reduction.measure, lists_xp)(*arrays, *scalars, *kept)
    like, columns = arrays[0].tensors, []
    for term in terms:
        whole = _whole(term, like)
        pairs = zip(whole, units, strict=True)
        columns.append(torch.cat([_sum(x, count) for x, count in pairs]))
    return torch.stack(columns, dim=1).numpy(force=True)


def _whole(term: Any, like: Sequence[Tensor]) -> list[Tensor]:
    """A term, perhaps a number or a condition, as tensors of the parameters' shapes."""
    if not isinstance(term, Lists):
        return [torch.full_like(x, term) for x in like]
    return [x.expand(p.shape) for x, p in zip(term._numbers(), like, strict=True)]


def _sum(x: Tensor, count: int) -> Tensor:
    if x.is_meta or is_fake(x):  # without values
        return torch.ones(count, dtype=torch.float64, device="cpu")
    x = x.cpu() if x.device.type == "mps" else x  # which has no float64
    return x.reshape(count, x.numel() // count).sum(dim=1, dtype=torch.float64).cpu()


def of_units(
    values: NDArray[Any], tensors: Sequence[Tensor], units: Sequence[int], like: Sequence[Tensor]
) -> list[Lists]:
    """Numbers of units as tensors that go along with the elements of theirs.

    Args:
        values: float64 of shape (units, numbers).
        tensors: the parameters.
        units: how many units each has.
        like: tensors of the type and device of the computation, complex numbers as pairs.
    """
    ends, found = np.cumsum(units), []
    for column in values.T:
        parts = []
        for x, y, count, end in zip(tensors, like, units, ends.tolist(), strict=True):
            part = torch.from_numpy(column[end - count : end].copy()).to(y.device, y.dtype)
            rows = x.dim() > 1 and count == x.shape[0]
            parts.append(part.reshape(count, *[1] * (y.dim() - 1)) if rows else part.reshape([1] * y.dim()))
        found.append(Lists(parts))
    return found


def _reduction(rule: Rule) -> Reduction:
    found = rule.form().reduction
    assert found is not None
    return found
