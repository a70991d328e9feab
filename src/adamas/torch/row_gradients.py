"""A gradient as rows: which rows it is of, each once, and where the values of each are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..backends.numba import row_lists
from ._compat import rows_of

__all__ = ["RowGradient", "row_gradient"]

_Rows = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True, eq=False)
class RowGradient:
    """The rows of a gradient.

    Attributes:
        rows: their numbers, each once.
        addresses: of the first element of each.
        values: the tensors that the addresses are in.
    """

    rows: _Rows
    addresses: _Rows
    values: tuple[Tensor, ...]


def row_gradient(g: Tensor, p: Tensor, dtype: torch.dtype, first: np.ndarray[Any, Any]) -> RowGradient:
    """The rows of a gradient: those that it has if it is sparse, duplicates summed, and all if it is dense.

    Args:
        g: the gradient.
        p: its parameter.
        dtype: that in which a kernel reads gradients.
        first: int32, -1 for each row; scratch.

    Raises:
        RuntimeError: it is sparse in more dimensions than the first, or of another layout.
        IndexError: it has a row that the parameter does not have.
    """
    if g.layout == torch.strided:
        values = g.detach().to(dtype).contiguous()
        rows = np.arange(len(p))
        return RowGradient(rows, values.data_ptr() + rows * _row_bytes(values), (values,))
    if g.layout != torch.sparse_coo or g.sparse_dim() != 1:
        raise RuntimeError(
            f"a parameter of shape {tuple(p.shape)} has a {g.layout} gradient with {g.sparse_dim()} sparse "
            f"dimensions; a step by rows takes a sparse_coo one whose first dimension is sparse, as that of "
            f"an embedding is"
        )
    places, parts = rows_of(g.detach())
    indices, values = places[0].contiguous().numpy(), parts.detach()
    if values.dtype != dtype or not values.is_contiguous():
        values = values.to(dtype).contiguous()
    return _coalesced(indices, values, first, p)


def _coalesced(indices: _Rows, values: Tensor, first: np.ndarray[Any, Any], p: Tensor) -> RowGradient:
    count = len(indices)
    rows, positions, again = (
        np.empty(count, np.int64),
        np.empty(count, np.int64),
        np.empty((count, 2), np.int64),
    )
    found, repeated = row_lists().unique(indices, first, rows, positions, again)
    if found < 0:
        wrong = indices[(indices < 0) | (indices >= len(p))][0]
        raise IndexError(
            f"a parameter of shape {tuple(p.shape)} has a gradient of row {wrong}, and rows 0 to {len(p) - 1}"
        )
    rows, positions, again = rows[:found], positions[:found], again[:repeated]
    addresses = values.data_ptr() + positions * _row_bytes(values)
    if not repeated:
        return RowGradient(rows, addresses, (values,))
    # Their sums go to memory of their own: the gradient stays as it is.
    several = np.unique(again[:, 1])
    number = np.full(found, -1, np.int64)
    number[several] = np.arange(len(several))
    sums = values[torch.from_numpy(positions[several])].reshape(len(several), -1)
    flat = values.reshape(len(values), -1)
    if sums.dtype in (torch.float32, torch.float64):
        row_lists().added(flat.numpy(), again, number, sums.numpy())
    else:
        sums.index_add_(0, torch.from_numpy(number[again[:, 1]]), flat[torch.from_numpy(again[:, 0].copy())])
    addresses[several] = sums.data_ptr() + np.arange(len(several)) * _row_bytes(sums)
    return RowGradient(rows, addresses, (values, sums))


def _row_bytes(x: Tensor) -> int:
    return x[0].numel() * x.element_size() if len(x) else 0
