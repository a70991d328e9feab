"""Parameters that are spread over processes (DTensors): the shard that this one updates, and its state.

A kernel sees the local tensor of a DTensor. State is DTensors too, placed as the parameter is, codes and
scales alike, so that whatever reshards a checkpoint reshards them. Where shards would cut a block of a scaled
format, whose elements share a scale, every process keeps the state of the whole parameter instead, and steps
the whole: the same bits, at the price of two gathers.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..backends import Runs
from ..formats import BLOCK, row_length
from ._compat import is_distributed, local_tensor, same_sharding, sharding
from ._cuts import Cuts, Pieces, align, all_pieces, pieces_of
from .slots import Order, memory_order

__all__ = [
    "Spread",
    "check_grad_placements",
    "empty_state",
    "local",
    "localized",
    "own_part",
    "spread_of",
    "wrapped",
]


def local(x: Tensor) -> Tensor:
    """The part of a DTensor that this process has, sharing its memory; any other tensor as it is."""
    return local_tensor(x) if is_distributed(x) else x


@dataclass(frozen=True, eq=False)
class Spread:
    """Where the elements of a parameter are.

    Attributes:
        mesh, placements: those of the DTensor.
        shape, stride: those of the whole.
        order: the dimensions from the slowest in memory to the fastest; None for row-major.
        place: the coordinates of this process in the mesh; None where it is not in it.
    """

    mesh: Any
    placements: tuple[Any, ...]
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    order: Order | None
    place: tuple[int, ...] | None

    def cuts(self, dim: int) -> Cuts:
        """How a dimension is cut, from the first cut to the last."""
        return tuple(
            (self.mesh.size(k), getattr(placement, "split_factor", 1))
            for k, placement in enumerate(self.placements)
            if _dim_of(placement) == dim
        )

    def pieces(self, dim: int) -> Pieces:
        """The stretches of a dimension that this process has: first index, and last + 1."""
        if self.place is None:
            return ()
        at = tuple(self.place[k] for k, each in enumerate(self.placements) if _dim_of(each) == dim)
        return pieces_of(self.shape[dim], self.cuts(dim), at)

    @property
    def counts(self) -> bool:
        """Whether, of the processes that have the same elements, this is the first."""
        return self.place is not None and not any(
            at
            for at, placement in zip(self.place, self.placements, strict=True)
            if _dim_of(placement) is None
        )

    @property
    def is_first(self) -> bool:
        """Whether this is the first process of the mesh."""
        return self.place is not None and not any(self.place)

    @functools.cached_property
    def cuts_blocks(self) -> bool:
        """Whether, in some process, a block of a scaled format would not be whole."""
        order = self.order or tuple(range(len(self.shape)))
        shape, cut = _permuted(self.shape, order), [self.cuts(dim) for dim in order]
        row = math.prod(shape[1:])
        if not any(cut) or not math.prod(shape):
            return False
        if any(cut[2:]) or (any(cut[1:]) and row_length(shape) > row):
            return True
        rows = BLOCK if len(shape) == 1 else max(1, BLOCK // row)  # that share a block
        if cut[0] and not align(shape[0], rows, cut[0]):
            return True
        if len(shape) < 2 or not cut[1]:
            return False
        inner = math.prod(shape[2:])
        # A row that is cut to less than half a block would share one with the next.
        least = min(stop - start for each in all_pieces(shape[1], cut[1]) for start, stop in each)
        if BLOCK % inner or 0 < least * inner <= BLOCK // 2:
            return True
        return not align(shape[1], BLOCK // inner, cut[1], single=True)

    @functools.cached_property
    def runs(self) -> Runs | None:
        """The numbers of the elements of this process among all, in the order of memory; None for all."""
        order = self.order or tuple(range(len(self.shape)))
        shape, pieces = _permuted(self.shape, order), [self.pieces(dim) for dim in order]
        d = len(shape) - 1
        while d >= 0 and pieces[d] == ((0, shape[d]),):
            d -= 1
        if d < 0:
            return None
        inner = math.prod(shape[d + 1 :])
        lengths = {stop - start for start, stop in pieces[d]}
        starts = [start for start, _ in pieces[d]]
        if len(lengths) > 1:
            lengths, starts = {1}, [k for start, stop in pieces[d] for k in range(start, stop)]
        strides = [math.prod(shape[k + 1 :]) for k in range(d)]
        outer = itertools.product(*([k for part in pieces[k] for k in range(*part)] for k in range(d)))
        before = [sum(k * stride for k, stride in zip(index, strides, strict=True)) for index in outer]
        firsts = [first + start * inner for first in before for start in starts]
        return Runs(inner * max(lengths, default=0), firsts)


def _permuted(shape: Sequence[int], order: Order) -> tuple[int, ...]:
    """The sizes of dimensions in an order."""
    return tuple(shape[k] for k in order)


def _dim_of(placement: Any) -> int | None:
    """The dimension that a placement cuts; None for a replica."""
    return getattr(placement, "dim", None)


# Tensors.


@functools.lru_cache(4096)
def _spread(
    mesh: Any, placements: tuple[Any, ...], shape: tuple[int, ...], stride: Any, row_major: bool = False
) -> Spread:
    layout = torch.empty_strided(shape, stride, device="meta")
    if row_major:
        layout = torch.empty(shape, device="meta")
    place = mesh.get_coordinate()
    return Spread(mesh, placements, shape, layout.stride(), memory_order(layout), place and tuple(place))


def spread_of(p: Tensor) -> Spread | None:
    """Where the elements of a parameter are; None where all are in this process."""
    if not is_distributed(p):
        return None
    mesh, placements = sharding(p)
    if any(placement.is_partial() for placement in placements):
        raise RuntimeError(
            f"a parameter of shape {tuple(p.shape)} is placed as {placements}, terms of a sum that no "
            f"process has; redistribute it"
        )
    spread, here = _spread(mesh, placements, tuple(p.shape), p.stride()), local_tensor(p)
    if spread.order is not None and not here.permute(spread.order).is_contiguous():
        # Torch may have made local tensors row-major that stand for a whole that is not.
        spread = _spread(mesh, placements, tuple(p.shape), p.stride(), row_major=True)
    found, mine = tuple(here.shape), [spread.pieces(dim) for dim in range(p.dim())]
    expected = tuple(sum(stop - start for start, stop in pieces) for pieces in mine)
    if spread.place is not None and found != expected:
        raise RuntimeError(
            f"a parameter of shape {tuple(p.shape)}, placed as {placements}, has a local tensor of shape "
            f"{found} where {expected} is expected; distribute it as torch's distribute_tensor does"
        )
    return spread


def check_grad_placements(p: Tensor, g: Tensor) -> None:
    """Raise a RuntimeError for a gradient that does not lie as its parameter does."""
    if is_distributed(g) and same_sharding(p, g):
        return
    wanted, found = sharding(p), sharding(g) if is_distributed(g) else None
    shape, remedy = tuple(p.shape), "redistribute it to the parameter's placements before the step"
    if found is None:
        raise RuntimeError(
            f"a parameter of shape {shape}, a DTensor, has a gradient that is none; make it a DTensor of the "
            f"parameter's mesh and placements"
        )
    if any(placement.is_partial() for placement in found[1]):
        raise RuntimeError(
            f"a parameter of shape {shape} has a Partial gradient, the terms of a sum that no process has "
            f"yet: {remedy}"
        )
    raise RuntimeError(
        f"a parameter of shape {shape}, placed as {wanted[1]}, has a gradient placed as {found[1]}; {remedy}"
    )


def wrapped(x: Tensor, spread: Spread, shape: Sequence[int], whole: bool) -> Tensor:
    """A local tensor of the state as a DTensor of this shape.

    Args:
        x: the local tensor.
        spread: that of the parameter.
        shape: the parameter's, or that of rows and blocks of it, or of rows and packed codes.
        whole: whether every process has all of it.
    """
    from torch.distributed.tensor import DTensor

    of_state = _of_state(spread, tuple(shape), whole)
    made: Tensor = DTensor.from_local(
        x,
        of_state.mesh,
        of_state.placements,
        run_check=False,
        shape=torch.Size(shape),
        stride=of_state.stride,
    )
    return made


def empty_state(p: Tensor, spread: Spread, shape: Sequence[int], dtype: torch.dtype, whole: bool) -> Tensor:
    """A DTensor of this shape, with any elements, for the state of `p`; the rest as of `wrapped`."""
    of_state = _of_state(spread, tuple(shape), whole)
    sizes = [sum(stop - start for start, stop in of_state.pieces(dim)) for dim in range(len(shape))]
    mine = torch.empty(sizes, dtype=dtype, device=local(p).device)
    if tuple(shape) == spread.shape and not whole:
        mine = torch.empty_like(local(p), dtype=dtype, requires_grad=False)
    return wrapped(mine, spread, shape, whole)


def localized(x: Tensor, spread: Spread, whole: bool) -> Tensor:
    """What this process needs of a tensor of the state: a DTensor, or the whole of one in every process.

    Args:
        x: of the parameter's shape, or of that of rows and blocks of it, or of rows and packed codes.
        spread: that of the parameter.
        whole: whether every process has all of it.
    """
    of_state = _of_state(spread, tuple(x.shape), whole)
    if not is_distributed(x):
        return x if whole else own_part(x, of_state)
    if sharding(x) != (of_state.mesh, of_state.placements):
        x = x.redistribute(of_state.mesh, of_state.placements)  # type: ignore[attr-defined]
    return local_tensor(x)


def _of_state(spread: Spread, shape: tuple[int, ...], whole: bool) -> Spread:
    """Where a tensor of a parameter's state is."""
    from torch.distributed.tensor import Replicate

    placements, stride = spread.placements, spread.stride
    if shape != spread.shape:
        order = spread.order or tuple(range(len(spread.shape)))
        placements = tuple(_moved(each, order) for each in placements)
        stride = torch.empty(shape, device="meta").stride()
    if whole:
        placements = (Replicate(),) * len(placements)
    return _spread(spread.mesh, placements, shape, stride)


def _moved(placement: Any, order: Order) -> Any:
    """A placement of a parameter as that of its rows, which are the slowest dimension in memory."""
    dim = _dim_of(placement)
    if dim is None or order.index(dim) == dim:
        return placement
    factor = getattr(placement, "split_factor", None)
    return type(placement)(order.index(dim), **({} if factor is None else {"split_factor": factor}))


def own_part(x: Tensor, spread: Spread) -> Tensor:
    """The elements of this process of a whole tensor of the parameter's shape; a view where it can be."""
    for dim in range(len(spread.shape)):
        pieces = spread.pieces(dim)
        parts = [x.narrow(dim, start, stop - start) for start, stop in pieces]
        x = parts[0] if len(parts) == 1 else torch.cat(parts, dim) if parts else x.narrow(dim, 0, 0)
    return x
