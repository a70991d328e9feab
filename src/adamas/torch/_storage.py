"""State in storage formats as torch tensors: how it is allocated, told apart, and converted.

A state tensor in an unscaled format has the parameter's shape and strides and the format's torch dtype.
In a scaled format it is one flat uint8 tensor: the codes, in the order of the parameter's memory, padding
to four bytes, the float32 scales, and the dimensions from the slowest in memory to the fastest, a byte
each: a parameter may be laid out anew between two steps.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import formats
from ..formats import BLOCK, Format
from ..rules._base import Slot

__all__ = [
    "FORMATS",
    "StateFormat",
    "allocate",
    "as_format",
    "check_state_format",
    "decoded",
    "has_shape_of",
    "is_packed",
    "round_to",
    "slot_format",
]

# What users may give as state_format: a name for all slots, or one for each slot by its key.
StateFormat = str | Mapping[str, str]

# The format in which memory of each dtype is read; complex numbers as pairs.
FORMATS = {
    torch.float32: "float32",
    torch.float64: "float64",
    torch.complex64: "float32",
    torch.complex128: "float64",
    torch.bfloat16: "bfloat16",
    torch.float16: "float16",
}
_DTYPES = {
    "float32": torch.float32,
    "float64": torch.float64,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}
# Below this many elements scales would cost more than codes save, and these tensors matter most.
_SMALLEST_SCALED = 4096


def check_state_format(state_format: Any) -> None:
    """Raise a ValueError that lists the formats where one given is not among them."""
    chosen = [] if state_format is None else [state_format]
    if isinstance(state_format, Mapping):
        chosen = list(state_format.values())
    allowed = [name for name in formats.names() if name != "float64"]
    for name in chosen:
        if name not in allowed:
            raise ValueError(f"state_format must be one of {', '.join(allowed)}, got {name!r}")


def slot_format(p: Tensor, key: str, slot: Slot, state_format: StateFormat | None) -> Format:
    """The format of one slot of a parameter.

    Float64 and complex parameters keep state of their own type, and small tensors are not scaled.
    """
    own = FORMATS.get(p.dtype, "float32")
    plain = "float64" if own == "float64" else "float32"
    name = state_format if isinstance(state_format, str) else (state_format or {}).get(key, plain)
    if own == "float64" or p.is_complex():
        name = plain
    format = formats.get(name, slot.signed)
    return formats.get(plain) if format.scaled and p.numel() < _SMALLEST_SCALED else format


def allocate(p: Tensor, format: Format, slot: Slot) -> Tensor:
    """A slot before the first step."""
    if format.scaled:
        return _encode(torch.full_like(p, slot.initial, dtype=torch.float32, requires_grad=False), format)
    if p.is_complex():
        return torch.full_like(p, complex(slot.initial, slot.initial), requires_grad=False)
    return torch.full_like(p, slot.initial, dtype=_DTYPES[format.name], requires_grad=False)


def is_packed(state: Tensor) -> bool:
    """Whether a state tensor holds codes and scales."""
    return state.dtype == torch.uint8


def has_own_memory(x: Tensor) -> bool:
    """Whether elements are where the address says: not those of a tensor made of others, or of mere zeros."""
    return not x._is_zerotensor() and type(x).__torch_dispatch__ is Tensor.__torch_dispatch__


def has_shape_of(state: Tensor, p: Tensor) -> bool:
    """Whether a state tensor, in whatever format, is one of a parameter of this shape."""
    if is_packed(state):
        return state.shape == (_order_at(p.numel()) + p.dim(),)
    return state.shape == p.shape


def round_to(target: Tensor, value: Tensor, key: int) -> Tensor:
    """Values for storage in the dtype of `target`; in 16 bits, rounded so that the mean is kept."""
    dropped = {torch.bfloat16: 16, torch.float16: 13}.get(target.dtype)
    if dropped is None:
        return value
    value = value.to(torch.float32)
    generator = torch.Generator(value.device).manual_seed(key & 0x7FFFFFFFFFFFFFFF)
    noise = torch.randint(0, 1 << dropped, value.shape, generator=generator, device=value.device)
    bits = (value.contiguous().view(torch.int32) + noise.to(torch.int32)) & (-1 << dropped)
    rounded = torch.where(value.isnan(), value, bits.view(torch.float32))
    if not value.requires_grad:
        return rounded
    # A gradient passes a rounding as it is. The sum is exact, for the two are near each other.
    return torch.where(value.isfinite(), value + (rounded - value).detach(), value)


def decoded(state: Tensor, p: Tensor, signed: bool) -> Tensor:
    """The values of a state tensor in the parameter's shape; of no more bits than float32."""
    if not is_packed(state):
        return state
    n, data = p.numel(), state.numpy()
    format = formats.get("float8", signed)
    assert format.decode is not None
    scales = data[_scales_at(n) : _order_at(n)].view(np.float32)
    values = format.decode(data[:n]) * np.repeat(scales, BLOCK)[:n]
    order = data[_order_at(n) :].tolist()
    in_memory = values.reshape([p.shape[k] for k in order])
    return torch.from_numpy(in_memory.transpose(np.argsort(order)))


def as_format(state: Tensor, p: Tensor, format: Format, signed: bool) -> Tensor:
    """A state tensor in another format, or itself where it has that one and the parameter's layout."""
    if format.scaled:
        if is_packed(state) and state[_order_at(p.numel()) :].tolist() == _order(p):
            return state
        values = torch.empty_like(p, dtype=torch.float32, requires_grad=False)
        return _encode(values.copy_(decoded(state, p, signed)), format)
    dtype = p.dtype if p.is_complex() else _DTYPES[format.name]
    lazy = state.is_conj() or state.is_neg() or not has_own_memory(state)
    if state.dtype == dtype and state.stride() == p.stride() and state.shape == p.shape and not lazy:
        return state
    return torch.empty_like(p, dtype=dtype, requires_grad=False).copy_(decoded(state, p, signed))


def _scales_at(elements: int) -> int:
    return (elements + 3) & ~3


def _order_at(elements: int) -> int:
    return _scales_at(elements) + 4 * math.ceil(elements / BLOCK)


def _order(p: Tensor) -> list[int]:
    """The dimensions from the slowest in memory to the fastest; first those of size 1, which are anywhere."""
    strides = p.stride()
    return sorted(range(p.dim()), key=lambda k: -strides[k] if p.shape[k] > 1 else -math.inf)


def _encode(values: Tensor, format: Format) -> Tensor:
    """Values laid out as their parameter, to codes and scales; to the nearest code, or the one below."""
    assert format.encode is not None
    n = values.numel()
    flat = torch.as_strided(values, (n,), (1,)).numpy()
    padded = np.zeros(math.ceil(n / BLOCK) * BLOCK, np.float32)
    padded[:n] = flat
    blocks = padded.reshape(-1, BLOCK)
    scales = np.maximum(np.abs(blocks).max(axis=1) * np.float32(format.margin), np.finfo(np.float32).tiny)
    half = np.uint32(0x7FFFFFFF)
    state = np.zeros(_order_at(n) + values.dim(), np.uint8)
    with np.errstate(invalid="ignore"):  # infinity over the infinite scale of its block is NaN
        codes = format.encode(blocks / scales[:, None], half)
    state[:n] = codes.ravel()[:n]
    state[_scales_at(n) : _order_at(n)].view(np.float32)[:] = scales
    state[_order_at(n) :] = _order(values)
    return torch.from_numpy(state)
