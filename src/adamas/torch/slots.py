"""Slots of the state as ordinary torch tensors: under which keys they lie, and how they are made.

A slot in a format that torch knows is one tensor of the parameter's shape and strides, in the format's torch
dtype, under the slot's own key. In another format keys name it, so that nobody takes codes for values, nor
copies values into codes: `exp_avg_mine` of a format "mine" without scales. In a scaled format there are two
or three:

- `exp_avg_float8`: the codes, uint8, of the parameter's shape and strides; where codes share bytes, as
  `formats.packed_shape` says.
- `exp_avg_float8_scale`: the float32 scales, as `formats.scales_shape` says.
- `exp_avg_float8_order`: the dimensions from the slowest in memory to the fastest, in which blocks were made,
  of a parameter that is not row-major: strides do not survive every file.
"""

from __future__ import annotations

import functools
import math
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
    "array_shapes",
    "empty_arrays",
    "fault",
    "find",
    "fits",
    "in_order",
    "keys_of",
    "memory_order",
    "slot_keys",
]

Order = tuple[int, ...]

# At which scaled state saturates, as in kernels.
_LARGEST = float(np.finfo(np.float32).max) * (1 - 2.0**-18)


def array_keys(key: str, format: Format) -> tuple[str, ...]:
    """The keys in `state[p]` of the tensors of a slot that a step reads and writes."""
    if is_native(format):
        return (key,)
    codes = f"{key}_{format.name}"
    return (codes, f"{codes}_scale") if format.scaled else (codes,)


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
        if not is_native(format):
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


def find(state: Mapping[str, Any], key: str) -> Held | None:
    """What a state holds of the slot under `key`, in whatever format."""
    if keys_of(key).keys().isdisjoint(state):
        return None
    found = state.get(key)
    if found is not None:
        return Held(PACKED if is_packed(found) else "", (key,), found)
    for name in dict.fromkeys(keys_of(key).values()):
        codes = state.get(f"{key}_{name}") if name else None
        if codes is not None:
            keys = slot_keys(key, formats.get(name))
            if len(keys) == 1:  # their dtype says what the codes are
                return Held("", keys, codes)
            order = _order_of(state.get(keys[2]))
            return Held(name, tuple(k for k in keys if k in state), codes, state.get(keys[1]), order)
    return None


def _order_of(order: Any) -> Order | None:
    """The dimensions that a stored tensor names; none where it is not one of them."""
    if order is None:
        return None
    if not torch.is_tensor(order) or order.dim() != 1 or order.is_meta or order.dtype.is_floating_point:
        return ()
    return tuple(order.tolist())


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


def array_shapes(p: Tensor, order: Order | None, key: str, format: Format) -> dict[str, tuple[int, ...]]:
    """The shapes of the tensors of a slot that a step reads and writes, by their keys."""
    if not format.scaled:
        return dict.fromkeys(array_keys(key, format), tuple(p.shape))
    shapes = code_shape(p, format, order), formats.scales_shape(in_order(p, order))
    return dict(zip(array_keys(key, format), shapes, strict=True))


def fault(state: Mapping[str, Any], key: str, p: Tensor) -> str | None:
    """What is wrong with what a state holds of a slot, as the state of `p`; None where nothing is."""
    held, shape = find(state, key), tuple(p.shape)
    present = [name for name in keys_of(key) if state.get(name) is not None]
    if held is None:
        return f"is incomplete: there is {present[0]!r}, without the codes" if present else None
    if other := [name for name in present if name not in held.keys]:
        return f"is there twice, in {held.keys[0]!r} and {other[0]!r}; delete one of them"
    for tensor in (held.codes, held.scales):
        if tensor is not None and tensor.is_meta and not p.is_meta:
            return f"is on the device 'meta', without values, and the parameter on {p.device}"
    if held.name == PACKED:
        wrong = packed_order(held.codes, p) is None
        return f"has shape {tuple(held.codes.shape)}, the parameter {shape}" if wrong else None
    if held.name == "":
        found = tuple(held.codes.shape)
        return None if found == shape else f"has shape {found}, the parameter {shape}"
    return _fault_of_scaled(held, p)


def _fault_of_scaled(held: Held, p: Tensor) -> str | None:
    format, shape = formats.get(held.name), tuple(p.shape)
    if held.order is not None and sorted(held.order) != list(range(p.dim())):
        return f"has its dimensions in the order {held.order}, and the parameter has {p.dim()}"
    if held.scales is None:
        return "is incomplete: its codes have no scales"
    dtypes, right_dtypes = (held.codes.dtype, held.scales.dtype), (torch_dtype(format), torch.float32)
    if dtypes != right_dtypes:
        return f"has codes and scales of {dtypes}, not {right_dtypes}"
    scales = formats.scales_shape(in_order(p, held.order))
    for found, right in ((held.codes, code_shape(p, format, held.order)), (held.scales, scales)):
        if tuple(found.shape) != right:
            return f"has shape {tuple(found.shape)}, the parameter {shape}, of which it would be {right}"
    return None


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
        return dict.fromkeys(array_keys(key, format), codes)
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
    value = math.copysign(min(abs(value), format.largest or _LARGEST), value)
    scale = np.float32(abs(value) * format.scale_factor)
    single = int(format.encode(np.float32(value), np.float32(1) / scale, half))
    return scale, sum(single << (8 // format.packs * k) for k in range(format.packs))


def same_layout(x: Tensor, p: Tensor, dtype: torch.dtype) -> bool:
    """Whether a tensor lies in memory as `p` does, in a dtype, with memory of its own and nothing lazy."""
    lazy = x.is_conj() or x.is_neg() or not has_own_memory(x)
    same = x.device == p.device and x.dtype == dtype and x.shape == p.shape
    return same and x.stride() == p.stride() and not lazy


def fits(held: Held, p: Tensor, format: Format) -> bool:
    """Whether a slot is in a format and the layout of `p` already."""
    if not format.scaled:
        dtype = p.dtype if p.is_complex() else torch_dtype(format)
        named = held.keys[0].endswith(f"_{format.name}") or is_native(format)
        return held.name == "" and named and same_layout(held.codes, p, dtype)
    if held.name != format.name or held.scales is None or held.order != memory_order(p):
        return False
    flat = held.scales.is_contiguous() and held.scales.dtype == torch.float32
    if held.scales.device != p.device or held.codes.device != p.device:
        return False
    if format.packs > 1:
        return flat and held.codes.is_contiguous() and held.codes.dtype == torch_dtype(format)
    return flat and same_layout(held.codes, p, torch_dtype(format))
