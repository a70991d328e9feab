"""The measuring of one step: by the launchers that can as they go, by torch around the others."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..backends.numba import MEASURES
from ..rules import Gauge, Rule
from .gradients import dense_grad
from .launchers import IDLE, Launcher, MeasuringLauncher, ParamState, StepScalars
from .measured import (
    NO_LIMITS,
    Measured,
    gauge_of,
    limits_of,
    measured_of,
    rate_of,
    sample,
    samples_of,
    signals_of,
    sums_of,
)
from .mesh import Spread
from .options import Groups, group_envelope
from .shard_sums import add_up
from .slots import find
from .untouched import Untouched

__all__ = ["Observer"]

_GRADIENT, _PARAMETER = MEASURES.index("squared_gradient"), MEASURES.index("squared_parameter")
_ZEROS = MEASURES.index("zeros")


class _Reading(NamedTuple):
    """How parameters that share a rule and a count of steps are read."""

    step: int
    lr: float
    gauge: Gauge
    limits: tuple[float, ...]
    keys: Mapping[str, str]


class _Found(NamedTuple):
    """What was summed up of one parameter, in this process."""

    member: ParamState
    reading: _Reading
    sums: NDArray[Any]


class Observer:
    """What measures one step of a plan.

    Args:
        groups: of the optimizer.
        of: the rule and the group of a parameter, with the options of this step.
        unscale: the factor on all gradients, one over the loss scale.
        untouched: what remembers rows from one measured step to the next.

    Attributes:
        measured: what was found, of each parameter that the step has taken, once it is finished.
    """

    def __init__(
        self,
        groups: Groups,
        of: Callable[[ParamState], tuple[Rule, Mapping[str, Any]]],
        unscale: float,
        untouched: Untouched,
    ) -> None:
        self._groups, self._of, self._unscale = groups, of, unscale
        self._untouched = untouched
        self.measured: dict[Tensor, Measured] = {}
        self._found: list[_Found] = []
        self._readings: list[list[_Reading | None]] = []

    def read(self, members: Sequence[ParamState], places: Sequence[int], rows: Sequence[StepScalars]) -> None:
        """Find how the parameters of a launcher are read, before anything has changed.

        Args:
            members: the parameters; of the launcher that is launched first before those of the next.
            places: the row of each, `IDLE` for one that is left alone.
            rows: those of the step.

        Raises:
            TypeError: the gauge of a rule cannot be used.
        """
        of_row: dict[int, _Reading | None] = {IDLE: None}
        readings: list[_Reading | None] = []
        for member, place in zip(members, places, strict=True):
            if not member.state and place != IDLE:  # its launcher counts
                readings.append(self._reading(member, self._taken(member) + 1))
                continue
            if place not in of_row:
                of_row[place] = self._reading(member, rows[place][3])
            readings.append(of_row[place])
        self._readings.append(readings)

    def launch(self, launcher: Launcher, members: Sequence[ParamState], grad_scale: float) -> None:
        """Let the next launcher take its part of the step, and measure that.

        Args:
            launcher, members: the launcher, and its parameters.
            grad_scale: as of `Launcher.launch`.
        """
        readings = self._readings.pop(0)
        if not launcher.measures:
            self._around(lambda: launcher.launch(grad_scale), members, readings)
            return
        limits = np.array([NO_LIMITS if each is None else each.limits for each in readings])
        sums = cast(MeasuringLauncher, launcher).launch_measured(grad_scale, limits)[: len(members)]
        for place in (_GRADIENT, _PARAMETER):
            inside = (sums[:, place] > 1e-28) & (sums[:, place] < 1e36)
            for k in np.flatnonzero(~inside).tolist():
                if readings[k] is not None:
                    sums[k, place] = _squares(members[k], place)
        for k, member in enumerate(members):  # each process has the whole of these, and one counts
            if member.whole_grad is not None and member.spread is not None and any(member.spread.place or ()):
                sums[k] = 0
        self._found += _taken_by(members, readings, sums)

    def around(self, step: Callable[[], object], members: Sequence[ParamState]) -> None:
        """Take a step of members by a function, and measure it."""
        readings = [
            None if member.p.grad is None else self._reading(member, self._taken(member) + 1)
            for member in members
        ]
        self._around(step, members, readings)

    def _around(
        self, step: Callable[[], object], members: Sequence[ParamState], readings: Sequence[_Reading | None]
    ) -> None:
        """Measure a step by torch: copies of the parameters before it are kept."""
        active = [(m, reading) for m, reading in zip(members, readings, strict=True) if reading is not None]
        with torch.no_grad():
            before = [member.local.detach().clone() for member, _ in active]
            step()
            sums = [
                self._sums(member, reading, old)
                for (member, reading), old in zip(active, before, strict=True)
            ]
        # One copy to the host for each device, after all that is computed there has been launched.
        self._found += [_Found(*each, numbers) for each, numbers in zip(active, _on_host(sums), strict=True)]

    def _sums(self, member: ParamState, reading: _Reading, before: Tensor) -> Tensor:
        p, g = member.local.detach(), dense_grad(_grad(member), takes_sparse=True)
        root, share = None, 1.0
        # State that is kept whole is not that of the shard.
        if reading.gauge.root is not None and member.whole_grad is None:
            root, share = self._root(member, reading.keys[reading.gauge.root])
        sums = sums_of(before, p, g, root, reading.limits)
        for name in ("root", "hidden"):
            sums[MEASURES.index(name)] *= share
        return sums

    def _root(self, member: ParamState, key: str) -> tuple[Tensor | None, float]:
        """The values of the slot that is divided by, or some of them, and by what these are too few."""
        state = self._state(member)
        held = find(state, key)
        if held is None:
            return None, 1.0
        if held.name == "" and held.codes.dtype.is_floating_point:
            return held.codes, 1.0
        some = sample(state, key, member.layout, signed=False)
        assert some is not None
        return some, member.layout.numel() / max(1, some.numel())

    def finish(self, shards: Sequence[tuple[Tensor, Spread]]) -> None:
        """Make values of what was summed up, in all processes that have parts of a parameter.

        Args:
            shards: every DTensor of the optimizer and where it is, in the same order in each process.
        """
        sums = {found.member.p: found.sums for found in self._found}
        add_up(sums, shards)
        samples = [self._sampled(found) for found in self._found]
        signals = signals_of(samples, [found.reading.gauge for found in self._found])
        numbers = np.array([sums[found.member.p] for found in self._found]).tolist()
        for found, signal, row in zip(self._found, signals, numbers, strict=True):
            p, reading = found.member.p, found.reading
            self.measured[p] = measured_of(
                row,
                reading.gauge,
                step=reading.step,
                lr=reading.lr,
                elements=p.numel() * (2 if p.is_complex() else 1),
                unscale=self._unscale,
                signal=signal,
                oldest_row=self._oldest(found),
            )

    def _sampled(self, found: _Found) -> tuple[Tensor, Tensor] | None:
        """Values of the mean and of the slot that is divided by; None for a shard with state of the whole."""
        member, reading = found.member, found.reading
        if member.whole_grad is not None:
            return None
        return samples_of(self._state(member), reading.keys, reading.gauge, member.layout)

    def _oldest(self, found: _Found) -> int | None:
        """As of `Measured.oldest_row`; a row's worth of zeros is what it takes to look."""
        member, reading = found.member, found.reading
        shape, zeros = member.local.shape, found.sums[_ZEROS]
        if len(shape) < 2 or not shape[0] or zeros < shape[1:].numel() or member.whole_grad is not None:
            return None
        g = dense_grad(_grad(member).detach(), takes_sparse=True)
        rule, group = self._of(member)
        if (
            group_envelope(group, self._groups.options)[1] != 0
        ):  # coupled decay is added to m as a gradient is
            return None
        return self._untouched.oldest(member.p, g, rule, reading.step, self._state(member), reading.keys)

    def _reading(self, member: ParamState, t: int) -> _Reading:
        rule, _ = self._of(member)
        gauge = gauge_of(rule, t)
        keys = dict(zip(rule.form().slots, self._groups.slot_keys(rule), strict=True))
        return _Reading(t, rate_of(rule), gauge, limits_of(gauge), keys)

    def _taken(self, member: ParamState) -> int:
        """How many steps a parameter has taken; 0 where they are not counted."""
        return round(float(self._state(member).get("step") or 0))

    def _state(self, member: ParamState) -> Mapping[str, Any]:
        return member.state or self._groups.state.get(member.p) or {}


