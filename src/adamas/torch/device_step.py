"""A step whose hyperparameters, counters, norm and skip are on the device: the host only launches it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..backends import LiveTrace, RuleSourceError, trace_scalars
from ._compat import foreach_copy
from .device_counters import CounterStore, DeviceCounters
from .device_info import DeviceInfo
from .launchers import IDLE, DeviceLauncher, Prepared
from .launchers._sent import Sent, capturing
from .members import SlowPathWarning
from .options import LR_MAX_KEYS, Groups, RuleOf, as_float, group_envelope

__all__ = ["DeviceStep"]


class _Option(NamedTuple):
    """A number among the options of a group: its name, and its place where the option is a tuple."""

    name: str
    place: int | None


class _Group:
    """The hyperparameters of one group, and what its scalars are of them."""

    def __init__(self, group: Mapping[str, Any], names: Sequence[str]) -> None:
        self.options = [each for name in names for each in _numbers(name, group[name])]
        self.others = {name: group[name] for name in names if not _numbers(name, group[name])}
        self.values = [0.0] * len(self.options)
        # Numbers on a device, and their places among the options.
        self.tensors: list[tuple[int, Tensor]] = []
        self.traces: tuple[LiveTrace, LiveTrace] | None = None
        self.counts_steps = True

    @property
    def key(self) -> Any:
        """Equal for groups whose scalars are computed alike."""
        assert self.traces is not None
        return self.traces[0].key, self.traces[1].key, self.counts_steps

    def read(self, group: Mapping[str, Any], device: torch.device) -> None:
        """Read the numbers there are now; those on the device stay there."""
        self.tensors = []
        for k, (name, place) in enumerate(self.options):
            value = group[name] if place is None else group[name][place]
            if isinstance(value, Tensor) and value.device == device:
                self.tensors.append((k, value.detach().reshape(())))
            else:
                self.values[k] = as_float(value, name)

    def with_numbers(self, group: Mapping[str, Any], numbers: Sequence[Any]) -> dict[str, Any]:
        """The options with other numbers in the place of their own."""
        changed = dict(group)
        for (name, place), number in zip(self.options, numbers, strict=False):
            if place is None:
                changed[name] = number
            else:
                parts = list(changed[name])
                parts[place] = number
                changed[name] = tuple(parts)
        return changed


class DeviceStep:
    """What computes on the device what the launchers of a plan read there.

    Args:
        groups: of the optimizer.
        rule_of: the rule of a group's options.
        info_on: what a step leaves on a device; None where a step is not to be there.
        alone: whether no other process takes part in the step.
    """

    def __init__(
        self,
        groups: Groups,
        rule_of: RuleOf,
        info_on: Callable[[torch.device], DeviceInfo] | None,
        alone: bool,
    ) -> None:
        self._of, self._rule_of, self._info_on = groups, rule_of, info_on
        self._why_not = None if info_on is not None else "parameters are stepped one by one"
        if not alone:
            self._why_not = "processes find the norm together, by the host"
        if groups.options.skip_spikes is not None:
            self._why_not = "the host keeps the norms by which skip_spikes goes"
        with_sums = [rule for group in groups.param_groups if (rule := rule_of(group)).form().reduction]
        if with_sums:
            self._why_not = (
                f"the host makes the factors of {type(with_sums[0]).__name__} of sums over tensors"
            )
        self._groups: list[_Group] = []

    def store_on(self, device: torch.device) -> CounterStore | None:
        """Where steps are counted on this device; None where a step cannot be computed there alone."""
        if self._why_not is not None or self._info_on is None:
            return None
        self._device = device
        keys = LR_MAX_KEYS if self._of.options.needs_lr_max else ()
        self._groups = [
            # A key more or less in a group is another plan.
            _Group(group, [*self._of.defaults, *(key for key in keys if key in group)])
            for group in self._of.param_groups
        ]
        self._width = max([1, *(len(each.options) for each in self._groups)])
        try:
            for mine, group in zip(self._groups, self._of.param_groups, strict=True):
                mine.read(group, device)
                self._trace(mine, group)
        except RuleSourceError as error:
            self._why_not = str(error)
            if self._why_not not in self._of.told:
                self._of.told.add(self._why_not)
                warnings.warn(
                    f"the scalars of each step are computed on the host and sent to {device}, and clipping "
                    f"or skipping waits for the device: {error}",
                    SlowPathWarning,
                    stacklevel=8,
                )
        return None if self._why_not is not None else self._info_on(device).counters

    def check_wanted(self, placed: Any) -> None:
        """Raise a ValueError where a group is capturable, and a step of ours is not on a device."""
        ours = any(launcher.keeps_state for launcher in placed.launchers)
        if isinstance(placed.counters, DeviceCounters) or not ours:  # torch's own may be in a graph
            return
        if any(group.get("capturable") for group in self._of.param_groups):
            why = self._why_not or "it takes parameters on one GPU, each of which a kernel for GPUs updates"
            raise ValueError(
                f"capturable=True needs a step without the host, which cannot be had here: {why}"
            )

    def over(self, launchers: Sequence[Any], slices: Sequence[slice], counters: DeviceCounters) -> DeviceStep:
        """This step over the launchers and the counters of a plan."""
        self._launchers: Sequence[DeviceLauncher] = launchers
        self._slices, self._counters = slices, counters
        ranges = [launcher.words_range for launcher in self._launchers]
        self._range = min(first for first, _ in ranges), max(last for _, last in ranges)
        assert self._info_on is not None
        self.info = self._info_on(self._device)
        shape = len(self._groups), self._width
        self._hyper = Sent(shape, torch.float64, self._device, captured=True)
        self._sent: list[list[float]] | None = None
        self._plain = torch.tensor([1.0, 0.0], dtype=torch.float32, device="cpu").to(self._device)
        self._members: dict[Any, list[_Part]] = {}
        self._parts: list[_Part] = []
        return self

    def read_options(self, k: int, group: Mapping[str, Any]) -> bool:
        """Read the options of a group; False where other scalars follow, so that the plan no longer holds."""
        mine = self._groups[k]
        if mine.others != {name: group[name] for name in mine.others}:
            return False
        mine.read(group, self._device)
        assert mine.traces is not None
        return all(trace.holds(self._padded(mine)) for trace in mine.traces)

    def _trace(self, mine: _Group, group: Mapping[str, Any]) -> None:
        values = self._padded(mine)
        for k, tensor in mine.tensors:  # once, to go the way of the branches on it
            values[k] = float(tensor)

        def make(numbers: Sequence[Any]) -> Any:
            changed = mine.with_numbers(group, numbers)
            scale, coupled, factor, _, *cautious = group_envelope(changed, self._of.options)
            return self._rule_of(changed), (scale, coupled, factor, *cautious)

        rule = self._rule_of(group)
        mine.counts_steps = rule.counts_steps
        mine.traces = trace_scalars(make, values, list(rule.carried))
        decided = {k for trace in mine.traces for k in trace.decided_by()}
        for k, _ in mine.tensors:
            if k in decided:
                raise ValueError(
                    f"{mine.options[k].name} is a tensor on {self._device}, and which code is run depends on "
                    f"it; pass a float"
                )

    def _padded(self, mine: _Group) -> list[float]:
        return [*mine.values, *[0.0] * (self._width - len(mine.values))]

    def select(self, rows: Sequence[tuple[int, ...]]) -> None:
        """Let a step take the members whose rows are not idle, by launcher."""
        key = tuple(rows)
        if key not in self._members:
            if len(self._members) >= _REMEMBERED:
                self._members.clear()
            self._members[key] = list(self._new_parts(rows))
        self._parts = self._members[key]

    def _new_parts(self, rows: Sequence[tuple[int, ...]]) -> Iterator[_Part]:
        for launcher, part, mine in zip(self._launchers, self._slices, rows, strict=True):
            alike: dict[Any, list[tuple[int, int, int]]] = {}
            active = [place for place, row in enumerate(mine) if row != IDLE]
            for row, place in enumerate(active):
                member = part.start + place
                column, group = self._counters.columns[member], self._counters.groups_of[member]
                alike.setdefault(self._groups[group].key, []).append((row, column, group))
            for members in alike.values():
                yield _Part(launcher, self._groups[members[0][2]], members, self._device)

    def run(self, measures: bool, scale: Tensor | None, found_inf: Tensor | None) -> DeviceInfo:
        """Launch a step; `measures` says whether the norm is wanted."""
        words = None
        if measures:
            words, *others = [launcher.grad_squares() for launcher in self._launchers]
            for more in others:
                words = words + more
        if not self._parts:  # no kernel says what a step without gradients found
            self.info.found_nothing()
        self._send()
        scaler = self._scaler(scale, found_inf)
        for n, part in enumerate(self._parts):
            assert part.group.traces is not None
            part.launcher.prepare(
                Prepared(
                    part.group.traces,
                    part.group.counts_steps,
                    self._of.options,
                    part.members.tensor,
                    self._hyper.tensor,
                    self._counters.array,
                    words,
                    self._range,
                    scaler,
                    self.info.numbers,
                    first=n == 0,
                )
            )
        self.info.keep(self, scaler, self._parts, self._launchers)
        for launcher in reversed(self._launchers):
            launcher.launch_prepared()
        return self.info

    def _send(self) -> None:
        """Send the hyperparameters that have changed, and copy those of the device."""
        sent, captured = [self._padded(each) for each in self._groups], capturing(self._device)
        if captured or sent != self._sent:
            self._hyper.send(np.array(sent))
            # A graph has an array of its own, of which later steps know nothing.
            self._sent = None if captured else sent
        live = [(k, place, x) for k, each in enumerate(self._groups) for place, x in each.tensors]
        if live:
            targets = [self._hyper.tensor[k, place] for k, place, _ in live]
            foreach_copy(targets, [x.to(torch.float64) for *_, x in live])

    def _scaler(self, scale: Tensor | None, found_inf: Tensor | None) -> Tensor:
        """The loss scale, and whether a gradient was found not to be finite, as two float32."""
        if scale is None and found_inf is None:
            return self._plain
        given = zip((scale, found_inf), self._plain.unbind(), strict=True)
        parts = [plain if x is None else x.detach().reshape(()) for x, plain in given]
        return torch.stack([x.to(self._device, torch.float32) for x in parts])


# Sets of active members that are remembered.
_REMEMBERED = 16


class _Part:
    """Active members of a launcher whose scalars are computed alike."""

    def __init__(
        self,
        launcher: DeviceLauncher,
        group: _Group,
        members: Sequence[tuple[int, int, int]],
        device: torch.device,
    ) -> None:
        self.launcher, self.group = launcher, group
        self.members = Sent((len(members), 3), torch.int64, device)
        self.members.send(np.array(members, np.int64).reshape(-1, 3))


def _numbers(name: str, value: Any) -> list[_Option]:
    """The numbers of an option; none where it is something else."""
    if isinstance(value, (tuple, list)):
        return [_Option(name, k) for k, x in enumerate(value) if _is_number(x)]
    return [_Option(name, None)] if _is_number(value) else []


def _is_number(x: Any) -> bool:
    if isinstance(x, Tensor):
        return x.numel() == 1
    return isinstance(x, (int, float, np.floating, np.integer)) and not isinstance(x, bool)
