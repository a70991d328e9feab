"""Kernels over the rows of one parameter that have a gradient; the other rows lag, or are left alone."""

from __future__ import annotations

import functools
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ... import formats
from ..._tools.interrupts import uninterrupted
from ...backends import exact
from ...backends.numba import Kernel, RowJob, compile_rule
from ...rules import Coast
from .._compat import plainly
from .._openmp import default_pool
from ..lagging import AT_ONCE, DTYPES, form_of
from ..row_gradients import RowGradient, row_gradient
from . import IDLE, Member, ParamState, Request, StepScalars
from ._tables import gradient_dtype, kernel_for, why_no_table

__all__ = ["LAUNCHER"]

_compile = functools.partial(compile_rule, rows=True)


class RowLauncher:
    """One call of a C function a step, which reads and writes the rows that a gradient has."""

    name = "rows"
    rank = 0
    in_place_of_kernel = None
    keeps_state = True
    on_device = False
    row_wise = True
    measures = False
    units = ()

    @classmethod
    def unsupported(cls, member: Member, request: Request) -> str | None:
        p, options = member.local, request.groups.options
        if p.device.type != "cpu":
            return f"steps by rows are taken on the CPU, and it is on {p.device}"
        if not p.is_contiguous() or p.is_conj() or p.is_neg() or member.spread is not None or p.dim() == 0:
            return "its rows do not lie one after the other"
        if member.p in (request.groups.lagging or ()) and p.dtype not in DTYPES:
            return f"it is tracked, and of {p.dtype}; float32 and float64 can be"
        if options.average is not None:
            return "the average of a row follows it at every step, also where it has no gradient"
        if member.copy is not None:
            return "it is offloaded"
        if (reason := why_no_table(_compile, member, request)) is not None:
            return reason
        scaled = any(format.scaled for format in kernel_for(_compile, member, request).formats.values())
        if scaled and formats.row_length(tuple(p.shape)) != p.shape[1:].numel():
            return f"elements of several rows share a scale, in rows of {p.shape[1:].numel()}"
        return None

    @classmethod
    def key(cls, member: Member, request: Request) -> Hashable:
        return kernel_for(_compile, member, request), id(member.p)

    def __init__(self, members: list[ParamState], requests: Sequence[Request], key: Any) -> None:
        (self._member,), request = members, requests[0]
        self._kernel: Kernel = key[0]
        self._p, options = self._member.local, request.groups.options
        self._row = IDLE
        with plainly():
            self._shape, self._dtype = self._p.shape, self._p.dtype
            self._g_dtype = gradient_dtype(self._p, self._kernel.formats["g"].name)
        self._job = RowJob(self._kernel, self._shape[1:].numel(), self._member.index)
        self._owner = request.groups.lagging or {}
        self._lagging = self._owner.get(self._member.p)
        if self._lagging is not None:
            self._lagging.describe(request.rule, self._member.state, request.slot_keys, self._kernel)
        self._first = np.full(self._shape[0], -1, np.int32)
        self._key = options.key if self._kernel.rounds else None
        self._pool = default_pool()
        self._gradient: RowGradient | None = None

    def select(self, rows: tuple[int, ...]) -> None:
        (self._row,) = rows

    def bind(self, grads: Sequence[Tensor | None]) -> bool:
        g = grads[0]
        if (g is None) != (self._row == IDLE):
            return False
        self._gradient = None
        with plainly():
            p = self._p
            if p.shape != self._shape or p.dtype != self._dtype or not p.is_contiguous():
                return False
            if g is None:
                return True
            if self._lagging is not None and self._lagging.owner is not self._owner:
                raise RuntimeError(
                    f"a parameter of shape {tuple(p.shape)} is tracked by another optimizer now: "
                    f"call track() again before this one steps it"
                )
            if g.shape != self._shape or g.dtype.to_real() != self._g_dtype.to_real():
                return False
            arrays = [p, p, *map(self._member.state.__getitem__, self._member.slots)]
            self._bases = list(map(Tensor.data_ptr, arrays))
            self._strides = [x.stride(0) * x.element_size() for x in arrays]
            self._gradient = row_gradient(g, p, self._g_dtype, self._first)
        return True

    def _write(self, first: int) -> None:
        assert self._gradient is not None
        here = slice(first, first + AT_ONCE)
        self._job.write(
            self._gradient.rows[here], self._bases, self._strides, g=self._gradient.addresses[here]
        )

    def _blocks(self) -> range:
        return range(0, 0 if self._gradient is None else len(self._gradient.rows), AT_ONCE)

    def grad_squares(self) -> Tensor:
        words = np.zeros(exact.LENGTH, np.int64)
        for first in self._blocks():
            self._write(first)
            words += self._job.squares(self._pool)
        return torch.from_numpy(words)

    def stage(self, rows: Sequence[StepScalars]) -> None:
        if self._gradient is None:
            return
        rule, envelope, scalars, t, _ = rows[self._row]
        self._form: Coast | None = None
        if self._lagging is not None:
            self._form = form_of(rule, envelope, scalars, self._dtype)
        self._settings = np.array([(*envelope, *scalars)])
        self._staged = envelope, scalars, 0 if self._key is None else self._key(t)
        self._job.write_scalars(self._settings, 0, self._staged[2])

    def launch(self, grad_scale: float | Tensor) -> None:
        if self._gradient is None:
            return
        rows, behind = self._gradient.rows, self._lagging
        self._job.write_grad_scale(float(grad_scale))
        if behind is not None and self._form is not None:
            behind.ready(self._form, self._staged[0][2])
            behind.catch_up(rows)
        with uninterrupted():
            for first in self._blocks():
                self._write(first)
                self._job.write_scalars(self._settings, 0, self._staged[2])
                self._job.run(self._pool)
            if behind is not None and self._form is not None:
                behind.took_step(rows, self._form, self._staged[0], self._staged[1])
        torch.autograd.graph.increment_version(self._p)

    def unbind(self) -> None:
        self._gradient = None


LAUNCHER = RowLauncher
