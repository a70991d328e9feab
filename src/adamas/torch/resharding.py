"""Slots of parameters that are spread over processes, as one process needs them, however they were saved."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from .. import formats
from .conversion import widened
from .mesh import Spread, localized, own_part
from .packed import PACKED
from .slots import find

__all__ = ["slot_here"]


def slot_here(
    state: Mapping[str, Any], key: str, signed: bool, layout: Tensor, spread: Spread, whole: bool
) -> dict[str, Any]:
    """The tensors of a slot that this process needs, by their keys; none where the state has none.

    Codes go by blocks. Where shards would cut these, or they were made in another order of the dimensions,
    all values are made for a moment, in float32, and the shard is taken from them.

    Args:
        state: the parameter's, of tensors of the whole: DTensors, or the whole of one in every process.
        key, signed: of the slot.
        layout: a tensor as this process keeps the slot.
        spread: that of the parameter.
        whole: whether every process keeps all of the state.
    """
    held = find(state, key)
    if held is None:
        return {}
    in_blocks = held.name != ""
    shards = held.name != PACKED and held.order == spread.order and not spread.cuts_blocks
    if whole or shards or not in_blocks:
        found = {name: state[name] for name in held.keys}
        return {
            name: x if name.endswith("_order") else localized(x, spread, whole) for name, x in found.items()
        }
    everywhere = dataclasses.replace(
        held,
        codes=localized(held.codes, spread, whole=True),
        scales=None if held.scales is None else localized(held.scales, spread, whole=True),
    )
    # One byte an element is reserved, and never touched.
    like = torch.empty_strided(spread.shape, spread.stride, dtype=torch.uint8, device=layout.device)
    values = widened(everywhere, like, formats.get("float32"), signed)
    part = torch.empty_like(layout, dtype=torch.float32, requires_grad=False)
    return {key: part.copy_(own_part(values, spread))}
