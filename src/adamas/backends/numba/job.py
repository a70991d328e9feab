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


class _Pass:
    """One kernel with the buffers it reads: a table, tiles, scalars, and what else its job has."""

    def __init__(self, kernel: Kernel, parallel: bool, *buffers: np.ndarray[Any, Any]) -> None:
        self.kernel, self._parallel, self._buffers = kernel, parallel, buffers
        table, tiles, scalars, *others = (buffer.ctypes.data for buffer in buffers)
        self._record = np.array([0, table, tiles, scalars, len(buffers[1]), *others], np.int64)
        self._address = self._record.ctypes.data
        self._counter = self._record.data
        # What takes microseconds keeps the lock of the interpreter: another thread that computes
        # may take milliseconds to give it back.
        prototype = ctypes.CFUNCTYPE if parallel else ctypes.PYFUNCTYPE
        self._call = prototype(None, ctypes.c_void_p)(kernel.address)

    def run(self, pool: Pool) -> None:
        """Run the kernel once over every tile, on the threads of `pool` where there is enough to do."""
        self._counter[0] = 0
        if self._parallel and pool.size() > 1:
            pool.run(self.kernel.address, self._address)
        else:
            self._call(self._address)

    def __reduce__(self) -> Any:
        raise TypeError("a job holds addresses of this process and cannot be pickled")


class Job(_Pass):
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
        n_rows = max(rows, default=0) + 1
        tiles = [
            (k, rows[k], start, min(start + tile, size))
            for k, size in enumerate(sizes)
            for start in range(0, size, tile)
        ]
        table = np.zeros((len(sizes), len(kernel.arrays)), np.int64)
        scalars = np.zeros((n_rows, kernel.n_scalars), kernel.dtype)
        facts = np.array(list(zip(sizes, ordinals or range(len(sizes)), strict=True)), np.int64)
        self._keys = np.zeros(n_rows, np.int64)
        buffers = (table, np.array(tiles, np.int64).reshape(-1, 4), scalars, facts, self._keys)
        super().__init__(kernel, sum(sizes) >= SERIAL and len(tiles) > 1, *buffers)
        self._addresses: Sequence[int] = ()
        self._table, self._scalars, self._row_size = table.data, scalars.data, scalars.strides[0]
        self._pack_table = struct.Struct(f"{table.size}q").pack_into
        # "=", because a native "f" packs what is too large as infinity and says nothing.
        self._pack_row = struct.Struct(f"={kernel.n_scalars}{kernel.dtype.char}").pack_into

    def write_table(self, addresses: Sequence[int]) -> None:
        """The address of every array of every tensor, tensor by tensor, in the kernel's order."""
        if addresses != self._addresses:  # gradients often come back to where they were
            self._pack_table(self._table, 0, *addresses)
            self._addresses = addresses

    def write_scalars(self, row: int, *values: float) -> None:
        """One row of scalars: the envelope's, then the rule's; cast to the compute type here.

        Raises:
            ValueError: a value is too large for the compute type.
        """
        try:
            self._pack_row(self._scalars, row * self._row_size, *values)
        except OverflowError:
            raise ValueError(
                f"a scalar of this step is too large for {self.kernel.dtype}: {values}"
            ) from None

    def write_key(self, row: int, key: int) -> None:
        """The key of the random bits of one row in this step: any integer of 63 bits."""
        self._keys[row] = key


class NormJob(_Pass):
    """The sum of squares of the gradients of a job; a sum for each tile, so no thread count shows."""

    def __init__(self, job: Job) -> None:
        table, job_tiles, *_ = job._buffers
        # The table as one column, of which a tile names the place of its gradient.
        tiles = job_tiles.copy()
        tiles[:, 0] = tiles[:, 0] * table.shape[1] + job.kernel.arrays.index("g")
        sums = np.zeros(len(tiles))
        super().__init__(compile_norm(job.kernel.formats["g"].name), job._parallel, table, tiles, sums)
        self._sums = sums.data

    def sum(self, pool: Pool) -> float:
        """The sum in float64 over the gradients that are in the job's table: NaN or infinite where one is."""
        self.run(pool)
        return sum(self._sums, 0.0)
