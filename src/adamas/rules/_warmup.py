"""Warm-ups of hyperparameters over the first T steps."""

from typing import Any

from ._base import xp

__all__ = ["part_of", "with_half_life"]


def part_of(t: Any, warmup: Any) -> Any:
    """t / T, and 1 from step T on; 1 at once where T is 0."""
    return xp.minimum(t / xp.maximum(warmup, 1.0), 1.0)


def with_half_life(first: Any, last: Any, part: Any) -> Any:
    """The decay whose half-life lies this part of the way from that of `first` to that of `last`."""
    ratio = xp.log(xp.maximum(last, 1e-300)) / xp.log(xp.maximum(first, 1e-300))
    return xp.where(part < 1, last ** (1 / ((1 - part) * ratio + part)), last)
