"""One kernel over many tensors: the table, tiles and scalars it reads, and the call."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...formats import BLOCK
from .kernel import Kernel, compile_norm
from .pool import Pool

__all__ = ["TILE", "Job", "NormJob"]

# Elements a tile: long enough for the prefetchers to get going, short enough to share out evenly.
TILE = 1 << 16
# Below this many elements the threads cost more than they bring.
SERIAL = 1 << 16


class Job:
    """A kernel, ready to run over `sizes[k]` elements of tensor k with row `rows[k]` of scalars.

    `write_table` and `write_scalars` fill in what changes between steps; `run` is the step.
    """

    def __init__(
        self,
        kernel: Kernel,
        sizes: Sequence[int],
        rows: Sequence[int],
        *,
        ordinals: Sequence[int] | None = None,
        tile: int = TILE,
    ) -> None:
        """`ordinals` number the tensors for their random bits: 0, 1, ... unless given.

        `tile` is a multiple of the blocks of the scaled formats.
        """
        if tile % BLOCK and any(format.scaled for format in kernel.formats.values()):
            raise ValueError(f"a tile of a scaled format is a multiple of {BLOCK} elements, got {tile}")
        self.kernel = kernel
        n_rows = max(rows, default=0) + 1
        tiles = [
            (k, rows[k], start, min(start + tile, size))
            for k, size in enumerate(sizes)
            for start in range(0, size, tile)
        ]
        self._table = np.zeros((len(sizes), len(kernel.arrays)), np.int64)
        self._tiles = np.array(tiles, np.int64).reshape(-1, 4)
        self._scalars = np.zeros((n_rows, kernel.n_scalars), kernel.dtype)
        self._facts = np.array(list(zip(sizes, ordinals or range(len(sizes)), strict=True)), np.int64)
        self._keys = np.zeros(n_rows, np.int64)
        table, tile_list, scalars, facts, keys = (
            buffer.ctypes.data
            for buffer in (self._table, self._tiles, self._scalars, self._facts, self._keys)
        )
        self._record = np.array([0, table, tile_list, scalars, len(tiles), facts, keys], np.int64)
        self._address = self._record.ctypes.data
        self._call = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(kernel.address)
        self._addresses: Sequence[int] = ()
        self._pack_table = struct.Struct(f"{self._table.size}q").pack_into
        # "=", because a native "f" packs what is too large as infinity and says nothing.
        self._pack_row = struct.Struct(f"={kernel.n_scalars}{kernel.dtype.char}").pack_into
        self._parallel = sum(sizes) >= SERIAL and len(tiles) > 1

    def write_table(self, addresses: Sequence[int]) -> None:
        """The address of every array of every tensor, tensor by tensor, in the kernel's order."""
        if addresses != self._addresses:  # gradients often come back to where they were
            self._pack_table(self._table.data, 0, *addresses)
            self._addresses = addresses

    def write_scalars(self, row: int, *values: float) -> None:
        """One row of scalars: the envelope's, then the rule's; cast to the compute type here.

        Raises:
            ValueError: a value is too large for the compute type.
        """
        try:
            self._pack_row(self._scalars.data, row * self._scalars.strides[0], *values)
        except OverflowError:
            raise ValueError(
                f"a scalar of this step is too large for {self.kernel.dtype}: {values}"
            ) from None

    def write_key(self, row: int, key: int) -> None:
        """The key of the random bits of one row in this step: any integer of 63 bits."""
        self._keys[row] = key

    def run(self, pool: Pool) -> None:
        """Run the kernel once over every tile, on the threads of `pool` where there is enough to do."""
        self._record[0] = 0
        if self._parallel and pool.size() > 1:
            pool.run(self.kernel.address, self._address)
        else:
            self._call(self._address)

    def __reduce__(self) -> Any:
        raise TypeError("a job holds addresses of this process and cannot be pickled")


class NormJob:
    """The sum of squares of all gradients of one format; a sum for each tile, so no thread count shows."""

    def __init__(self, format: str, sizes: Sequence[int]) -> None:
        tiles = [-(-size // TILE) for size in sizes]
        # A "row of scalars" is here the place of one tile's sum.
        self._job = Job(compile_norm(format), sizes, [sum(tiles)] * len(sizes))
        self._sums = self._job._scalars[: sum(tiles), 0]

    def run(self, addresses: Sequence[int], pool: Pool) -> float:
        """The sum in float64: NaN or infinite where an element is."""
        self._job.write_table(addresses)
        self._job.run(pool)
        return float(self._sums.sum())
