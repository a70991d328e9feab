"""What the launchers of compiled kernels share: a table of addresses over the memory of their parameters.

Addresses are read anew at every step, and the tensors they are read from are checked to have the type, size,
strides and dtype they had, so that no address is ever used with a size that is not its own. Parameters with
gaps in memory, or lazily conjugated, are copied to a dense tensor and back.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ... import formats
from ...backends import RuleSourceError, Runs
from .._compat import metadata, metadata_guard
from ..gradients import aligned_grad, has_own_memory, shares_elements
from ..slots import in_order, memory_order
from ..state import format_of_dtype, slot_format
from . import IDLE, Member, ParamState, Request
from ._sums import units_of, why_no_sums

__all__ = ["TableLauncher", "copy_format", "gradient_dtype", "kernel_for", "why_no_table"]


def why_no_table(compile_rule: Callable[..., Any], member: Member, request: Request) -> str | None:
    """Why a kernel cannot read a parameter by its address, whatever its device; None where it can."""
    p = member.local
    if request.differentiable:
        return "the step is to be differentiable"
    if p.layout != torch.strided:
        return f"it is a {p.layout} tensor"
    if not has_own_memory(p):
        return f"it is a {type(p).__name__} without memory of its own"
    if format_of_dtype(p.dtype) is None:
        return f"its dtype is {p.dtype}"
    try:
        kernel_for(compile_rule, member, request)
    except RuleSourceError as error:
        return str(error)
    return why_no_sums(member, request, by_address=True)


class TableLauncher:
    """One compiled pass over the memory of all its parameters.

    A subclass makes the pass in its constructor, and says how a table of addresses and the rows of scalars of
    its tensors reach it.
    """

    in_place_of_kernel = None
    keeps_state = True
    on_device = False
    row_wise = False
    measures = False
    # The factor on all gradients that was written last.
    _grad_scale: Any = None
    # Runs the pass.
    _execute: Callable[[], None]

    def __init__(self, members: list[ParamState], requests: Sequence[Request], kernel: Any) -> None:
        self._members, self._takes_sparse = members, requests[0].groups.takes_sparse
        self._by_rows = requests[0].groups.options.semantics == "lazy"
        self._params = [member.local for member in members]
        self._g_format = kernel.formats["g"].name
        self._g_dtypes = [gradient_dtype(p, self._g_format) for p in self._params]
        self._width = len(kernel.arrays)
        # Members that are copied to a dense tensor and back.
        staged = [m.local for m in members if m.layout is not m.local]
        # For idle members: the guard needs a tensor of that dtype and layout, which no kernel reads.
        self._stand_ins = list(map(self._stand_in, range(len(members))))
        self._layouts = [member.layout for member in members]
        self._stand_in_addresses = list(map(Tensor.data_ptr, self._layouts))
        # Parameters and gradients in turns, and all slots: a row of the table is of both.
        self._tensors: list[Any] = [
            x for pair in zip(self._layouts, self._stand_ins, strict=True) for x in pair
        ]
        averages = requests[0].groups.options.average is not None
        self._slots = [x for m in members for x in _columns(m, averages)]
        self._slot_metadata, self._slot_addresses = (
            metadata(self._slots),
            list(map(Tensor.data_ptr, self._slots)),
        )
        self._addresses = [0] * (self._width * len(members))
        self._as_they_were = metadata_guard(self._tensors)
        # Layers that freeze and thaw change what a guard compares, and nothing that a kernel reads.
        self._guards = {self._thawed(): self._as_they_were}
        self._metadata = metadata(self._tensors)
        self._staged, self._staged_as_they_were = staged, metadata_guard(staged) if staged else None
        scaled = any(format.scaled for format in kernel.formats.values())
        rows = [in_order(m.layout, memory_order(m.layout)) for m in members if scaled]
        # The floats of each tensor, and those of its rows; which part of a larger one it is.
        self._floats = [x.numel() * (2 if x.is_complex() else 1) for x in self._layouts]
        self._lengths = list(map(formats.row_length, rows)) if scaled else None
        self._runs = list(map(_runs, members)) if kernel.rounds else None
        # Over how many floats of each one sum goes, and how many sums there are.
        self._unit_lengths, self.units = units_of(self._layouts, requests[0].rule)
        self._grads: Sequence[Tensor | None] = ()
        self._idle: list[int] = []
        self._selections: dict[tuple[int, ...], _Selection] = {}
        self._selection = _Selection((IDLE,) * len(members), members)

    def _write_table(self, tensors: list[int], slots: list[int]) -> None:
        """Let the pass read these addresses: of parameters and gradients in turns, and of all slots."""
        raise NotImplementedError

    def _write_rows(self, rows: np.ndarray[Any, Any]) -> None:
        """Let the pass take these rows of scalars for its tensors."""
        raise NotImplementedError

    def _write_grad_scale(self, scale: float) -> None:
        """Let the pass take this factor on all gradients."""
        raise NotImplementedError

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
        self._write_rows(known.own_rows)
        self._idle = known.idle
        if self._idle:
            layouts = list(map(Tensor.data_ptr, self._layouts))
            if layouts != self._stand_in_addresses:  # a stand-in would keep old memory alive
                self._stand_ins = list(map(self._stand_in, range(len(self._members))))
                self._stand_in_addresses = layouts

    def bind(self, grads: Sequence[Tensor | None]) -> bool:
        self._grads = grads
        self._tensors[1::2] = grads
        for k in self._idle:
            self._tensors[2 * k + 1] = self._stand_ins[k]
        if not self._as_they_were(*self._tensors) and not self._refresh_guard() and not self._align():
            return False
        if self._staged_as_they_were is not None and not self._staged_as_they_were(*self._staged):
            return False
        # Slots are the tensors that they were, which the plan has seen. Their metadata can then have changed
        # only with their memory, or such that there is no less of it.
        slots = list(map(Tensor.data_ptr, self._slots))
        if slots != self._slot_addresses:
            if metadata(self._slots) != self._slot_metadata:
                return False
            self._slot_addresses = slots
        self._write_table(list(map(Tensor.data_ptr, self._tensors)), slots)
        return True

    def _rows_of(self, tensors: list[int], slots: list[int]) -> list[int]:
        """The rows of the table, one after the other."""
        rows, kept = self._addresses, self._width - 2
        rows[0 :: self._width], rows[1 :: self._width] = tensors[0::2], tensors[1::2]
        for k in range(kept):
            rows[k + 2 :: self._width] = slots[k::kept]
        return rows

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
            if self._by_rows and g is not None and g.layout != torch.strided:
                return False
            if g is None or g.shape != like.shape or _gradient_format(self._params[k], g) != self._g_format:
                return False
        for k in active:
            self._tensors[2 * k + 1] = self._stand_in(k)
        if not self._as_they_were(*self._tensors) and not self._refresh_guard():
            return False
        for k in active:
            g = self._grads[k]
            assert g is not None
            aligned = aligned_grad(g, self._layouts[k], self._g_dtypes[k], self._takes_sparse)
            self._tensors[2 * k + 1] = aligned
        return True

    def _take_grad_scale(self, grad_scale: float | Tensor) -> None:
        if grad_scale is not self._grad_scale and grad_scale != self._grad_scale:
            self._write_grad_scale(float(grad_scale))
            self._grad_scale = grad_scale

    def launch(self, grad_scale: float | Tensor, execute: Callable[[], None] | None = None) -> None:
        """Take the step; `execute` runs the kernel where that is to measure too."""
        if grad_scale is not self._grad_scale and grad_scale != self._grad_scale:
            self._take_grad_scale(grad_scale)
        staged = self._selection.staged
        for member in staged:  # copies of what a kernel cannot read as it lies
            member.to_layout()
        (execute or self._execute)()
        for member in staged:
            member.from_layout()
        torch.autograd.graph.increment_version(self._selection.params)

    def unbind(self) -> None:
        self._tensors[1::2] = self._layouts
        self._grads = ()


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
        # Its copy back would undo what the step did to the other.
        for staged in [member.local for member in self.staged]:
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


def copy_format(copy: Tensor) -> str | None:
    """The format in which a kernel writes parameters once more; None where there is none."""
    name = format_of_dtype(copy.dtype)
    return None if name is None or formats.get(name).nearest is None else name


def _runs(member: ParamState) -> Runs | None:
    return None if member.spread is None or member.whole_grad is not None else member.spread.runs


def kernel_for(compile_rule: Callable[..., Any], member: Member, request: Request) -> Any:
    """The step that a backend's `compile_rule` makes for a parameter.

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
    copy = {} if member.copy is None else {"copy": copy_format(member.copy)}
    kind = {"average": options.average is not None, "cautious": options.cautious_decay, **copy}
    return compile_rule(request.rule, own, g=g, slots=chosen, **kind)


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


def gradient_dtype(p: Tensor, format: str) -> torch.dtype:
    """The dtype of the memory in which a kernel for `p` reads gradients of a format."""
    if p.is_complex():
        return p.dtype
    name = formats.get(format).torch_dtype
    dtype: torch.dtype = getattr(torch, str(name))
    return dtype
