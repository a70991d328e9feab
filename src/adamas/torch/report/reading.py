"""What can be read of a parameter and its state at any moment, without a step."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.parameter import is_lazy

from .._compat import is_distributed, is_fake
from ..launchers import Request
from ..measured import gauge_of, sample, signals_of
from .values import Reading

__all__ = ["read"]


def read(p: Tensor, request: Request, count: int | None) -> Reading:
    """Read a parameter that has taken so many steps, and its state; of shards nothing is read."""
    if is_lazy(p) or p.is_meta or is_fake(p) or is_distributed(p) or not p.numel():
        return Reading()
    here = p.detach()
    norm = float(torch.linalg.vector_norm(here, dtype=torch.promote_types(p.dtype, torch.float32)))
    state = request.groups.state.get(p)
    if not state or count == 0:
        return Reading(norm)
    keys = dict(zip(request.rule.form().slots, request.slot_keys, strict=True))
    gauge = gauge_of(request.rule, count or 1)
    m, v = (
        None if slot is None else sample(state, keys[slot], here, signed)
        for slot, signed in ((gauge.mean, True), (gauge.root, False))
    )
    (signal,) = signals_of([None if m is None or v is None else (m, v)], [gauge])
    hidden = None if v is None else float((v.double() < gauge.hidden_below()).double().mean())
    return Reading(norm, signal, hidden)
