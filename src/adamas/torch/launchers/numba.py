"""Compiled kernels on the CPU: one call for all parameters, over their memory."""

from __future__ import annotations

import operator
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ... import formats
from ...backends.exact import INFINITE
from ...backends.numba import Job, Kernel, NormJob, RuleSourceError, Runs, compile_rule
from .._compat import metadata, metadata_guard
from .._openmp import default_pool
from ..gradients import aligned_grad, has_own_memory, shares_elements
from ..slots import in_order, memory_order
from ..state import format_of_dtype, slot_format
from . import IDLE, Member, ParamState, Request, StepScalars

__all__ = ["LAUNCHER"]


class NumbaLauncher:
    """One compiled pass over the memory of all its parameters.

    Addresses are read anew at every step, and the tensors they are read from are checked to have the type,
    size, strides and dtype they had, so that no address is ever used with a size that is not its own.
    Parameters with gaps in memory, or lazily conjugated, are copied to a dense tensor and back.
    """

    name = "numba"
    rank = 0
    keeps_state = True

    @classmethod
    def unsupported(cls, member: Member, request: Request) -> str | None:
        p = member.local
        if request.differentiable:
            return "the step is to be differentiable"
        if p.device.type != "cpu":
            return f"it is on {p.device}"
        if p.layout != torch.strided:
            return f"it is a {p.layout} tensor"
        if not has_own_memory(p):
            return f"it is a {type(p).__name__} without memory of its own"
        if format_of_dtype(p.dtype) is None:
            return f"its dtype is {p.dtype}"
        if member.copy is not None and _copy_format(member.copy) is None:
            return f"no kernel writes {member.copy.dtype} rounded to nearest"
        try:
            _kernel(member, request)
        except RuleSourceError as error:
            return str(error)
        return None

    @classmethod
    def key(cls, member: Member, request: Request) -> Hashable:
        return _kernel(member, request)

    def __init__(self, members: list[ParamState], requests: Sequence[Request], key: Kernel) -> None:
        kernel, options = key, requests[0].groups.options
        self._members, self._takes_sparse = members, requests[0].groups.takes_sparse
        self._params = [member.local for member in members]
        self._g_format = kernel.formats["g"].name
        self._g_dtypes = [_gradient_dtype(p, self._g_format) for p in self._params]
        self._width = len(kernel.arrays)
        # Members that are copied to a dense tensor and back.
        staged = [m.local for m in members if m.layout is not m.local]
        # For idle members: the guard needs a tensor of that dtype and layout, which no kernel reads.
        self._stand_ins = list(map(self._stand_in, range(len(members))))
        self._layouts = [member.layout for member in members]
        self._stand_in_addresses = list(map(Tensor.data_ptr, self._layouts))
        # The rows of the table.
        self._tensors = [
            x
            for m, g in zip(members, self._stand_ins, strict=True)
            for x in (m.layout, g, *_columns(m, options.average is not None))
        ]
        self._as_they_were = metadata_guard(self._tensors)
        # Layers that freeze and thaw change what a guard compares, and nothing that a kernel reads.
        self._guards = {self._thawed(): self._as_they_were}
        self._metadata = metadata(self._tensors)
        self._staged, self._staged_as_they_were = staged, metadata_guard(staged) if staged else None
        floats = [x.numel() * (2 if x.is_complex() else 1) for x in self._layouts]
        scaled = any(format.scaled for format in kernel.formats.values())
        rows = [in_order(m.layout, memory_order(m.layout)) for m in members if scaled]
        lengths = list(map(formats.row_length, rows)) if scaled else None
        self._job = Job(
            kernel,
            floats,
            tensor_index=[member.index for member in members],
            lengths=lengths,
            runs=list(map(_runs, members)) if kernel.rounds else None,
        )
        self._norms: list[NormJob] = []
        if options.needs_grad_norm:
            counted = [member.counts for member in members]
            self._norms.append(NormJob(self._job, None if all(counted) else counted))
            if not all(counted):
                self._norms.append(NormJob(self._job, [not on for on in counted]))
        self._key = options.key if kernel.rounds else None
        self._grads: Sequence[Tensor | None] = ()
        self._idle: list[int] = []
        self._selections: dict[tuple[int, ...], _Selection] = {}
        self._selection = _Selection((IDLE,) * len(members), members)
        self._pool = default_pool()

    def _stand_in(self, k: int) -> Tensor:
        layout, dtype = self._members[k].layout.detach(), self._g_dtypes[k]
        return layout if layout.dtype == dtype else torch.empty_like(layout, dtype=dtype)

    def select(self, rows: tuple[int, ...]) -> None:
        known = self._selections.get(rows)
        if known is None:
            if len(self._selections) >= _REMEMBERED:
                self._selections.clear()
            known = self._selections[rows] = _Selection(rows, self._members)
        self._selection = known
        self._job.write_rows(known.own_rows)
        self._idle = known.idle
        if self._idle:
            layouts = list(map(Tensor.data_ptr, self._layouts))
            if layouts != self._stand_in_addresses:  # a stand-in would keep old memory alive
                self._stand_ins = list(map(self._stand_in, range(len(self._members))))
                self._stand_in_addresses = layouts

    def bind(self, grads: Sequence[Tensor | None]) -> bool:
        self._grads = grads
        self._tensors[1 :: self._width] = grads
        for k in self._idle:
            self._tensors[self._width * k + 1] = self._stand_ins[k]
        if not self._as_they_were(*self._tensors) and not self._refresh_guard() and not self._align():
            return False
        if self._staged_as_they_were is not None and not self._staged_as_they_were(*self._staged):
            return False
        self._job.write_table(list(map(Tensor.data_ptr, self._tensors)))
        return True

    def _thawed(self) -> bytes:
        """Which parameters require a gradient, a byte each."""
        return bytes(map(operator.attrgetter("requires_grad"), self._params))

    def _refresh_guard(self) -> bool:
        """Take another guard where only which parameters require a gradient has changed."""
        thawed = self._thawed()
        guard = self._guards.get(thawed)
        if guard is None:
            if metadata(self._tensors) != self._metadata:
                return False
            if len(self._guards) >= _REMEMBERED:
                self._guards.clear()
            guard = self._guards[thawed] = metadata_guard(self._tensors)
        if not guard(*self._tensors):
            return False
        self._as_they_were = guard
        return True

    def _align(self) -> bool:
        """Copy gradients of another layout or dtype; False where that is not all that has changed."""
        idle = set(self._idle)
        active = [k for k in range(len(self._params)) if k not in idle]
        for k in active:
            g, like = self._grads[k], self._layouts[k]
            if g is None or g.shape != like.shape or _gradient_format(self._params[k], g) != self._g_format:
                return False
        for k in active:
            self._tensors[self._width * k + 1] = self._stand_in(k)
        if not self._as_they_were(*self._tensors) and not self._refresh_guard():
            return False
        for k in active:
            g = self._grads[k]
            assert g is not None
            aligned = aligned_grad(g, self._layouts[k], self._g_dtypes[k], self._takes_sparse)
            self._tensors[self._width * k + 1] = aligned
        return True

    def grad_squares(self) -> Tensor:
        for norm in self._norms:
            norm.run(self._pool)
        words = self._norms[0].words
        for others in self._norms[1:]:
            words[INFINITE:] += others.words[INFINITE:]
        return torch.from_numpy(words)

    def stage(self, rows: Sequence[StepScalars]) -> None:
        for place, row in enumerate(self._selection.rows):
            _, envelope, scalars, t, _ = rows[row]
            self._job.write_scalars(place, *envelope, *scalars)
            if self._key is not None:
                self._job.write_key(place, self._key(t))

    def launch(self, grad_scale: float | Tensor) -> None:
        if grad_scale != self._job.grad_scale:
            self._job.write_grad_scale(float(grad_scale))
        staged = self._selection.staged
        for member in staged:
            member.to_layout()
        self._job.run(self._pool)
        for member in staged:
            member.from_layout()
        torch.autograd.graph.increment_version(self._selection.params)

    def unbind(self) -> None:
        self._tensors[1 :: self._width] = self._layouts
        self._grads = ()


