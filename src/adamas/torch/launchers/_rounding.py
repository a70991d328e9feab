"""Stochastic rounding of whole tensors to 16 bits."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["round_to"]


def round_to(target: Tensor, value: Tensor, key: int) -> Tensor:
    """Values for storage in the dtype of `target`; in 16 bits, rounded so that the mean is kept."""
    dropped = {torch.bfloat16: 16, torch.float16: 13}.get(target.dtype)
    if dropped is None or value.is_meta:
        return value
    value = value.to(torch.float32)
    generator = torch.Generator(value.device).manual_seed(key & 0x7FFFFFFFFFFFFFFF)
    noise = torch.randint(0, 1 << dropped, value.shape, generator=generator, device=value.device)
    bits = (value.contiguous().view(torch.int32) + noise.to(torch.int32)) & (-1 << dropped)
    rounded = torch.where(value.isnan(), value, bits.view(torch.float32))
    if not value.requires_grad:
        return rounded
    # The gradient passes straight through. The sum is exact: the two are within a factor of two.
    return torch.where(value.isfinite(), value + (rounded - value).detach(), value)
