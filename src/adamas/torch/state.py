"""State in storage formats as torch tensors: how it is allocated, told apart, and converted.

A state tensor in an unscaled format has the parameter's shape and strides and the format's torch dtype.
In a scaled format it is one flat uint8 tensor: the codes, in the order of the parameter's memory, padding
to four bytes, the float32 scales, the dimensions from the slowest in memory to the fastest, a byte each (a
parameter may be laid out anew between two steps), and the format's id. Packed state without an id was
written before there were ids, and is float8.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import formats
from ..formats import BLOCK, Format
from ..rules._base import Slot
from .gradients import has_own_memory

__all__ = [
    "SMALLEST_SCALED",
    "StateFormat",
    "allocate",
    "as_format",
    "checked_state_format",
    "decoded",
    "format_of_dtype",
    "has_shape_of",
    "is_packed",
    "slot_format",
]

# The values users may give as state_format: a name for all slots, or one for each slot by its key.
StateFormat = str | Mapping[str, str]

# Small tensors (biases, norms) stay float32: they save almost nothing and are the most sensitive to rounding.
SMALLEST_SCALED = 4096


def checked_state_format(state_format: Any) -> StateFormat | None:
    """The formats chosen, by their own names: aliases ("bf16") and torch's dtypes are understood.

    Raises:
        ValueError: one of them is not a format for state; the message lists those that are.
    """
    if state_format is None:
        return None
    if isinstance(state_format, Mapping):
        return {key: _checked_name(name) for key, name in state_format.items()}
    return _checked_name(state_format)


def _checked_name(given: Any) -> str:
    allowed = [name for name in formats.names() if name != "float64"]
    try:
        name = formats.find(given)
    except ValueError:
        name = ""
    if name not in allowed:
        raise ValueError(f"state_format must be one of {', '.join(allowed)}, got {given!r}")
    format_of_dtype(_torch_dtype(formats.get(name)))  # raises where that is not one of its own
    return name


@functools.cache
def _torch_dtype(format: Format) -> torch.dtype:
    dtype = torch.uint8 if format.torch_dtype is None else getattr(torch, format.torch_dtype)
    if not format.scaled and (dtype is torch.uint8 or dtype.itemsize != format.stored.itemsize):
        raise TypeError(
            f"format {format.name!r} needs a torch_dtype of its own, such as 'int16', not {dtype}"
        )
    assert isinstance(dtype, torch.dtype)
    return dtype


@functools.cache
def format_of_dtype(dtype: torch.dtype) -> str | None:
    """The format in which memory of a dtype is read, complex numbers as pairs; None where there is none.

    Raises:
        TypeError: two formats claim it, so that the state of one could be read as the other's.
    """
    if dtype.is_complex:
        dtype = dtype.to_real()
    every = map(formats.get, formats.names())
    found = [format.name for format in every if not format.scaled and _torch_dtype(format) == dtype]
    if len(found) > 1:
        raise TypeError(
            f"formats {' and '.join(found)} both have {dtype}: give each a torch_dtype of its own"
        )
    return found[0] if found else None


def slot_format(p: Tensor, key: str, slot: Slot, state_format: StateFormat | None) -> Format:
    """The format of one slot of a parameter.

    Float64 and complex parameters keep state of their own type, and small tensors are not scaled.
    """
    own = format_of_dtype(p.dtype) or "float32"
    plain = "float64" if own == "float64" else "float32"
    name = state_format if isinstance(state_format, str) else (state_format or {}).get(key, plain)
    if own == "float64" or p.is_complex():
        name = plain
    format = formats.get(name, slot.signed)
    return formats.get(plain) if format.scaled and p.numel() < SMALLEST_SCALED else format


def allocate(p: Tensor, format: Format, slot: Slot) -> Tensor:
    """A slot before the first step, in the layout of `p`."""
    if format.encode is not None and not _is_native(format):
        return _encode(torch.full_like(p, slot.initial, dtype=torch.float32, requires_grad=False), format)
    if p.is_complex():
        return torch.full_like(p, complex(slot.initial, slot.initial), requires_grad=False)
    if slot.initial == 0:
        return torch.zeros_like(p, dtype=_torch_dtype(format), requires_grad=False)
    return torch.full_like(p, slot.initial, dtype=_torch_dtype(format), requires_grad=False)


def _is_native(format: Format) -> bool:
    """Whether torch itself knows the values of the format's elements."""
    return not format.scaled and _torch_dtype(format).is_floating_point


def is_packed(state: Tensor) -> bool:
    """Whether a state tensor holds codes and scales."""
    return state.dtype == torch.uint8


