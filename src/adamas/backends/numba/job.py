"""One kernel over many tensors: the table, chunks and scalars it reads, and the call."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...formats import BLOCK
from .. import exact
from .._chunks import Runs, chunks_of, lengths_of
from .kernel import Kernel, compile_norm
from .pool import Pool

__all__ = ["CHUNK", "IDLE", "SERIAL", "Job", "NormJob", "Pass"]

# Elements a chunk: long enough for the prefetchers to get going, short enough to share out evenly.
CHUNK = 1 << 16
# Below this many elements the threads cost more than they bring.
SERIAL = 1 << 16
# The row of a tensor that a step leaves alone.
IDLE = -1


class Pass:
    """One kernel with the buffers it reads: a table, chunks, scalars, and the rest of its job."""

    def __init__(
        self, kernel: Kernel, parallel: bool, buffers: Sequence[np.ndarray[Any, Any]], *numbers: int
    ) -> None:
        self.kernel, self._parallel, self._buffers = kernel, parallel, buffers
        table, chunks, scalars, *others = (buffer.ctypes.data for buffer in buffers)
        self._record = np.array([0, table, chunks, scalars, len(buffers[1]), *others, *numbers], np.int64)
        self._address = self._record.ctypes.data
        self._counter = self._record.data
        # A call of microseconds keeps the interpreter's lock: another thread that computes may take
        # milliseconds to give it back.
        prototype = ctypes.CFUNCTYPE if parallel else ctypes.PYFUNCTYPE
        self._call = prototype(None, ctypes.c_void_p)(kernel.address)

    def run(self, pool: Pool, chunks: int | None = None) -> None:
        """Run the kernel once over every chunk, on the threads of `pool` where there is enough to do.

        Args:
            pool: the threads.
            chunks: how many chunks there are; as many as at the last call, unless given.
        """
        self._counter[0] = 0
        if chunks is not None:
            self._counter[4] = chunks
        if self._parallel and pool.size() > 1:
            pool.run(self.kernel.address, self._address)
        else:
            self._call(self._address)

    def __reduce__(self) -> Any:
        raise TypeError("a job holds addresses of this process and cannot be pickled")


class Job(Pass):
    """A kernel, ready to run over `sizes[k]` elements of tensor k with row `rows[k]` of scalars.

    `write_table`, `write_rows`, `write_scalars` and `write_grad_scale` fill in what changes between steps;
    `run` is the step. A tensor in row `IDLE` is left alone.
    """

    def __init__(
        self,
        kernel: Kernel,
        sizes: Sequence[int],
        rows: Sequence[int] | None = None,
        *,
        tensor_index: Sequence[int] | None = None,
        lengths: Sequence[int] | None = None,
        runs: Sequence[Runs | None] | None = None,
        units: Sequence[int] | None = None,
        chunk: int = CHUNK,
    ) -> None:
        """`rows` are all 0 and `tensor_index`, which keys the random bits, is 0, 1, ... unless given.

        `lengths` are the elements of a row of each tensor, of those from which blocks of scaled formats
        begin (see `formats.row_length`), one row unless given. `runs` says which elements of a larger one
        each tensor has; None for all. `units` are the elements of each tensor over which one sum goes, where
        the rule has sums, all unless given. `chunk` is a multiple of blocks.
        """
        scaled = any(format.scaled for format in kernel.formats.values())
        if chunk % BLOCK and scaled:
            raise ValueError(f"a chunk of a scaled format is a multiple of {BLOCK} elements, got {chunk}")
        lengths = lengths_of(sizes, lengths, BLOCK)
        chunk_list = chunks_of(sizes, lengths if scaled else sizes, chunk, runs)
        count = len(sizes)
        table = np.zeros((count, len(kernel.arrays)), np.int64)
        scalars = np.zeros((max(count, 1), kernel.n_scalars), kernel.dtype)
        self._info = np.zeros((count, 4), np.int64)
        self._info[:, 0] = sizes
        self._info[:, 1] = range(count) if tensor_index is None else tensor_index
        self._info[:, 2] = 0 if rows is None else rows
        self._info[:, 3] = lengths
        self._keys = np.zeros(max(count, 1), np.int64)
        self._grad_scale_cell = np.ones(1, kernel.dtype)
        self.units, self.factors = _units(sizes, units, kernel)
        buffers = [table, chunk_list, scalars, self._info, self._keys, self._grad_scale_cell]
        if kernel.n_factors:
            # Two places are those of a pass that measures its step.
            buffers += [np.zeros(1), np.zeros(1), self.units, self.factors]
        super().__init__(kernel, sum(sizes) >= SERIAL and len(chunk_list) > 1, buffers)
        self._table, self._scalars, self._row_size = table.data, scalars.data, scalars.strides[0]
        self._pack_table = struct.Struct(f"{table.size}q").pack_into
        # "=", because a native "f" packs what is too large as infinity and says nothing.
        self._pack_row = struct.Struct(f"={kernel.n_scalars}{kernel.dtype.char}").pack_into
        self._pack_scale = struct.Struct(f"={kernel.dtype.char}").pack_into
        self._grad_scale_memory = self._grad_scale_cell.data
        self.grad_scale = 1.0

    def write_table(self, addresses: Sequence[int]) -> None:
        """The address of every array of every tensor, tensor by tensor, in the kernel's order."""
        self._pack_table(self._table, 0, *addresses)

    def write_rows(self, rows: Sequence[int] | np.ndarray[Any, Any]) -> None:
        """The row of scalars of each tensor, below their number; `IDLE` for one that is left alone."""
        self._info[:, 2] = rows

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

    def write_grad_scale(self, scale: float) -> None:
        """The factor on all gradients in this step.

        Raises:
            ValueError: it is too large for the compute type.
        """
        try:
            self._pack_scale(self._grad_scale_memory, 0, scale)
        except OverflowError:
            raise ValueError(
                f"the factor on the gradients is too large for {self.kernel.dtype}: {scale}"
            ) from None
        self.grad_scale = scale

    def write_key(self, row: int, key: int) -> None:
        """The key of the random bits of one row in this step: any integer of 63 bits."""
        self._keys[row] = key


