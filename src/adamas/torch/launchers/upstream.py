"""torch.optim's own step, where there is no kernel and the rule and its options are torch's."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from .._compat import foreach
from . import IDLE, Member, ParamState, Request, StepScalars
from ._squares import sum_of_counted

__all__ = ["LAUNCHER"]

_WIDE = (torch.float32, torch.float64, torch.complex64, torch.complex128)


class UpstreamLauncher:
    """A torch.optim optimizer over these parameters that shares our state and options.

    16-bit parameters are refused: torch rounds to nearest, which loses small updates.
    """

    name = "torch"
    rank = 50
    in_place_of_kernel = "torch.optim's own step"
    keeps_state = False
    on_device = False
    row_wise = None
    measures = False
    units = ()

    @classmethod
    def unsupported(cls, member: Member, request: Request) -> str | None:
        p, groups = member.p, request.groups
        if groups.upstream is None:
            return "torch.optim has no such optimizer"
        if member.row_wise and (p in (groups.lagging or ()) or groups.upstream is not torch.optim.SparseAdam):
            return "torch.optim's takes no sparse gradients"
        if request.differentiable:
            return "the step is to be differentiable"
        if groups.options.average is not None or groups.options.state_format not in (None, "float32"):
            return "torch.optim keeps neither averages nor state in fewer bits"
        if groups.options.cautious_decay or groups.options.needs_lr_max:
            return "torch.optim's decay is neither cautious nor independent"
        if member.copy is not None:
            return "torch.optim steps no float32 parameter with a gradient of 16 bits"
        if p.dtype not in _WIDE:
            return f"torch.optim rounds {p.dtype} to nearest"
        return None

    @classmethod
    def key(cls, member: Member, request: Request) -> Hashable:
        return None

    def __init__(self, members: list[ParamState], requests: Sequence[Request], key: Any) -> None:
        groups = requests[0].groups
        assert groups.upstream is not None
        self._params = [member.p for member in members]
        by_group: dict[int, tuple[Mapping[str, Any], list[Tensor]]] = {}
        for member, request in zip(members, requests, strict=True):
            by_group.setdefault(id(request.group), (request.group, []))[1].append(member.p)
        self._groups = [group for group, _ in by_group.values()]
        make: Any = groups.upstream
        self._shadow: torch.optim.Optimizer = make([{"params": params} for _, params in by_group.values()])
        self._shadow.state = groups.state
        self._shadow.defaults = dict(groups.defaults)
        self._step = _without_hooks(groups.upstream)
        self._grads: list[Tensor] = []
        self._counts = [member.counts for member in members]
        self._counted: list[bool] = []
        self._idle: list[bool] = []
        self._layouts = list(map(_layout, self._params))

    def select(self, rows: tuple[int, ...]) -> None:
        self._idle = [row == IDLE for row in rows]

    def bind(self, grads: Sequence[Tensor | None]) -> bool:
        self._grads = [g for g in grads if g is not None]
        self._counted = [on for on, g in zip(self._counts, grads, strict=True) if g is not None]
        return [g is None for g in grads] == self._idle and list(map(_layout, self._params)) == self._layouts

    def grad_squares(self) -> Tensor:
        with torch.no_grad():
            grads = [g.coalesce().values() if g.is_sparse else g for g in self._grads]
            return sum_of_counted(grads, self._counted)

    def stage(self, rows: Sequence[StepScalars]) -> None:
        for theirs, ours in zip(self._shadow.param_groups, self._groups, strict=True):
            theirs.update({name: value for name, value in ours.items() if name != "params"})

    def launch(self, grad_scale: float | Tensor) -> None:
        if isinstance(grad_scale, float) and grad_scale == 1:
            self._step(self._shadow)
            return
        active = [p for p in self._params if p.grad is not None]
        kept = [p.grad for p in active]
        with torch.no_grad():
            scaled = foreach("mul", [g for g in kept if g is not None], grad_scale)
        try:
            for p, g in zip(active, scaled, strict=True):
                p.grad = g
            self._step(self._shadow)
        finally:
            for p, before in zip(active, kept, strict=True):
                p.grad = before

    def unbind(self) -> None:
        self._grads = []


LAUNCHER = UpstreamLauncher


def _layout(p: Tensor) -> tuple[object, ...]:
    return type(p), p.dtype, p.device, p.shape, p.layout


def _without_hooks(upstream: type[torch.optim.Optimizer]) -> Callable[..., Any]:
    """Torch's step less the wrapper that calls hooks: those of our optimizer see the step already."""
    step: Any = upstream.step
    inner: Callable[..., Any] = step.__wrapped__ if getattr(step, "hooked", False) else step
    return inner
