"""What can be read of a parameter and its state at any moment, without a step."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.parameter import is_lazy

from ..launchers import Request
from ..mesh import spread_of
from .values import Reading

__all__ = ["read"]


def read(p: Tensor, request: Request, count: int | None) -> Reading:
    """Read a parameter that has taken so many steps, and its state; of shards nothing."""
    if is_lazy(p) or p.is_meta or not p.numel() or spread_of(p) is not None:
        return Reading()
    with torch.no_grad():
        norm = float(torch.linalg.vector_norm(p.detach(), dtype=torch.promote_types(p.dtype, torch.float32)))
    return Reading(norm)
