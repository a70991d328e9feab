"""Slots of the state as ordinary torch tensors: under which keys they lie, and how they are made.

A slot in an unscaled format is one tensor of the parameter's shape and strides, in the format's torch dtype,
under the slot's own key. In a scaled format it is two or three, under keys that name the format, so that
nobody takes codes for values:

- `exp_avg_float8`: the codes, uint8, of the parameter's shape and strides; where codes share bytes, as
  `formats.packed_shape` says.
- `exp_avg_float8_scale`: the float32 scales, as `formats.scales_shape` says.
- `exp_avg_float8_order`: the dimensions from the slowest in memory to the fastest, in which blocks were made,
  of a parameter that is not row-major: strides do not survive every file.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import formats
from ..formats import Format
from ..rules._base import Slot
from .gradients import has_own_memory
from .packed import PACKED, is_packed, packed_order
from .state import is_native, torch_dtype

__all__ = [
    "Held",
    "Order",
    "allocate",
    "array_keys",
    "empty_arrays",
    "find",
    "fits",
    "in_order",
    "keys_of",
    "memory_order",
    "shape_fault",
    "slot_keys",
]

Order = tuple[int, ...]


def array_keys(key: str, format: Format) -> tuple[str, ...]:
    """The keys in `state[p]` of the tensors of a slot that a step reads and writes."""
    return (f"{key}_{format.name}", f"{key}_{format.name}_scale") if format.scaled else (key,)


def slot_keys(key: str, format: Format) -> tuple[str, ...]:
    """The same with all that a slot may have beside them."""
    return (*array_keys(key, format), *([_order_key(key, format)] if format.scaled else []))


def _order_key(key: str, format: Format) -> str:
    return f"{key}_{format.name}_order"


@functools.cache
def keys_of(key: str) -> Mapping[str, str]:
    """Every key under which a tensor of a slot may lie, with the format that it says; "" for its own key."""
    found = {key: ""}
    for name in formats.names():
        format = formats.get(name)
        if format.scaled:
            found |= dict.fromkeys(slot_keys(key, format), name)
    return found


@dataclass(frozen=True)
class Held:
    """What a state holds of a slot.

    Attributes:
        name: the format; "" for a tensor of the parameter's shape, `PACKED` for codes and scales in one.
        keys: all keys under which it lies.
        codes: the values, or their codes.
        scales: the scales.
        order: the dimensions from the slowest to the fastest in which blocks were made; None for row-major.
    """

    name: str
    keys: tuple[str, ...]
    codes: Tensor
    scales: Tensor | None = None
    order: Order | None = None


def find(state: Mapping[str, Any], key: str, first: str = "") -> Held | None:
    """What a state holds of the slot under `key`; if in several formats, in that named `first`."""
    if keys_of(key).keys().isdisjoint(state):
        return None
    found = state.get(key)
    if found is not None and not (first and state.get(f"{key}_{first}") is not None):
        packed = is_packed(found)
        return Held(PACKED if packed else "", (key,), found)
    for name in dict.fromkeys([*([first] if first else []), *dict.fromkeys(keys_of(key).values())]):
        codes = state.get(f"{key}_{name}") if name else None
        if codes is not None:
            keys = slot_keys(key, formats.get(name))
            order = state.get(keys[2])
            dims = None if order is None else tuple(order.tolist())
            return Held(name, tuple(k for k in keys if k in state), codes, state.get(keys[1]), dims)
    return None


def memory_order(p: Tensor) -> Order | None:
    """The dimensions from the slowest in memory to the fastest; None where they are in their own order."""
    if p.is_contiguous():
        return None
    strides = p.stride()
    # Dimensions of size 1 are anywhere: in front.
    return tuple(sorted(range(p.dim()), key=lambda k: -strides[k] if p.shape[k] > 1 else -np.inf))


def in_order(p: Tensor, order: Order | None) -> tuple[int, ...]:
    """The shape of a parameter with its dimensions in an order."""
    return tuple(p.shape) if order is None else tuple(p.shape[k] for k in order)


def code_shape(p: Tensor, format: Format, order: Order | None) -> tuple[int, ...]:
    """The shape of the codes of a scaled slot."""
    return tuple(p.shape) if format.packs == 1 else formats.packed_shape(in_order(p, order), format.packs)


def shape_fault(held: Held, p: Tensor) -> tuple[int, ...] | None:
    """The shape of a tensor of this slot that is not one of a parameter like `p`; None where all are."""
    shape = tuple(held.codes.shape)
    if held.name == "":
        return None if shape == p.shape else shape
    if held.name == PACKED:
        return shape if packed_order(held.codes, p) is None else None
    if held.order is not None and sorted(held.order) != list(range(p.dim())):
        return held.order
    if shape != code_shape(p, formats.get(held.name), held.order):
        return shape
    scales = () if held.scales is None else tuple(held.scales.shape)
    return None if scales == formats.scales_shape(in_order(p, held.order)) else scales


# Making.


def allocate(p: Tensor, key: str, format: Format, slot: Slot) -> dict[str, Tensor]:
    """The tensors of a slot before the first step, in the layout of `p`, by their keys."""
    initial: Any = slot.initial
    if p.is_complex():
        initial = complex(initial, initial)
    scale = np.float32(0)
    if not is_native(format) and format.encode is not None:
        scale, initial = _encoded(format, slot.initial)
    codes = _empty(p, format)
    return with_scales(p, key, format, codes.fill_(initial) if initial else codes.zero_(), float(scale))


def _empty(p: Tensor, format: Format) -> Tensor:
    if format.scaled and format.packs > 1:
        return torch.empty(code_shape(p, format, memory_order(p)), dtype=torch_dtype(format), device=p.device)
    dtype = p.dtype if p.is_complex() else torch_dtype(format)
    return torch.empty_like(p, dtype=dtype, requires_grad=False)


def with_scales(p: Tensor, key: str, format: Format, codes: Tensor, scale: float) -> dict[str, Tensor]:
    """The tensors of a slot in the layout of `p`, by their keys, all scales being `scale`."""
    if not format.scaled:
        return {key: codes}
    order = memory_order(p)
    shape = formats.scales_shape(in_order(p, order))
    scales = torch.full(shape, scale, dtype=torch.float32, device=p.device)
    made = dict(zip(array_keys(key, format), (codes, scales), strict=True))
    if order is not None:
        made[_order_key(key, format)] = torch.tensor(order, dtype=torch.int64, device="cpu")
    return made


def empty_arrays(p: Tensor, key: str, format: Format) -> dict[str, Tensor]:
    """The same with any values."""
    return with_scales(p, key, format, _empty(p, format), 0.0)


def _encoded(format: Format, value: float) -> tuple[np.float32, int]:
    """The scale and the stored element of a slot whose elements are all of one value."""
    assert format.encode is not None
    half = np.uint32(0x7FFFFFFF)
    if not format.scaled:
        code = np.asarray(format.encode(np.float32(value), half), format.stored)
        return np.float32(0), int(code.view(f"i{format.stored.itemsize}"))
    if value == 0:
        return np.float32(0), 0
    scale = np.float32(abs(value) * format.scale_factor)
    single = int(format.encode(np.float32(value), np.float32(1) / scale, half))
    return scale, sum(single << (8 // format.packs * k) for k in range(format.packs))


def same_layout(x: Tensor, p: Tensor, dtype: torch.dtype) -> bool:
    """Whether a tensor lies in memory as `p` does, in a dtype, with memory of its own and nothing lazy."""
    lazy = x.is_conj() or x.is_neg() or not has_own_memory(x)
    return x.dtype == dtype and x.shape == p.shape and x.stride() == p.stride() and not lazy


def fits(held: Held, p: Tensor, format: Format) -> bool:
    """Whether a slot is in a format and the layout of `p` already."""
    if not format.scaled:
        dtype = p.dtype if p.is_complex() else torch_dtype(format)
        return held.name == "" and same_layout(held.codes, p, dtype)
    if held.name != format.name or held.scales is None or held.order != memory_order(p):
        return False
    flat = held.scales.is_contiguous() and held.scales.dtype == torch.float32
    if format.packs > 1:
        return flat and held.codes.is_contiguous() and held.codes.dtype == torch_dtype(format)
    return flat and same_layout(held.codes, p, torch_dtype(format))
