"""Codes and scales in one flat tensor: how float8 state was kept before they were two; read, never written.

The tensor has the uint8 codes in the order of the parameter's memory, padding to four bytes, a float32 scale
for each 128 of them, the dimensions from the slowest in memory to the fastest, a byte each, and a byte 0,
which the first of such checkpoints lack. Signed codes were sign, 4 bits of exponent and 3 of mantissa.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["PACKED", "is_packed", "packed_codes", "packed_order", "packed_values"]

# The name by which such state is told from that of a format.
PACKED = "packed"
_BLOCK = 128


def is_packed(state: Any) -> bool:
    """Whether what lies under a slot's own key is such a tensor."""
    return isinstance(state, Tensor) and state.dtype == torch.uint8


def _order_at(n: int) -> int:
    return ((n + 3) & ~3) + 4 * math.ceil(n / _BLOCK)


def packed_order(state: Tensor, p: Tensor) -> tuple[int, ...] | None:
    """The order of the dimensions in it; None where it is not the state of a parameter of this shape."""
    end = _order_at(p.numel())
    if state.dim() != 1 or state.numel() - end not in (p.dim(), p.dim() + 1):
        return None
    order = tuple(state[end : end + p.dim()].tolist())
    return order if sorted(order) == list(range(p.dim())) else None


def packed_codes(state: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """The codes and the scales of `n` elements, in the order of memory."""
    scales = state[(n + 3) & ~3 : _order_at(n)].numpy().view(np.float32)
    return state[:n], torch.from_numpy(scales)


def packed_values(codes: NDArray[Any], scales: NDArray[Any], signed: bool) -> NDArray[Any]:
    """The values of codes with a scale each."""
    codes = codes.astype(np.uint32)
    if signed:
        bits = ((codes & 0x80) << 24) | (((codes & 0x7F) << 20) + ((127 - 15) << 23))
        zero = (codes & 0x7F) == 0
    else:
        bits, zero = (codes << 20) + ((127 - 31) << 23), codes == 0
    values: NDArray[Any] = np.where(zero, np.float32(0), bits.astype(np.uint32).view(np.float32)) * scales
    return values
