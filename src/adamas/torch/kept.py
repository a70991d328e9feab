"""What a rule keeps of its sums, in the state of each parameter: a number for each sum, in one dimension."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ..backends import unit_count
from ..rules import Rule

__all__ = ["Kept", "check_kept", "complete_kept", "kept_of"]

# The number of sums of each term by a parameter's shape is `unit_count(shape, scope)`.
Kept = tuple[Any, Mapping[str, float]]


def kept_of(rule: Rule, names: Mapping[str, str]) -> Kept:
    """The scope of a rule's sums, and by their keys in the state what it keeps, with the values at first."""
    reduction = rule.form().reduction
    if reduction is None:
        return "tensor", {}
    return reduction.scope, {names.get(name, name): x for name, x in reduction.kept.items()}


def check_kept(p: Tensor, state: Mapping[str, Any], kept: Kept) -> None:
    """Raise a ValueError for kept values that are not of this parameter, before anything has changed."""
    wanted = (unit_count(p.shape, kept[0]),)
    for key in kept[1]:
        held = state.get(key)
        if held is not None and (not isinstance(held, Tensor) or held.shape != wanted):
            raise ValueError(
                f"the state {key!r} of a parameter of shape {tuple(p.shape)} is not of shape {wanted}; "
                f"delete the state of a parameter that has changed, or load it"
            )


def complete_kept(p: Tensor, kept: Kept, mine: dict[str, Any]) -> None:
    """Make what is missing of it, and convert the rest, to the device and the type of the computation."""
    dtype = torch.promote_types(p.dtype, torch.float32).to_real()
    for key, initial in kept[1].items():
        held = mine.get(key)
        if held is None:
            mine[key] = torch.full((unit_count(p.shape, kept[0]),), initial, dtype=dtype, device=p.device)
        elif held.device != p.device or held.dtype != dtype:
            mine[key] = held.to(p.device, dtype)