def has_shape_of(state: Tensor, p: Tensor) -> bool:
    """Whether a state tensor, in whatever format, is one of a parameter of this shape."""
    if not is_packed(state) or state.shape == p.shape:
        return state.shape == p.shape
    if state.dim() != 1:
        return False
    format = _packed_format(state, p, True)
    return state.numel() - _order_at(p.numel(), format) in (p.dim(), p.dim() + 1)


def _packed_format(state: Tensor, p: Tensor, signed: bool) -> Format:
    """The format that the last byte of packed state names; float8 where it has none."""
    last = int(state[-1]) if state.numel() else 0
    for name in formats.names():
        format = formats.get(name, signed)
        if (
            format.scaled
            and state.numel() == _order_at(p.numel(), format) + p.dim() + 1
            and format.id == last
        ):
            return format
    return formats.get("float8", signed)


def decoded(state: Tensor, p: Tensor, signed: bool) -> Tensor:
    """The values of a state tensor in the parameter's shape; float32 where it holds codes."""
    if not is_packed(state) or state.shape == p.shape:
        name = format_of_dtype(state.dtype)
        format = formats.get(name, signed) if name else None
        if format is None or _is_native(format) or format.decode is None:
            return state
        codes = state.contiguous().numpy().view(format.stored)
        return torch.from_numpy(format.decode(codes))
    format = _packed_format(state, p, signed)
    assert format.decode is not None
    n, data = p.numel(), state.numpy()
    scales = data[_scales_at(n, format) : _order_at(n, format)].view(np.float32)
    codes = data[: n * format.stored.itemsize].view(format.stored)
    values = format.decode(codes) * np.repeat(scales, BLOCK)[:n]
    order = data[_order_at(n, format) :][: p.dim()].tolist()
    in_memory = values.reshape([p.shape[k] for k in order])
    return torch.from_numpy(in_memory.transpose(np.argsort(order)))


def as_format(state: Tensor, p: Tensor, format: Format, signed: bool) -> Tensor:
    """A state tensor in another format, or itself where it has that one and the layout of `p`."""
    if format.scaled:
        trailer = [*_order(p), format.id]
        if is_packed(state) and state[_order_at(p.numel(), format) :].tolist() == trailer:
            return state
    else:
        dtype = p.dtype if p.is_complex() else _torch_dtype(format)
        lazy = state.is_conj() or state.is_neg() or not has_own_memory(state)
        if state.dtype == dtype and state.stride() == p.stride() and state.shape == p.shape and not lazy:
            return state
        if _is_native(format):
            return torch.empty_like(p, dtype=dtype, requires_grad=False).copy_(decoded(state, p, signed))
    values = torch.empty_like(p, dtype=torch.float32, requires_grad=False)
    return _encode(values.copy_(decoded(state, p, signed)), format)


def _scales_at(elements: int, format: Format) -> int:
    return (elements * format.stored.itemsize + 3) & ~3


def _order_at(elements: int, format: Format) -> int:
    return _scales_at(elements, format) + 4 * math.ceil(elements / BLOCK)


def _order(p: Tensor) -> list[int]:
    """The dimensions from the slowest in memory to the fastest; first those of size 1, which are anywhere."""
    strides = p.stride()
    return sorted(range(p.dim()), key=lambda k: -strides[k] if p.shape[k] > 1 else -math.inf)


def _encode(values: Tensor, format: Format) -> Tensor:
    """Encode values, in their parameter's layout, to codes (and scales).

    A constant just below one half stands for the random bits, so that values are rounded to nearest.
    """
    assert format.encode is not None
    n = values.numel()
    flat = torch.as_strided(values, (n,), (1,)).numpy()
    half = np.uint32(0x7FFFFFFF)
    if not format.scaled:
        codes = np.asarray(format.encode(flat, half), format.stored)
        stored = torch.from_numpy(codes.view(f"i{format.stored.itemsize}")).view(_torch_dtype(format))
        return stored.as_strided(values.shape, values.stride())
    padded = np.zeros(math.ceil(n / BLOCK) * BLOCK, np.float32)
    padded[:n] = flat
    blocks = padded.reshape(-1, BLOCK)
    scales = np.abs(blocks).max(axis=1) * np.float32(format.scale_factor)
    scales = np.maximum(scales, np.finfo(np.float32).tiny)
    state = np.zeros(_order_at(n, format) + values.dim() + 1, np.uint8)
    with np.errstate(invalid="ignore"):  # infinity over the infinite scale of its block is NaN
        codes = np.asarray(format.encode(blocks / scales[:, None], half), format.stored)
    state[: n * format.stored.itemsize] = codes.ravel()[:n].view(np.uint8)
    state[_scales_at(n, format) : _order_at(n, format)].view(np.float32)[:] = scales
    state[_order_at(n, format) :] = [*_order(values), format.id]
    return torch.from_numpy(state)
