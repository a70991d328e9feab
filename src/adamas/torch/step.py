"""The order of a step: bind, measure, stage, launch, count; or roll back."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from itertools import chain, repeat
from typing import Any

import torch
from torch import Tensor

from ..backends import exact, same_kernel, uses_names, watch
from ..rules import Rule
from ._compat import is_fake
from .counters import Counters
from .device_counters import DeviceCounters
from .device_info import DeviceInfo
from .device_step import DeviceStep
from .exchange import exchange_of
from .grad_norm import GradNorm
from .launchers import ParamState, Request
from .measured import Measured
from .observer import Observer
from .options import Groups, RuleOf, StepInfo, group_envelope, is_constant, options_of
from .params import check_params, localize, member_of
from .placement import Made, place
from .rows import Rows
from .selections import Selections, any_given, mask_of
from .skips import reason_to_skip, record
from .sums import sums_of_plan
from .untouched import Untouched

__all__ = ["Plan"]

_grad = operator.attrgetter("grad")
_params_of = operator.itemgetter("params")

# Sentinel: otherwise moving a parameter to the next group leaves the flattened list equal.
_END = (object(),)

_LARGEST = torch.finfo(torch.float32).max


class Plan:
    """The parameters of an optimizer that have had a gradient, in launchers, and their counters.

    Making one allocates the state that is missing. It holds as long as the parameters, their groups and
    their state stay the same, and no parameter has its first gradient, which `bind` checks at every step;
    which parameters have a gradient, the options of the groups and all addresses are read at every step.
    """

    def __init__(
        self,
        groups: Groups,
        rule_of: RuleOf,
        before: Plan | None = None,
        clip_factor: Callable[[float], float] | None = None,
        info_on: Callable[[torch.device], DeviceInfo] | None = None,
    ) -> None:
        """Place the parameters; `info_on` gives what a step on a device leaves there, if it may be there."""
        self.groups = groups
        self._clip_factor = clip_factor or groups.options.clip_factor
        param_groups, state = groups.param_groups, groups.state
        self._lists = [group["params"] for group in param_groups]
        self._sizes = list(map(len, param_groups))
        self._options_of = options_of(groups)
        self._options: list[tuple[Any, ...] | None] = [None] * len(param_groups)
        rules = [rule_of(group) for group in param_groups]
        self._requests = [
            Request(groups, group, rule, groups.slot_keys(rule))
            for group, rule in zip(param_groups, rules, strict=True)
        ]
        self._rules = rules
        # Globals and closures that `update` reads may be rebound between steps: then the plan is made again.
        updates = dict.fromkeys([rule.form().update for rule in rules])
        self._watches = [watch(update) for update in updates if uses_names(update)]
        self._differentiable = [request.differentiable for request in self._requests]
        self._envelopes = [group_envelope(group, groups.options) for group in param_groups]
        found = [
            (k, member_of(p, groups))
            for k, params in enumerate(self._lists)
            for p in dict(zip(map(id, params), params, strict=True)).values()
        ]
        check_params(found, groups)
        self._made: Made = []
        self.exchange = exchange_of((each.spread for _, each in found), groups.options.process_group)
        counts = self.exchange is None or self.exchange.counts_plain
        known = set() if before is None else set(map(id, before._params))
        device = DeviceStep(groups, rule_of, info_on, self.exchange is None)
        try:
            placed = place(groups, self._requests, rules, found, known, self._made, counts, device.store_on)
            device.check_wanted(placed)
        except BaseException:
            self.rollback()
            raise
        self._members = placed.states
        self._group_of = {id(member.p): k for k, member in found}
        self._all_shards = [(each.p, each.spread) for _, each in found if each.spread is not None]
        self._params: list[Tensor] = [each.p for each in placed.states]
        self._shards = [(n, each) for n, each in enumerate(placed.states) if each.spread is not None]
        self._idle = placed.idle
        self._launchers, self._slices = placed.launchers, placed.slices
        self._counters = placed.counters
        self._on_device: DeviceStep | None = None
        # Whether a step is `run_on_device`, not `run`.
        self.on_device = isinstance(placed.counters, DeviceCounters)
        if isinstance(placed.counters, DeviceCounters):
            self._on_device = device.over(placed.launchers, placed.slices, placed.counters)
        states = [each.values() for each in state.values() if isinstance(each, dict)]
        self._watched = [*chain(*zip(self._lists, repeat(_END))), state.values(), *states, _END]
        self._found = list(chain.from_iterable(self._watched))
        self._only = self._launchers[0] if len(self._launchers) == 1 else None
        self._rows = Rows(groups.options)
        self._mask: bytes | None = None
        self._resting: list[int] = []
        self._places: list[tuple[int, ...]] = []
        # What was measured of the last step, if that was to be.
        self.measured: Mapping[Tensor, Measured] = {}
        self._selections = Selections(placed.counters, placed.counted, placed.slices)
        # A tensor without values has no norm.
        wanted = groups.options.needs_grad_norm and not any(p.is_meta or is_fake(p) for p in self._params)
        whole = [each for _, each in self._shards if each.whole_grad is not None]
        self._norm = GradNorm(self._launchers, self.exchange, whole, wanted)
        self._sums = sums_of_plan(placed, self._group_of, rules, groups, self._all_shards)

    @property
    def backend(self) -> str:
        """The names of the launchers that the last step used."""
        pairs = zip(self._launchers, self._slices, strict=True)
        used = {launcher.name for launcher, part in pairs if any((self._mask or b"")[part])}
        return " and ".join(sorted(used)) or "none"

    def bind(self, optimizer: Any) -> bool:
        """Read gradients and options for a step; False where the plan no longer holds."""
        param_groups = self.groups.param_groups
        if (
            optimizer.param_groups is not param_groups
            or optimizer.state is not self.groups.state
            or list(map(len, param_groups)) != self._sizes
            or not all(map(operator.is_, map(_params_of, param_groups), self._lists))
            or not all(map(operator.is_, chain.from_iterable(self._watched), self._found))
            or (self._idle and any_given(map(_grad, self._idle)))
            or self._counters.modified_externally()
            or (self._watches and not all(map(operator.call, self._watches)))
        ):
            return False
        for k, group in enumerate(param_groups):
            options = self._options_of(group)
            try:
                live = self._on_device is not None and not is_constant(options)
                changed = live or options != self._options[k]
            except (TypeError, ValueError, RuntimeError):  # an array among them is neither equal nor not
                changed = True
            if changed and not self._read_options(k, group, options, optimizer.rule_of):
                return False
        grads = list(map(_grad, self._params))
        if self._shards and not localize(self._shards, grads):
            return False
        if (
            self._mask is None
            or (self._resting and any_given(map(grads.__getitem__, self._resting)))
            or (self._counters.shared and self._counters.read_shared())
        ):
            self._select(mask_of(grads))
        if self._only.bind(grads) if self._only is not None else self._bind_launchers(grads):
            return True
        mask = mask_of(grads)
        if mask == self._mask:
            return False
        self._select(mask)
        return self._bind_launchers(grads)

    def _bind_launchers(self, grads: list[Tensor | None]) -> bool:
        pairs = zip(self._launchers, self._slices, strict=True)
        return all(launcher.bind(grads[part]) for launcher, part in pairs)

    def _select(self, mask: bytes) -> None:
        """Let a step take the members that have a gradient: the plan of them all stays as it is."""
        known = self._selections.take(mask)
        self._mask, self._resting, self._places = mask, known.resting, known.places
        for launcher, rows in zip(self._launchers, known.places, strict=True):
            launcher.select(rows)
        if self._on_device is not None:
            self._on_device.select(known.places)

    def _read_options(
        self, k: int, group: Mapping[str, Any], options: tuple[Any, ...], rule_of: RuleOf
    ) -> bool:
        request = self._requests[k]
        if self._on_device is not None:
            self._options[k] = options if is_constant(options) else None
            return self._on_device.read_options(k, group)
        rule = rule_of(group)
        if not same_kernel(rule, request.rule) or request.differentiable != self._differentiable[k]:
            return False
        self._rules[k], self._envelopes[k] = rule, group_envelope(group, self.groups.options)
        self._rows.forget()
        # An option that may change in place (a tensor, a list) is read anew at every step.
        self._options[k] = options if is_constant(options) else None
        return True

    def run(
        self, unscale: float = 1.0, found_inf: bool | None = None, measured: Untouched | None = None
    ) -> StepInfo:
        """Execute the step that `bind` prepared; a scalar that cannot be computed raises before any change.

        Args:
            unscale: the factor on all gradients, one over the loss scale.
            found_inf: whether GradScaler has found a gradient that is not finite; None without one.
            measured: what remembers rows between measured steps, if this is one.
        """
        observer = None if measured is None else self._observer(measured, unscale, self._rules)
        words = None
        if self._norm.needed or found_inf is not None:
            words, found_inf = self._norm.measure(found_inf)
        norm, factor = (None, 1.0) if words is None else self._clip(words, unscale)
        reason = reason_to_skip(self.groups, norm, bool(found_inf))
        if reason is None:
            scale = unscale * factor
            if scale > _LARGEST:
                raise ValueError(f"the factor on the gradients is too large for float32: {scale!r}")
            assert isinstance(self._counters, Counters)
            rows = self._rows.next(self._counters, self._rules, self._envelopes)
            for launcher in self._launchers:
                launcher.stage(rows)
            if self._sums is not None:
                self._sums.take(rows, self._places, scale)
            if observer is not None:
                members = [self._members[part] for part in self._slices]
                for here, places in reversed(list(zip(members, self._places, strict=True))):
                    observer.read(here, places, rows)
            # Kernels last: the other launchers run code that may raise.
            for k in reversed(range(len(self._launchers))):
                if observer is None:
                    self._launchers[k].launch(scale)
                else:
                    observer.launch(self._launchers[k], members[k], scale)
                self._made = []
            self._counters.advance(rows)
            if self._sums is not None:
                self._sums.keep()
            if observer is not None:
                observer.finish(self._all_shards)
            self._made = []
        for launcher in self._launchers:
            launcher.unbind()
        record(self.groups, None if found_inf else norm)
        self.measured = {} if observer is None else observer.measured
        return StepInfo(norm, factor, reason is not None, reason)

    def run_on_device(
        self,
        scale: Tensor | None,
        found_inf: Tensor | None,
        rule_of: RuleOf,
        measured: Untouched | None = None,
    ) -> DeviceInfo:
        """Launch the step that `bind` prepared, without waiting for the device.

        Args:
            scale: the loss scale by which gradients are to be divided.
            found_inf: not 0 where a gradient was found not to be finite.
            rule_of: the rule that a group's options stand for; kept, it would keep the optimizer alive.
            measured: as of `run`; a measured step does wait.
        """
        on_device = self._on_device
        assert on_device is not None
        self._norm.gather()
        self.measured = {}
        if measured is not None:
            unscale = 1.0 if scale is None else 1 / (float(scale) or 1.0)
            observer = self._observer(measured, unscale, list(map(rule_of, self.groups.param_groups)))
            observer.around(lambda: on_device.run(self._norm.wanted, scale, found_inf), self._members)
            observer.finish(self._all_shards)
            info = on_device.info
            self.measured = {} if info.read().skipped else observer.measured
        else:
            info = on_device.run(self._norm.wanted, scale, found_inf)
        self._made = []
        for launcher in self._launchers:
            launcher.unbind()
        return info

    def _observer(self, measured: Untouched, unscale: float, rules: Sequence[Rule]) -> Observer:
        """What measures a step, by the rules of the groups as they are."""

        def of(member: ParamState) -> tuple[Rule, Mapping[str, Any]]:
            k = self._group_of[id(member.p)]
            return rules[k], self.groups.param_groups[k]

        return Observer(self.groups, of, unscale, measured)

    def rollback(self) -> bool:
        """Delete the state allocated for a step that was skipped or raised; whether there was any.

        SGD infers its first step from missing state. The plan then no longer holds.
        """
        for p, keys in self._made:
            state = self.groups.state.get(p, {})
            for key in keys:
                state.pop(key, None)
            if not state:
                self.groups.state.pop(p, None)
        return bool(self._made)

    def _clip(self, words: Any, unscale: float) -> tuple[float, float]:
        """The norm of all gradients, and the factor that clips it."""
        norm = exact.root(words) * unscale
        return norm, self._clip_factor(norm)
