"""Blocks: which elements of a tensor share a scale, and where scales and packed codes lie.

A row is an index of the slowest dimension in memory. A block is `BLOCK` consecutive elements of a row, the
last of a row with what is left. Rows shorter than a block share one, as many whole rows as it holds, so that
a shard of whole rows has whole blocks. A vector is one row.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

__all__ = ["BLOCK", "packed_shape", "row_length", "scales_shape"]

# Elements that share one scale, in formats that have scales.
BLOCK = 128


def row_length(shape: Sequence[int]) -> int:
    """The elements of a row of a tensor of this shape, slowest dimension first; of all rows in a block."""
    if len(shape) < 2:
        return max(1, math.prod(shape))
    row = max(1, math.prod(shape[1:]))
    return row * max(1, BLOCK // row)


def scales_shape(shape: Sequence[int]) -> tuple[int, ...]:
    """The shape of the scales of a tensor: (rows, blocks a row), or (blocks,) of a vector."""
    elements, length = math.prod(shape), row_length(shape)
    blocks = math.ceil(length / BLOCK)
    return (blocks,) if len(shape) < 2 else (math.ceil(elements / length), blocks)


def packed_shape(shape: Sequence[int], packs: int) -> tuple[int, ...]:
    """The shape of codes of which `packs` share a stored element: (rows, stored elements a row), as above."""
    elements, length = math.prod(shape), row_length(shape)
    stored = math.ceil(length / packs)
    return (stored,) if len(shape) < 2 else (math.ceil(elements / length), stored)
