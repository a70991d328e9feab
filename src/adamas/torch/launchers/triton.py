"""Compiled kernels on GPUs: one launch for all parameters of a combination of dtypes."""

from __future__ import annotations

import functools
from collections.abc import Hashable, Sequence
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...backends import chunks_of, lengths_of
from ...formats import BLOCK
from . import Member, ParamState, Request, StepScalars
from ._sent import Sent
from ._tables import TableLauncher, kernel_for, why_no_table

__all__ = ["LAUNCHER"]


@functools.cache
def _backend() -> ModuleType | None:
    """The backend; None where there is no Triton."""
    try:
        from ...backends import triton
    except ImportError as error:
        if (error.name or "").partition(".")[0] != "triton":
            raise
        return None
    return triton


class TritonLauncher(TableLauncher):
    """A table of addresses and a list of chunks on the device, and one launch over them."""

    name = "triton"
    rank = 10

    @classmethod
    def unsupported(cls, member: Member, request: Request) -> str | None:
        device = member.local.device
        if device.type not in ("cuda", "cpu"):
            return f"it is on {device}"
        backend = _backend()
        if backend is None:
            return "Triton, which compiles kernels for GPUs, is not installed: pip install 'adamas[triton]'"
        if device.type == "cpu" and not backend.interpreted():
            return "it is on cpu, and TRITON_INTERPRET=1 is not set"
        return why_no_table(backend.compile_rule, member, request)

    @classmethod
    def key(cls, member: Member, request: Request) -> Hashable:
        backend: Any = _backend()
        return kernel_for(backend.compile_rule, member, request), member.local.device

    def __init__(self, members: list[ParamState], requests: Sequence[Request], key: Any) -> None:
        self._kernel, device = key
        super().__init__(members, requests, self._kernel)
        self._device = device
        options = requests[0].groups.options
        count, dtype = len(members), getattr(torch, self._kernel.dtype.name)
        scaled = any(format.scaled for format in self._kernel.formats.values())
        lengths = lengths_of(self._floats, self._lengths, BLOCK)
        backend: Any = _backend()
        chunk = backend.chunk_size(sum(self._floats))
        chunks = chunks_of(self._floats, lengths if scaled else self._floats, chunk, self._runs)
        info = np.zeros((count, 4), np.int64)
        info[:, 0], info[:, 1], info[:, 3] = self._floats, [member.index for member in members], lengths
        self._host_info = info
        self._written: tuple[list[int], list[int]] = [], []
        self._table = Sent((count, self._width), torch.int64, device)
        self._chunks = Sent(chunks.shape, torch.int64, device)
        self._info = Sent(info.shape, torch.int64, device)
        self._keys = Sent((count,), torch.int64, device)
        self._scalars = Sent((count, self._kernel.n_scalars), dtype, device)
        self._control = Sent((2,), dtype, device)
        self._chunks.send(chunks)
        self._grid = len(chunks)
        self._key = options.key if self._kernel.rounds else None

    def _write_table(self, tensors: list[int], slots: list[int]) -> None:
        if (tensors, slots) != self._written:
            rows = np.array(self._rows_of(tensors, slots), np.int64)
            self._table.send(rows.reshape(-1, self._width))
            self._written = tensors, slots

    def _write_rows(self, rows: np.ndarray[Any, Any]) -> None:
        self._host_info[:, 2] = rows
        self._info.send(self._host_info)

    def _run(self) -> None:
        backend: Any = _backend()
        sent = (self._table, self._chunks, self._info, self._keys, self._scalars, self._control)
        arguments = [each.tensor for each in sent]
        backend.launch.launch(
            self._kernel.step, self._grid, self._kernel.signature, arguments, backend.THREADS
        )

    def grad_squares(self) -> Tensor:
        raise NotImplementedError

    def stage(self, rows: Sequence[StepScalars]) -> None:
        count = len(self._members)
        scalars = np.zeros((count, self._kernel.n_scalars), self._kernel.dtype)
        keys = np.zeros(count, np.int64)
        for place, row in enumerate(self._selection.rows):
            _, envelope, values, t, _ = rows[row]
            scalars[place] = _fitting((*envelope, *values), self._kernel.dtype)
            if self._key is not None:
                keys[place] = self._key(t)
        self._scalars.send(scalars)
        self._keys.send(keys)

    def launch(self, grad_scale: float | Tensor) -> None:
        self._control.send(np.array([float(grad_scale), 0], self._kernel.dtype))
        self._run_on_layouts()


LAUNCHER = TritonLauncher


def _fitting(values: tuple[float, ...], dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    """Numbers in the type of the computation.

    Raises:
        ValueError: one is too large for it.
    """
    wide = np.array(values, np.float64)
    with np.errstate(over="ignore"):
        narrow = wide.astype(dtype)
    if (np.isinf(narrow) & np.isfinite(wide)).any():
        raise ValueError(f"a scalar of this step is too large for {dtype}: {values}")
    return narrow