def _taken_by(
    members: Sequence[ParamState], readings: Sequence[_Reading | None], sums: NDArray[Any]
) -> list[_Found]:
    """The members that took the step."""
    rows = zip(members, readings, sums, strict=True)
    return [_Found(member, reading, row) for member, reading, row in rows if reading is not None]


def _on_host(sums: Sequence[Tensor]) -> list[NDArray[Any]]:
    """The numbers of each, brought to the host device by device."""
    found: list[NDArray[Any]] = [np.empty(0)] * len(sums)
    for device in {each.device for each in sums}:
        here = [k for k, each in enumerate(sums) if each.device == device]
        for k, row in zip(here, torch.stack([sums[k] for k in here]).cpu().numpy(), strict=True):
            found[k] = row
    return found


def _squares(member: ParamState, place: int) -> float:
    """A sum of squares that is beyond the float32 in which kernels sum, or zero."""
    x = dense_grad((_grad(member) if place == _GRADIENT else member.layout).detach(), takes_sparse=True)
    return float(torch.linalg.vector_norm(x, dtype=_wide(x))) ** 2


def _grad(member: ParamState) -> Tensor:
    """The gradient that the step reads."""
    g = member.p.grad
    assert g is not None
    return g if member.spread is None else member.local_grad(g)


def _wide(x: Tensor) -> torch.dtype:
    return torch.complex128 if x.is_complex() else torch.float64