def _units(
    sizes: Sequence[int], elements: Sequence[int] | None, kernel: Kernel
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """The first unit of each tensor and the elements of one, int64; and room for the factors of each."""
    lengths = np.array(sizes if elements is None else elements, np.int64).reshape(-1)
    lengths = np.maximum(lengths, 1)
    counts = np.maximum(np.array(sizes, np.int64).reshape(-1) // lengths, 1)
    firsts = np.cumsum(counts) - counts
    units = np.stack([firsts, lengths], axis=1)
    return units, np.zeros((max(int(counts.sum()), 1), max(kernel.n_factors, 1)), kernel.dtype)


class NormJob(Pass):
    """The exact sum of the squares of a job's gradients, whatever the chunks and the threads."""

    def __init__(self, job: Job, only: Sequence[bool] | None = None) -> None:
        """`only` names the tensors that count; all that are not left alone, unless given."""
        table, chunks, _, self._rows, *_ = job._buffers
        info = self._rows if only is None else self._rows.copy()
        self._info, self._others = info, None if only is None else np.flatnonzero(~np.array(only, bool))
        self.words = np.zeros(exact.LENGTH, np.int64)
        kernel = compile_norm(job.kernel.formats["g"].name)
        column = job.kernel.arrays.index("g")
        buffers = (table, chunks, self.words, info)
        super().__init__(kernel, job._parallel, buffers, table.shape[1], column)

    def run(self, pool: Pool, chunks: int | None = None) -> None:
        """Sum the squares of the gradients in the job's table in `words`; see `exact`."""
        self.words.fill(0)
        if self._others is not None:
            self._info[:, 2] = self._rows[:, 2]
            self._info[self._others, 2] = IDLE
        super().run(pool, chunks)
