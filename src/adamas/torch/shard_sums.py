"""What was measured of shards, added up over the processes that have them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ..backends.numba import MEASURES
from .exchange import exchange_of
from .mesh import Spread

__all__ = ["add_up"]


def add_up(sums: dict[Tensor, NDArray[Any]], shards: Sequence[tuple[Tensor, Spread]]) -> None:
    """Put in place of the numbers of each shard, `MEASURES`, those of the whole.

    Every process that has a shard joins, whether it has a gradient or not: the others would wait for ever.

    Args:
        sums: by the parameter, of those that have taken the step.
        shards: every DTensor and where it is, in the same order in each process.
    """
    by_mesh: dict[Any, list[tuple[Tensor, Spread]]] = {}
    for p, spread in shards:
        by_mesh.setdefault(spread.mesh, []).append((p, spread))
    for mesh, here in by_mesh.items():
        exchange = exchange_of([spread for _, spread in here], None)
        if exchange is None or mesh.get_coordinate() is None:
            continue
        table = np.zeros((len(here), len(MEASURES)))
        for row, (p, spread) in enumerate(here):
            if p in sums and spread.counts:
                table[row] = sums[p]
        found = exchange.total(table[:, :-1], table[:, -1])
        for (p, _), row in zip(here, found, strict=True):
            if p in sums:
                sums[p] = row
