"""One kernel over some rows of matrices: each row is a tensor to it, with a row of scalars of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import exact
from .job import SERIAL, Pass
from .kernel import Kernel, compile_norm
from .pool import Pool
from .row_lists import row_lists

__all__ = ["RowJob"]

_NONE = np.empty(0, np.int64)


class RowJob:
    """A kernel, ready to run over any rows of a parameter and its state.

    Args:
        kernel: compiled for their formats.
        length: the elements of a row of the parameter.
        index: what keys the random bits of the parameter.
    """

    def __init__(self, kernel: Kernel, length: int, index: int) -> None:
        self.kernel, self.length, self._index = kernel, length, index
        self._words = np.zeros(exact.LENGTH, np.int64)
        self._grad_scale = np.ones(1, kernel.dtype)
        self._g = kernel.arrays.index("g")
        self.count = self._room = self._settings = 0
        self._make(64, 8)

    def _make(self, room: int, settings: int) -> None:
        """Make buffers for so many rows and rows of scalars."""
        kernel, width = self.kernel, len(self.kernel.arrays)
        self._room, self._settings = room, settings
        self.table = np.zeros((room, width), np.int64)
        self._chunks = np.zeros((room, 4), np.int64)
        self._chunks[:, 0], self._chunks[:, 2] = np.arange(room), self.length
        self._scalars = np.zeros((settings, kernel.n_scalars), kernel.dtype)
        self._info = np.zeros((room, 4), np.int64)
        self._info[:, 0] = self._info[:, 3] = self.length
        self._info[:, 1] = self._index
        self._keys = np.zeros(settings, np.int64)
        buffers = (self.table, self._chunks, self._scalars, self._info, self._keys, self._grad_scale)
        self._alone, self._shared = (Pass(kernel, parallel, buffers) for parallel in (False, True))
        self._norm: Pass | None = None

    def write(
        self,
        rows: np.ndarray[Any, Any],
        bases: Sequence[int],
        strides: Sequence[int],
        g: np.ndarray[Any, Any] | None = None,
    ) -> None:
        """Take the rows that the next run is of.

        Args:
            rows: their numbers, int64.
            bases: the address of row 0 of each array, in the kernel's order.
            strides: the bytes from one row to the next of each.
            g: the address of the gradient of each of these rows, where those do not lie in this way.
        """
        self.count = len(rows)
        if self.count > self._room:
            self._make(1 << (self.count - 1).bit_length(), self._settings)
        at, steps = np.array(bases, np.int64), np.array(strides, np.int64)
        row_lists().addressed(rows, at, steps, self._g, _NONE if g is None else g, self.table)
        if self.kernel.rounds:  # the number of an element is that in the whole
            np.multiply(rows, self.length, out=self._chunks[: self.count, 3])

    def write_scalars(
        self, scalars: np.ndarray[Any, Any], place: np.ndarray[Any, Any] | int, key: int
    ) -> None:
        """Take rows of scalars, the envelope's first, which of them each row has, and the key of random bits.

        Raises:
            ValueError: a scalar is too large for the type of the computation.
        """
        if len(scalars) > self._settings:
            self._make_settings(1 << (len(scalars) - 1).bit_length())
        mine = self._scalars[: len(scalars)]
        with np.errstate(over="ignore", under="ignore"):
            mine[...] = scalars
        if not np.isfinite(mine).all() and (np.isinf(mine) & np.isfinite(scalars)).any():
            raise ValueError(f"a scalar of this step is too large for {mine.dtype}")
        self._info[: self.count, 2] = place
        self._keys[: len(scalars)] = key

    def _make_settings(self, settings: int) -> None:
        table, chunks = self.table, self._chunks
        self._make(self._room, settings)
        self.table[...], self._chunks[...] = table, chunks

    def write_grad_scale(self, scale: float) -> None:
        """Take the factor on the gradients."""
        self._grad_scale[0] = scale

    def run(self, pool: Pool) -> None:
        """Run the kernel once over the rows."""
        wide = self.count * self.length >= SERIAL
        (self._shared if wide else self._alone).run(pool, self.count)

    def squares(self, pool: Pool) -> np.ndarray[Any, Any]:
        """The exact sum of squares of the gradients of the rows, in the words of `exact`."""
        if self._norm is None:
            kernel = compile_norm(self.kernel.formats["g"].name)
            width, column = self.table.shape[1], self._g
            buffers = (self.table, self._chunks, self._words, self._info)
            self._norm = Pass(kernel, True, buffers, width, column)
        self._words.fill(0)
        self._norm.run(pool, self.count)
        return self._words
