"""Compiled kernels on the CPU: one call for all parameters, over their memory."""

from __future__ import annotations

import functools
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...backends.exact import INFINITE
from ...backends.numba import Job, Kernel, MeasuredJob, NormJob, SumsJob, compile_rule
from .._openmp import default_pool
from . import Member, ParamState, Request, StepScalars
from ._tables import TableLauncher, copy_format, kernel_for, why_no_table

__all__ = ["LAUNCHER"]


class NumbaLauncher(TableLauncher):
    """One call of a C function a step, on torch's own threads."""

    name = "numba"
    rank = 0
    measures = True
    # The job that measures, once a step has been measured.
    _measured: MeasuredJob | None = None

    @classmethod
    def unsupported(cls, member: Member, request: Request) -> str | None:
        if member.local.device.type != "cpu" and not request.differentiable:
            return f"it is on {member.local.device}"
        if member.copy is not None and copy_format(member.copy) is None:
            return f"no kernel writes {member.copy.dtype} rounded to nearest"
        return why_no_table(compile_rule, member, request)

    @classmethod
    def key(cls, member: Member, request: Request) -> Hashable:
        return kernel_for(compile_rule, member, request)  # type: ignore[no-any-return]

    def __init__(self, members: list[ParamState], requests: Sequence[Request], key: Kernel) -> None:
        super().__init__(members, requests, key)
        options = requests[0].groups.options
        self._job = Job(
            key,
            self._floats,
            tensor_index=[member.index for member in members],
            lengths=self._lengths,
            runs=self._runs,
            units=self._unit_lengths,
        )
        self._sums = SumsJob(self._job, requests[0].rule) if key.n_factors else None
        self._norms: list[NormJob] = []
        if options.needs_grad_norm:
            counted = [member.counts for member in members]
            self._norms.append(NormJob(self._job, None if all(counted) else counted))
            if not all(counted):
                self._norms.append(NormJob(self._job, [not on for on in counted]))
        self._rule = requests[0].rule
        self._key = options.key if key.rounds else None
        self._written: tuple[list[int], list[int]] = [], []
        self._pool = default_pool()
        self._execute = functools.partial(self._job.run, self._pool)
        self._grad_scale = self._job.grad_scale

    def _write_table(self, tensors: list[int], slots: list[int]) -> None:
        if (tensors, slots) != self._written:  # gradients often come back to where they were
            self._job.write_table(self._rows_of(tensors, slots))
            self._written = tensors, slots

    def _write_rows(self, rows: np.ndarray[Any, Any]) -> None:
        self._job.write_rows(rows)

    def _write_grad_scale(self, scale: float) -> None:
        self._job.write_grad_scale(scale)

    def grad_squares(self) -> Tensor:
        for norm in self._norms:
            norm.run(self._pool)
        words = self._norms[0].words
        for others in self._norms[1:]:
            words[INFINITE:] += others.words[INFINITE:]
        return torch.from_numpy(words)

    def measure_sums(self, grad_scale: float | Tensor, kept: NDArray[Any]) -> NDArray[Any]:
        assert self._sums is not None
        with np.errstate(over="ignore", under="ignore"):
            self._sums.kept[:, : kept.shape[1]] = kept
        self._take_grad_scale(grad_scale)
        for member in self._selection.staged:
            member.to_layout()
        return self._sums.measure(self._pool)

    def stage_factors(self, factors: NDArray[Any]) -> None:
        with np.errstate(over="ignore", under="ignore"):
            self._job.factors[...] = factors

    def launch_measured(self, grad_scale: float | Tensor, limits: NDArray[Any]) -> NDArray[Any]:
        if self._measured is None:
            self._measured = MeasuredJob(self._job, self._rule)
        job, found = self._measured, list[NDArray[Any]]()
        job.write_limits(limits)
        self.launch(grad_scale, lambda: found.append(job.measure(self._pool)))
        return found[0]

    def stage(self, rows: Sequence[StepScalars]) -> None:
        for place, row in enumerate(self._selection.rows):
            _, envelope, scalars, t, _ = rows[row]
            self._job.write_scalars(place, *envelope, *scalars)
            if self._key is not None:
                self._job.write_key(place, self._key(t))


LAUNCHER = NumbaLauncher
