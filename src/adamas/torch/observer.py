"""The measuring of one step: by the launchers that can as they go, by torch around the others."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..backends.numba import MEASURES
from ..rules import Gauge, Rule
from .gradients import dense_grad
from .launchers import IDLE, Launcher, MeasuringLauncher, ParamState, StepScalars
from .measured import Measured, limits_of, measured_of, sample, signal_of, sums_of
from .options import Groups
from .slots import find

__all__ = ["Observer"]

_GRADIENT, _PARAMETER = MEASURES.index("squared_gradient"), MEASURES.index("squared_parameter")


class Observer:
    """What measures one step of a plan.

    Args:
        groups: of the optimizer.
        rule_of: the rule of a parameter, with the options of this step.
        unscale: the factor on all gradients, one over the loss scale.

    Attributes:
        measured: what was found, of each parameter that the step has taken.
    """

    def __init__(self, groups: Groups, rule_of: Callable[[ParamState], Rule], unscale: float) -> None:
        self._groups, self._rule_of, self._unscale = groups, rule_of, unscale
        self.measured: dict[Tensor, Measured] = {}

    def launch(
        self,
        launcher: Launcher,
        members: Sequence[ParamState],
        places: Sequence[int],
        rows: Sequence[StepScalars],
        grad_scale: float,
    ) -> None:
        """Let a launcher take its part of the step, and measure that.

        Args:
            launcher, members: the launcher, and its parameters.
            places: the row of each, `IDLE` for one that it leaves alone.
            rows: those of the step.
            grad_scale: as of `Launcher.launch`.
        """
        steps = [
            0 if place == IDLE else self._next(member, rows, place)
            for member, place in zip(members, places, strict=True)
        ]
        if not launcher.measures:
            self.around(lambda: launcher.launch(grad_scale), members, steps)
            return
        gauges = [self._gauge(member, t) if t else Gauge() for member, t in zip(members, steps, strict=True)]
        rules = map(self._rule_of, members)
        limits = [limits_of(gauge, rule.lr) for gauge, rule in zip(gauges, rules, strict=True)]
        sums = cast(MeasuringLauncher, launcher).launch_measured(grad_scale, np.array(limits))
        for member, gauge, t, each in zip(members, gauges, steps, sums, strict=False):
            if t:
                _in_range(each, member)
                self._note(member, gauge, t, each)

    def around(self, step: Callable[[], object], members: Sequence[ParamState], steps: Sequence[int]) -> None:
        """Take a step by a function, and measure it by torch: copies of the parameters before it are kept.

        Args:
            step: takes the step.
            members: of the plan.
            steps: the number of the step that each is about to take, 0 for one that is left alone.
        """
        active = [(member, t) for member, t in zip(members, steps, strict=True) if t]
        # The state of a shard that is kept whole is not of the shard.
        gauges = [self._gauge(m, t) if m.whole_grad is None else Gauge() for m, t in active]
        with torch.no_grad():
            before = [member.local.detach().clone() for member, _ in active]
            step()
            found = [
                self._sums(member, gauge, old)
                for (member, _), gauge, old in zip(active, gauges, before, strict=True)
            ]
        # One copy to the host for each device, after all that is computed there has been launched.
        for (member, t), gauge, sums in zip(active, gauges, _on_host(found), strict=True):
            self._note(member, gauge, t, sums)

    def next_steps(self, members: Sequence[ParamState]) -> list[int]:
        """The number of the step that each is about to take, from its state; 0 for one without a gradient."""
        return [0 if member.p.grad is None else self._taken(member) + 1 for member in members]

    def _sums(self, member: ParamState, gauge: Gauge, before: Tensor) -> Tensor:
        p, g = member.local.detach(), dense_grad(_grad(member), takes_sparse=True)
        root, share = None, 1.0
        if gauge.root is not None:
            root, share = self._root(member, gauge.root)
        sums = sums_of(before, p, g, root, limits_of(gauge, self._rule_of(member).lr))
        for name in ("root", "hidden"):
            sums[MEASURES.index(name)] *= share
        return sums

    def _root(self, member: ParamState, slot: str) -> tuple[Tensor | None, float]:
        """The values of the slot that is divided by, or some of them, and by what these are too few."""
        key = self._keys(member)[slot]
        state = self._state(member)
        held = find(state, key)
        if held is None:
            return None, 1.0
        if held.name == "" and held.codes.dtype.is_floating_point:
            return held.codes, 1.0
        some = sample(state, key, member.layout, signed=False)
        assert some is not None
        return torch.from_numpy(some), member.layout.numel() / max(1, len(some))

    def _note(self, member: ParamState, gauge: Gauge, t: int, sums: NDArray[Any]) -> None:
        p = member.layout if member.whole_grad is None else member.local
        signal = None
        if member.whole_grad is None:
            signal = signal_of(self._state(member), self._keys(member), gauge, p)
        self.measured[member.p] = measured_of(
            sums,
            gauge,
            step=t,
            lr=self._rule_of(member).lr,
            elements=p.numel() * (2 if p.is_complex() else 1),
            unscale=self._unscale,
            signal=signal,
        )

    def _gauge(self, member: ParamState, t: int) -> Gauge:
        rule = self._rule_of(member)
        gauge, slots = rule.gauge(t), rule.form().slots
        for slot in (gauge.mean, gauge.root):
            if slot is not None and slot not in slots:
                raise TypeError(
                    f"{type(rule).__name__}.gauge names the slot {slot!r}, and its slots are "
                    f"{', '.join(slots) or 'none'}"
                )
        return gauge

    def _next(self, member: ParamState, rows: Sequence[StepScalars], place: int) -> int:
        """The number of the step that a parameter is about to take."""
        return rows[place][3] if member.state else self._taken(member) + 1

    def _taken(self, member: ParamState) -> int:
        """How many steps a parameter has taken; 0 where they are not counted."""
        return round(float(self._state(member).get("step") or 0))

    def _state(self, member: ParamState) -> Mapping[str, Any]:
        return member.state or self._groups.state.get(member.p) or {}

    def _keys(self, member: ParamState) -> dict[str, str]:
        rule = self._rule_of(member)
        return dict(zip(rule.form().slots, self._groups.slot_keys(rule), strict=True))


def _on_host(sums: Sequence[Tensor]) -> list[NDArray[Any]]:
    """The numbers of each, brought to the host device by device."""
    found: list[NDArray[Any]] = [np.empty(0)] * len(sums)
    for device in {each.device for each in sums}:
        here = [k for k, each in enumerate(sums) if each.device == device]
        for k, row in zip(here, torch.stack([sums[k] for k in here]).cpu().numpy(), strict=True):
            found[k] = row
    return found


def _in_range(sums: NDArray[Any], member: ParamState) -> None:
    """Sum squares again that are too small or too large for the float32 in which kernels sum."""
    values = {_GRADIENT: _grad(member), _PARAMETER: member.layout}
    for place, x in values.items():
        if not 1e-28 < sums[place] < 1e36:
            dense = dense_grad(x.detach(), takes_sparse=True)
            sums[place] = float(torch.linalg.vector_norm(dense, dtype=_wide(dense))) ** 2


def _grad(member: ParamState) -> Tensor:
    """The gradient that the step reads."""
    g = member.p.grad
    assert g is not None
    return g if member.spread is None else member.local_grad(g)


def _wide(x: Tensor) -> torch.dtype:
    return torch.complex128 if x.is_complex() else torch.float64
