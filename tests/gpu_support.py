"""Kernels for GPUs on the CPU: in Triton's interpreter, with the job that those of the CPU have."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from adamas.backends import Runs, chunks_of, lengths_of, numba
from adamas.formats import BLOCK

__all__ = ["BACKENDS", "OF_GPUS", "InterpretedJob", "every_backend"]


class InterpretedJob:
    """The arguments of a kernel, in memory that its interpreter reads; as of `backends.numba.Job`."""

    def __init__(
        self,
        kernel: Any,
        sizes: Sequence[int],
        rows: Sequence[int] | None = None,
        *,
        tensor_index: Sequence[int] | None = None,
        lengths: Sequence[int] | None = None,
        runs: Sequence[Runs | None] | None = None,
        chunk: int = 2048,
    ) -> None:
        self.kernel, count = kernel, len(sizes)
        scaled = any(format.scaled for format in kernel.formats.values())
        whole = lengths_of(sizes, lengths, BLOCK)
        self._chunks = chunks_of(sizes, whole if scaled else sizes, chunk, runs)
        self._info = np.zeros((count, 4), np.int64)
        self._info[:, 0], self._info[:, 3] = sizes, whole
        self._info[:, 1] = range(count) if tensor_index is None else tensor_index
        self._table = np.zeros((count, len(kernel.arrays)), np.int64)
        self._scalars = np.zeros((max(count, 1), kernel.n_scalars), kernel.dtype)
        self._keys = np.zeros(max(count, 1), np.int64)
        self._control = np.array([1, 0], kernel.dtype)
        self.write_rows([0] * count if rows is None else rows)

    def write_table(self, addresses: Sequence[int]) -> None:
        self._table[:] = np.array(addresses, np.int64).reshape(self._table.shape)

    def write_rows(self, rows: Sequence[int] | np.ndarray) -> None:
        self._info[:, 2] = rows

    def write_scalars(self, row: int, *values: float) -> None:
        self._scalars[row] = values

    def write_key(self, row: int, key: int) -> None:
        self._keys[row] = key

    def write_grad_scale(self, scale: float) -> None:
        self._control[0] = scale

    def skip(self, on: bool) -> None:
        """Let the next runs change nothing, or not."""
        self._control[1] = on

    def run(self, _: Any = None) -> None:
        from adamas.backends.triton import THREADS, launch

        arrays = (self._table, self._chunks, self._info, self._keys, self._scalars, self._control)
        arguments = [torch.from_numpy(array) for array in arrays]
        launch.launch(self.kernel.step, len(self._chunks), self.kernel.signature, arguments, THREADS)


def _of_gpus() -> dict[str, tuple[Any, Any]]:
    if importlib.util.find_spec("triton") is None:
        return {}
    from adamas.backends import triton

    return {"triton": (triton.compile_rule, InterpretedJob)}


# None where there is no Triton, as on macOS.
OF_GPUS = _of_gpus()
# What compiles a rule, and the job that runs its kernel, by the name of the backend.
BACKENDS: dict[str, tuple[Any, Any]] = {"numba": (numba.compile_rule, numba.Job), **OF_GPUS}
every_backend = pytest.mark.parametrize("backend", BACKENDS)
