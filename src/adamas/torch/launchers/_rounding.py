"""Stochastic rounding of whole tensors to 16 bits, with the random bits that kernels draw for a parameter."""

from __future__ import annotations

import torch
from torch import Tensor

from ...backends import Runs
from ...backends.numba.randomness import MULTIPLIERS
from .._compat import is_dense

__all__ = ["round_to"]

_WORD, _LONG = 0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF


def round_to(target: Tensor, value: Tensor, key: int, number: int, runs: Runs | None = None) -> Tensor:
    """Values for storage in the dtype of `target`; in 16 bits, rounded so that the mean is kept.

    Args:
        target, value: of one shape.
        key: that of the step.
        number: that of the parameter.
        runs: which elements of a larger parameter these are, in the order of memory; None for all.
    """
    dropped = {torch.bfloat16: 16, torch.float16: 13}.get(target.dtype)
    if dropped is None or value.is_meta:
        return value
    value = value.to(torch.float32)
    noise = _draw(_numbers(target, runs).to(value.device), key, number) >> (32 - dropped)
    bits = (value.contiguous().view(torch.int32) + noise.to(torch.int32)) & (-1 << dropped)
    rounded = torch.where(value.isnan(), value, bits.view(torch.float32))
    if not value.requires_grad:
        return rounded
    # The gradient passes straight through. The sum is exact: the two are within a factor of two.
    return torch.where(value.isfinite(), value + (rounded - value).detach(), value)


def _numbers(x: Tensor, runs: Runs | None) -> Tensor:
    """The number of each element, in the order of memory where that has no gaps."""
    flat = torch.arange(x.numel(), device="cpu")
    if runs is not None:
        flat = (torch.tensor(runs.firsts, device="cpu")[:, None] + torch.arange(runs.length)).flatten()
    if not is_dense(x):
        return flat.view(x.shape)
    return flat.as_strided(x.shape, x.stride())


def _draw(numbers: Tensor, key: int, parameter: int) -> Tensor:
    """32 random bits for each element: the arithmetic of `randomness`, in integers of 64 bits."""
    mixed = (key + parameter * 0x9E3779B97F4A7C15) & _LONG
    mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _LONG
    mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _LONG
    mixed ^= mixed >> 31
    counters = ((mixed >> 32) + numbers * 0x9E3779B9) & _WORD
    folded = (counters ^ (counters >> 17)) ^ (mixed & _WORD)
    return (folded * MULTIPLIERS[0]) & _WORD