LAUNCHER = NumbaLauncher

# Sets of active members that a launcher remembers.
_REMEMBERED = 16


class _Selection:
    """The active members, and the rows of scalars that they use.

    The rows of all launchers are numbered together; a job has those of its own members alone.
    """

    def __init__(self, rows: tuple[int, ...], members: Sequence[ParamState]) -> None:
        self.rows = sorted(set(rows) - {IDLE})
        place = {row: n for n, row in enumerate(self.rows)} | {IDLE: IDLE}
        self.own_rows = np.array([place[row] for row in rows], np.int64)
        self.idle = [k for k, row in enumerate(rows) if row == IDLE]
        active = [member for member, row in zip(members, rows, strict=True) if row != IDLE]
        self.params = [member.local for member in active]
        self.staged = [member for member in active if member.layout is not member.local]
        for staged in (
            member.local for member in self.staged
        ):  # its copy back would undo what the step did to the other
            if any(p is not staged and shares_elements(staged, p) for p in self.params):
                raise ValueError(
                    f"a parameter of shape {tuple(staged.shape)} and stride {staged.stride()} and another "
                    f"share elements; step them with two optimizers"
                )


def _columns(member: ParamState, averages: bool) -> list[Any]:
    """The arrays after the parameter and its gradient, in a kernel's order."""
    found = list(map(member.state.__getitem__, member.slots))
    if member.copy is not None:
        found.insert(len(found) - averages, member.copy)
    return found


def _copy_format(copy: Tensor) -> str | None:
    """The format in which a kernel writes parameters once more; None where there is none."""
    name = format_of_dtype(copy.dtype)
    return None if name is None or formats.get(name).nearest is None else name


def _runs(member: ParamState) -> Runs | None:
    return None if member.spread is None or member.whole_grad is not None else member.spread.runs


def _kernel(member: Member, request: Request) -> Kernel:
    """The compiled step for a parameter.

    Raises:
        RuleSourceError: the rule cannot be compiled.
        ValueError: the formats do not go together.
    """
    options = request.groups.options
    chosen = {
        own: slot_format(member.p, key, slot, options.state_format).name
        for (own, slot), key in zip(request.rule.form().slots.items(), request.slot_keys, strict=True)
    }
    own = format_of_dtype(member.p.dtype)
    assert own is not None
    g = _gradient_format(member.local, member.grad)
    copy = None if member.copy is None else _copy_format(member.copy)
    averages = options.average is not None
    return compile_rule(request.rule, own, g=g, slots=chosen, average=averages, copy=copy)


def _gradient_format(p: Tensor, g: Tensor | None) -> str:
    """The format in which gradients of `p` are read: their own, if a kernel for `p` computes in its type."""
    own = format_of_dtype(p.dtype)
    dtype = p.dtype if g is None else g.dtype
    given = format_of_dtype(dtype)
    assert own is not None
    if given is None or dtype.is_complex != p.is_complex():
        return own
    same: bool = formats.get(given).compute == formats.get(own).compute
    return given if same else own


def _gradient_dtype(p: Tensor, format: str) -> torch.dtype:
    if p.is_complex():
        return p.dtype
    name = formats.get(format).torch_dtype
    dtype: torch.dtype = getattr(torch, str(name))
    return dtype
