"""The rule's own text on whole tensors: any device, dtype and layout, and differentiable if need be."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...backends import bind, check_rule, text_key, unit_count, update_of
from .._compat import foreach_copy
from ..gradients import dense_grad
from . import IDLE, Member, ParamState, Request, StepScalars
from ._lists import Lists, lists_xp
from ._rounding import round_to
from ._squares import sum_of_counted
from ._sums import measured, of_units, why_no_sums

__all__ = ["LAUNCHER"]


class EagerLauncher:
    """Whole-tensor arithmetic on lists of tensors: a few calls of torch for all parameters of one type."""

    name = "reference"
    rank = 100
    in_place_of_kernel = "the rule on whole tensors"
    keeps_state = True
    on_device = False
    row_wise = False
    measures = False

    @classmethod
    def unsupported(cls, member: Member, request: Request) -> str | None:
        check_rule(request.rule)
        if request.differentiable and member.spread is not None:
            return "a step of a DTensor cannot be differentiated"
        if (reason := why_no_sums(member, request)) is not None:
            return reason
        if request.groups.options.state_format not in (None, "float32"):
            return f"backend={cls.name!r} keeps state in float32"
        return None

    @classmethod
    def key(cls, member: Member, request: Request) -> Hashable:
        reduction = request.rule.form().reduction
        sums = None if reduction is None else (reduction.scope, text_key(reduction.measure))
        return request.differentiable, sums

    def __init__(self, members: list[ParamState], requests: Sequence[Request], key: Any) -> None:
        self._members, self._differentiable = members, requests[0].differentiable
        self._key = requests[0].groups.options.key
        self._takes_sparse = requests[0].groups.takes_sparse
        self._layouts = list(map(_layout, members))
        self._rows: Sequence[int] = ()
        self._steps: Sequence[StepScalars] = ()
        self._grads: list[Tensor] = []
        reduction = requests[0].rule.form().reduction
        self.units = (
            [] if reduction is None else [unit_count(m.local.shape, reduction.scope) for m in members]
        )
        self._firsts = (np.cumsum(self.units) - self.units).tolist() if self.units else []
        self._number = {id(member): k for k, member in enumerate(members)}
        self._factors: Any = None

    def select(self, rows: tuple[int, ...]) -> None:
        self._rows = rows

    @property
    def _active(self) -> list[tuple[int, ParamState]]:
        return [(row, m) for row, m in zip(self._rows, self._members, strict=True) if row != IDLE]

    def bind(self, grads: Sequence[Tensor | None]) -> bool:
        if list(map(_layout, self._members)) != self._layouts:
            return False
        pairs = zip(self._rows, self._members, grads, strict=True)
        active = [(member, g) for row, member, g in pairs if row != IDLE]
        if any(g is None or g.shape != member.local.shape for member, g in active):
            return False
        self._grads = [dense_grad(g, self._takes_sparse) for _, g in active if g is not None]
        return True

    def grad_squares(self) -> Tensor:
        with torch.no_grad():
            return sum_of_counted(self._grads, [member.counts for _, member in self._active])

    def stage(self, rows: Sequence[StepScalars]) -> None:
        self._steps = rows

    def measure_sums(self, grad_scale: float | Tensor, kept: NDArray[Any]) -> NDArray[Any]:
        found: NDArray[Any] | None = None
        with torch.no_grad():
            for step, dtype, members in self._alike():
                p, g, values, _ = self._inputs(members, step, dtype, grad_scale)
                units, places = self._places(members)
                mine = of_units(kept[places], [m.local for m, _ in members], units, p.tensors)
                sums = measured(step[0], [p, g, *values], step[2], mine, units)
                found = np.zeros((len(kept), sums.shape[1])) if found is None else found
                found[places] = sums
        return np.zeros((len(kept), 1)) if found is None else found

    def _places(self, members: Sequence[tuple[ParamState, Tensor]]) -> tuple[list[int], NDArray[Any]]:
        """How many units these members have, and the places of all of them."""
        units = [self.units[self._number[id(m)]] for m, _ in members]
        firsts = [self._firsts[self._number[id(m)]] for m, _ in members]
        ranges = [np.arange(first, first + n) for first, n in zip(firsts, units, strict=True)]
        return units, np.concatenate(ranges)

    def stage_factors(self, factors: NDArray[Any]) -> None:
        self._factors = factors

    def launch(self, grad_scale: float | Tensor) -> None:
        with torch.set_grad_enabled(self._differentiable):
            for step, dtype, members in self._alike():
                self._update(members, step, dtype, grad_scale)
                for member, _ in members:
                    if member.copy is not None:
                        member.copy.copy_(member.local)

    def _alike(self) -> list[tuple[StepScalars, torch.dtype, list[tuple[ParamState, Tensor]]]]:
        """The active members and their gradients, those of one row, type and device together."""
        alike: dict[tuple[int, torch.dtype, torch.device], list[tuple[ParamState, Tensor]]] = {}
        for (row, member), g in zip(self._active, self._grads, strict=True):
            alike.setdefault((row, self._dtype(member), g.device), []).append((member, g))
        return [(self._steps[row], dtype, members) for (row, dtype, _), members in alike.items()]

    def unbind(self) -> None:
        self._grads = []

    def _dtype(self, member: ParamState) -> torch.dtype:
        """The type of the computation: at least float32, and at least that of the parameter and its state."""
        dtype = torch.promote_types(member.local.dtype, torch.float32)
        for name in member.slots:
            dtype = torch.promote_types(dtype, member.state[name].dtype)
        return dtype

    def _update(
        self,
        members: Sequence[tuple[ParamState, Tensor]],
        step: StepScalars,
        dtype: torch.dtype,
        grad_scale: float | Tensor,
    ) -> None:
        rule, (_, _, _, average, *cautious), scalars, t, _ = step
        copy = self._differentiable
        targets = [[m.local for m, _ in members]]
        targets += [[m.state[key] for m, _ in members] for key in members[0][0].slots]
        p, g, values, mean = self._inputs(members, step, dtype, grad_scale)
        factors: list[Lists] = []
        if self.units:
            units, places = self._places(members)
            factors = of_units(self._factors[places], targets[0], units, p.tensors)
        update = bind(update_of(rule, bool(cautious)), lists_xp)
        new = _results(update(p, g, *values, *cautious, *scalars, *factors), p)
        if mean is not None:
            new.append(mean + average * (new[0] - mean))
        for column, value in zip(targets, new, strict=True):
            if not copy and _all_are(column, dtype):
                foreach_copy(column, value.tensors)
            else:
                _store(column, value, self._key(t), [m for m, _ in members])

    def _inputs(
        self,
        members: Sequence[tuple[ParamState, Tensor]],
        step: StepScalars,
        dtype: torch.dtype,
        grad_scale: float | Tensor,
    ) -> tuple[Lists, Lists, list[Lists], Lists | None]:
        """What a rule takes: p and g after the envelope, the slots; and the average, where one is kept."""
        # Autograd saves its inputs, and p and the state are overwritten later: copy them.
        copy = self._differentiable
        keys, slots = members[0][0].slots, len(step[0].form().slots)
        sources = [[m.local for m, _ in members], [g for _, g in members]]
        sources += [[m.state[key] for m, _ in members] for key in keys]
        p, g, *values = (_in_type(column, dtype, copy) for column in sources)
        mean = values.pop() if len(keys) > slots else None
        scale, coupled_decay, decay_factor, *_ = step[1]
        if isinstance(grad_scale, Tensor) or scale * grad_scale != 1:
            g = (scale * grad_scale) * g
        if coupled_decay != 0:
            g = g + coupled_decay * p
        if decay_factor != 1:
            p = decay_factor * p
        return p, g, values, mean


LAUNCHER = EagerLauncher


def _results(new: Any, like: Lists) -> list[Lists]:
    """What an update returned, a number in place of an array as an array of it."""
    return [x if isinstance(x, Lists) else Lists([torch.full_like(y, x) for y in like.tensors]) for x in new]


def _all_are(tensors: Sequence[Tensor], dtype: torch.dtype) -> bool:
    """Whether they are all of this type, and that is not complex."""
    return not dtype.is_complex and all(x.dtype == dtype for x in tensors)


def _in_type(tensors: list[Tensor], dtype: torch.dtype, copy: bool) -> Lists:
    """The tensors in the type of the computation, complex ones as pairs of reals."""
    if not copy and _all_are(tensors, dtype):
        return Lists(tensors)
    return Lists([_real(x.to(dtype, copy=copy)) for x in tensors])


def _store(targets: Sequence[Tensor], values: Lists, key: int, members: Sequence[ParamState]) -> None:
    for target, value, member in zip(targets, values.tensors, members, strict=True):
        new = torch.view_as_complex(value) if target.is_complex() else value
        if not target.is_complex():
            runs = None if member.spread is None else member.spread.runs
            new = round_to(target, value, key, member.index, runs)
        target.copy_(new)


def _layout(member: ParamState) -> tuple[object, ...]:
    states = [member.state[name].shape for name in member.slots]
    return member.local.dtype, member.local.stride(), member.local.shape, *states


def _real(x: Tensor) -> Tensor:
    """A complex tensor as pairs of reals, which the rules update independently, as torch does."""
    return torch.view_as_real(x.resolve_conj()) if x.is_complex() else x
