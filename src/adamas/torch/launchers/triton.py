"""Compiled kernels on GPUs: one launch for all parameters of a combination of dtypes."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Hashable, Sequence
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...backends import chunks_of, exact, lengths_of
from ...formats import BLOCK
from . import IDLE, Member, ParamState, Prepared, Request, StepScalars
from ._sent import Sent, capturing
from ._sent_sums import TensorSums
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


@functools.cache
def _fault(device: torch.device) -> str | None:
    """Why Triton, which is installed, cannot run kernels on a device: no C compiler, too old a GPU."""
    backend: Any = _backend()
    try:
        with _current(device):
            memory = torch.zeros(2, dtype=torch.int64, device=device)
            backend.launch.launch(backend.toolbox.nothing, 1, ("*i64",), [memory], backend.THREADS)
    except Exception as error:  # of its compiler, its driver, or the linker
        return f"Triton cannot run kernels on {device}: {' '.join(str(error).split())[:200]}"
    return None


def _current(device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """A context in which launches go to a device."""
    return torch.cuda.device(device) if device.type == "cuda" else contextlib.nullcontext()


class TritonLauncher(TableLauncher):
    """A table of addresses and a list of chunks on the device, and one launch over them."""

    name = "triton"
    rank = 10
    on_device = True

    @classmethod
    def unsupported(cls, member: Member, request: Request) -> str | None:
        device = member.local.device
        if device.type not in ("cuda", "cpu"):
            return f"it is on {device}"
        if member.copy is not None:
            return "its parameters are on the host, and are copied from there"
        backend = _backend()
        if backend is None:
            return "Triton, which compiles kernels for GPUs, is not installed: pip install 'adamas[triton]'"
        if device.type == "cpu" and not backend.interpreted():
            return "it is on cpu, and TRITON_INTERPRET=1 is not set"
        return why_no_table(backend.compile_rule, member, request) or _fault(device)

    @classmethod
    def key(cls, member: Member, request: Request) -> Hashable:
        backend: Any = _backend()
        return kernel_for(backend.compile_rule, member, request), member.local.device

    def __init__(self, members: list[ParamState], requests: Sequence[Request], key: Any) -> None:
        self._kernel, device = key
        backend: Any = _backend()
        self._backend = backend
        super().__init__(members, requests, self._kernel)
        self._device = device
        options = requests[0].groups.options
        count, dtype = len(members), getattr(torch, self._kernel.dtype.name)
        scaled = any(format.scaled for format in self._kernel.formats.values())
        lengths = lengths_of(self._floats, self._lengths, BLOCK)
        total, rows = sum(self._floats), lengths if scaled else self._floats
        chunks = chunks_of(self._floats, rows, backend.chunk_size(total), self._runs)
        info = np.zeros((count, 4), np.int64)
        info[:, 0], info[:, 1], info[:, 3] = self._floats, [member.index for member in members], lengths
        self._host_info = info
        self._written: tuple[list[int], list[int]] | None = None
        self._table = Sent((count, self._width), torch.int64, device, captured=True)
        self._chunks = Sent(chunks.shape, torch.int64, device)
        self._chunks.send(chunks)
        self._infos: dict[bytes, Sent] = {}
        self._info = self._info_of(np.full(count, IDLE))
        self._keys = Sent((count,), torch.int64, device)
        self._scalars = Sent((count, self._kernel.n_scalars), dtype, device)
        self._control = Sent((2,), dtype, device)
        self._grid = len(chunks)
        self._key = options.key if self._kernel.rounds else None
        self._kept: list[Any] = []
        self._sums = None
        if self.units:
            self._sums = TensorSums(backend, requests[0].rule, self._kernel, chunks, count, device)
            self._factors = Sent((count, self._kernel.n_factors), dtype, device)
        if options.needs_grad_norm:
            # Longer ones: what a program has to do besides adding up is more.
            spans = chunks_of(self._floats, self._floats, backend.chunk_size(total, 1 << 11), None)
            self._spans = Sent(spans.shape, torch.int64, device)
            self._spans.send(spans)
            counted = np.array([member.counts for member in members], np.int64)
            self._counted = Sent((count,), torch.int64, device)
            self._counted.send(counted)
            self._words = torch.zeros(exact.LENGTH, dtype=torch.int64, device=device)

    @property
    def words_range(self) -> tuple[int, int]:
        """The words that the sum of squares may have."""
        found: tuple[int, int] = self._backend.norm.range_of_words(self._g_format)
        return found

    def _write_table(self, tensors: list[int], slots: list[int]) -> None:
        captured = capturing(self._device)
        if captured and self._sums is not None:
            raise RuntimeError(
                f"a step of {self._sums.title} cannot be in a CUDA graph: it needs sums over tensors, of "
                f"which the host makes factors; step it outside of the graph"
            )
        if captured or (tensors, slots) != self._written:
            rows = np.array(self._rows_of(tensors, slots), np.int64)
            self._table.send(rows.reshape(-1, self._width))
            # A graph has a table of its own, of which later steps know nothing.
            self._written = None if captured else (tensors, slots)

    def _write_rows(self, rows: np.ndarray[Any, Any]) -> None:
        self._info = self._info_of(rows)

    def _info_of(self, rows: np.ndarray[Any, Any]) -> Sent:
        """What is known of the tensors, with these rows; not overwritten, because a graph may read it."""
        key = rows.tobytes()
        if key not in self._infos:
            if len(self._infos) > _REMEMBERED:
                self._infos.clear()
            self._host_info[:, 2] = rows
            self._infos[key] = Sent(self._host_info.shape, torch.int64, self._device)
            self._infos[key].send(self._host_info)
        return self._infos[key]

    def _launch(self, function: Any, grid: int, signature: Sequence[str], arguments: Sequence[Any]) -> None:
        with _current(self._device):
            self._backend.launch.launch(function, grid, signature, arguments, self._backend.THREADS)

    def _execute(self) -> None:
        sent = (self._table, self._chunks, self._info, self._keys, self._scalars, self._control)
        arguments = [each.tensor for each in sent]
        if self._sums is not None:
            arguments.append(self._factors.tensor)
        self._launch(self._kernel.step, self._grid, self._kernel.signature, arguments)
        if capturing(self._device):
            self._kept.append(arguments)

    def grad_squares(self) -> Tensor:
        norm, column = self._backend.norm, self._kernel.arrays.index("g")
        self._words.zero_()
        sent = (self._spans, self._info, self._counted)
        arguments = [self._table.tensor, self._width, column, *(x.tensor for x in sent), self._words]
        self._launch(norm.norm_kernel(self._g_format), len(self._spans.tensor), norm.SIGNATURE, arguments)
        return self._words

    def measure_sums(self, grad_scale: float | Tensor, kept: NDArray[Any]) -> NDArray[Any]:
        assert self._sums is not None
        self._take_grad_scale(grad_scale)
        for member in self._selection.staged:
            member.to_layout()
        sent = (self._table, self._chunks, self._info, self._scalars, self._control)
        return self._sums.measure(self._launch, [each.tensor for each in sent], kept)

    def stage_factors(self, factors: NDArray[Any]) -> None:
        with np.errstate(over="ignore", under="ignore"):
            self._factors.send(factors)

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

    def _write_grad_scale(self, scale: float) -> None:
        self._control.send(np.array([scale, 0], self._kernel.dtype))

    def prepare(self, prepared: Prepared) -> None:
        scalars, options = self._backend.scalars, prepared.options
        wanted = scalars.Wanted(
            None if prepared.words is None else prepared.words_range,
            options.clip_norm,
            options.skip_nonfinite,
            options.average,
            options.key(0),
            prepared.counts_steps,
        )
        counter = np.dtype(str(prepared.counters.dtype).removeprefix("torch."))
        kernel = scalars.prepare_kernel(*prepared.traces, wanted, counter, self._kernel.dtype)
        count = len(prepared.members)
        arguments = (
            prepared.members,
            prepared.hyper,
            prepared.counters,
            prepared.info if prepared.words is None else prepared.words,
            prepared.scaler,
            self._scalars.tensor,
            self._keys.tensor,
            self._control.tensor,
            prepared.info,
            count,
            prepared.counters.shape[1],
            int(prepared.first),
        )
        self._launch(kernel.step, -(-count // scalars.ROWS), kernel.signature, arguments)

    def launch_prepared(self) -> None:
        self.launch(self._grad_scale)  # which is not written: `prepare` has written it


LAUNCHER = TritonLauncher

# Sets of active members that are remembered.
_REMEMBERED = 16


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
