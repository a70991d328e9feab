"""The order of a step: bind, measure, stage, launch, count; or roll back."""

from __future__ import annotations

import itertools
import math
import operator
import warnings
from collections.abc import Hashable, Iterable, Mapping, Sequence
from itertools import chain, repeat
from typing import Any

import torch
from torch import Tensor

from .. import formats
from ..backends import host_carry, host_scalars, same_form, uses_names, watch
from ..rules import SIGNED, Rule
from ._compat import is_dense, is_distributed, is_fake
from .counters import Counters, Selection, counter_keys
from .gradients import check_grad, dense_grad, has_own_memory
from .launchers import IDLE, Launcher, ParamState, Request, StepScalars, choose
from .options import AVERAGE, Groups, StepInfo, group_envelope, is_constant
from .state import allocate, as_format, has_shape_of, slot_format

__all__ = ["Plan", "SlowPathWarning"]

_grad = operator.attrgetter("grad")
_params_of = operator.itemgetter("params")
_unbind = operator.methodcaller("unbind")

# Sentinel: otherwise moving a parameter to the next group leaves the flattened list equal.
_END = (object(),)

# Squares of gradients times this, or its inverse, are in the range of float64 whatever the gradients are.
_RESCALE = 2.0**-600
# Sets of active members that a plan remembers.
_REMEMBERED = 16
_LARGEST = torch.finfo(torch.float32).max


class SlowPathWarning(UserWarning):
    """Parameters are updated by something slower than a kernel; the message says why, and what would help."""


class Plan:
    """The parameters of an optimizer that have had a gradient, in launchers, and their counters.

    Making one allocates the state that is missing. It holds as long as the parameters, their groups and
    their state stay the same, and no parameter has its first gradient, which `bind` checks at every step;
    which parameters have a gradient, the options of the groups and all addresses are read at every step.
    """

    def __init__(self, groups: Groups, before: Plan | None = None) -> None:
        self.groups = groups
        param_groups, state = groups.param_groups, groups.state
        self._lists = [group["params"] for group in param_groups]
        self._options_of = operator.itemgetter(*groups.option_names)
        self._options: list[tuple[Any, ...] | None] = [None] * len(param_groups)
        rules = [groups.rule_of(group) for group in param_groups]
        self._requests = [
            Request(groups, group, rule, groups.slot_keys(rule))
            for group, rule in zip(param_groups, rules, strict=True)
        ]
        self._rules = rules
        # Names outside of it that a rule's update uses may stand for something else at the next step.
        updates = dict.fromkeys([rule.form().update for rule in rules])
        self._watches = [watch(update) for update in updates if uses_names(update)]
        self._differentiable = [request.differentiable for request in self._requests]
        self._envelopes = [group_envelope(group) for group in param_groups]
        found = [(k, p) for k, params in enumerate(self._lists) for p in dict.fromkeys(params)]
        _check_found(found, groups)
        known = set() if before is None else set(map(id, before._params))
        keys = counter_keys(groups, rules)
        members, self._idle = [], []
        for index, (k, p) in enumerate(found):
            if p.grad is not None or (id(p) in known and self._has_state(k, p, keys)):
                members.append((index, k, p))
            else:
                self._idle.append(p)
        self._made: list[tuple[Tensor, list[str]]] = []
        self._place(members, keys)
        states = [each.values() for each in state.values() if isinstance(each, dict)]
        self._watched = [*chain(*zip(self._lists, repeat(_END))), state.values(), *states, _END]
        self._found = list(chain.from_iterable(self._watched))
        self._mask: bytes | None = None
        self._resting: list[int] = []
        self._selections: dict[bytes, tuple[Selection, list[int], list[tuple[int, ...]]]] = {}
        self._needs_grad_norm = groups.options.needs_grad_norm

    @property
    def backend(self) -> str:
        """The names of the launchers that the last step used."""
        used = {
            launcher.name
            for launcher, part in zip(self._launchers, self._slices, strict=True)
            if any((self._mask or b"")[part])
        }
        return " and ".join(sorted(used)) or "none"

    def _has_state(self, k: int, p: Tensor, counters: Mapping[str, float]) -> bool:
        """Whether a parameter without gradient has all that a step would make for it."""
        state = self.groups.state.get(p, {})
        average = [AVERAGE] if self.groups.options.average is not None else []
        return all(state.get(key) is not None for key in (*self._requests[k].slot_keys, *counters, *average))

    def _place(self, members: Sequence[tuple[int, int, Tensor]], keys: dict[str, float]) -> None:
        """Choose a launcher for every member, make the state that is missing, and make the launchers."""
        chosen = self._choose(members)
        kept = [each for each in chosen if each[0].keeps_state]
        own = [each for each in chosen if not each[0].keeps_state]
        for _, _, _, k, p in chosen:
            self._check_state(k, p)
        states = self._states(kept, keys)
        parts: dict[Hashable, list[tuple[ParamState, Request]]] = {}
        for (launcher, key, _, k, _), member in zip(kept, states, strict=True):
            parts.setdefault((launcher, key), []).append((member, self._requests[k]))
        for launcher, key, index, k, p in own:
            member = ParamState(p, {}, (), index, p)
            parts.setdefault((launcher, key), []).append((member, self._requests[k]))
        # The members of a launcher are neighbours, so that each reads a slice of the gradients.
        place = {id(p): n for n, (*_, p) in enumerate(kept)}
        self._launchers: list[Launcher] = []
        self._slices: list[slice] = []
        self._params: list[Tensor] = []
        order: list[int] = []
        for (launcher, _), part in parts.items():  # type: ignore[misc]
            params = [member.p for member, _ in part]
            self._slices.append(slice(len(self._params), len(self._params) + len(part)))
            self._params += params
            order += [place.get(id(p), -1) for p in params]
            self._launchers.append(launcher([m for m, _ in part], [request for _, request in part]))
        self._order, self._counted = order, len(kept)

    def _choose(
        self, members: Sequence[tuple[int, int, Tensor]]
    ) -> list[tuple[type[Launcher], Hashable, int, int, Tensor]]:
        """The launcher of each member and its key; parameters of one kind are asked for once."""
        answers: dict[Hashable, tuple[type[Launcher], Hashable]] = {}
        chosen = []
        for index, k, p in members:
            kind = k, _kind(p)
            answer = answers.get(kind)
            if answer is None:
                launcher, reasons = choose(p, self._requests[k])
                answer = answers[kind] = launcher, launcher.key(p, self._requests[k])
                if reasons and reasons[0] not in self.groups.told:
                    self.groups.told.add(reasons[0])
                    _warn(launcher, reasons, p, self._requests[k])
            chosen.append((*answer, index, k, p))
        return chosen

    def _check_state(self, k: int, p: Tensor) -> None:
        state = self.groups.state.get(p, {})
        for name in (*self._requests[k].slot_keys, AVERAGE):
            value = state.get(name)
            if value is not None and value.is_meta and not p.is_meta:
                raise ValueError(
                    f"the state {name!r} of a parameter is on the device 'meta', without values, and the "
                    f"parameter on {p.device}; delete that state, or load it"
                )
            if value is not None and not has_shape_of(value, p):
                raise ValueError(
                    f"the state {name!r} of a parameter has shape {tuple(value.shape)}, the parameter "
                    f"{tuple(p.shape)}; delete the state of a parameter that has changed its shape"
                )

    def _states(
        self, kept: Sequence[tuple[type[Launcher], Hashable, int, int, Tensor]], keys: dict[str, float]
    ) -> list[ParamState]:
        """The members with their state, made where missing, in its format and layout."""
        state, options = self.groups.state, self.groups.options
        slots = [request.rule.form().slots for request in self._requests]
        began, members = [], []
        for _, _, index, k, p in kept:
            slot_keys = self._requests[k].slot_keys
            names = [*slot_keys, *([AVERAGE] if options.average is not None else [])]
            mine = state[p] if names or keys else {}
            began.append(any(mine.get(key) is not None for key in slot_keys))
            made = [key for key in (*names, *keys) if mine.get(key) is None]
            if made:
                self._made.append((p, made))
            for key in keys:  # first, as torch has it
                mine.setdefault(key, None)
            layout = _dense_like(p)
            for key, slot in zip(slot_keys, slots[k].values(), strict=True):
                format = slot_format(p, key, slot, options.state_format)
                old = mine.get(key)
                mine[key] = (
                    allocate(layout, format, slot)
                    if old is None
                    else as_format(old, layout, format, slot.signed)
                )
            if options.average is not None:
                mine[AVERAGE] = _average(p, layout, mine.get(AVERAGE))
            members.append(ParamState(p, mine, names, index, layout))
        self._counters = Counters(self.groups, [(k, p) for *_, k, p in kept], began, keys)
        return members

    def bind(self, optimizer: torch.optim.Optimizer) -> bool:
        """Read gradients and options for a step; False where the plan no longer holds."""
        param_groups = self.groups.param_groups
        if (
            optimizer.param_groups is not param_groups
            or optimizer.state is not self.groups.state
            or len(param_groups) != len(self._lists)
            or not all(map(operator.is_, map(_params_of, param_groups), self._lists))
            or not all(map(operator.is_, chain.from_iterable(self._watched), self._found))
            or (self._idle and _any_given(map(_grad, self._idle)))
            or self._counters.modified_externally()
            or (self._watches and not all(map(operator.call, self._watches)))
        ):
            return False
        for k, group in enumerate(param_groups):
            options = self._options_of(group)
            try:
                changed = options != self._options[k]
            except (TypeError, ValueError, RuntimeError):  # an array among them is neither equal nor not
                changed = True
            if changed and not self._read_options(k, group, options):
                return False
        grads = list(map(_grad, self._params))
        if (
            self._mask is None
            or (self._resting and _any_given(map(grads.__getitem__, self._resting)))
            or (self._counters.shared and self._counters.read_shared())
        ):
            self._select(_mask(grads))
        if self._bind_launchers(grads):
            return True
        mask = _mask(grads)
        if mask == self._mask:
            return False
        self._select(mask)
        return self._bind_launchers(grads)

    def _bind_launchers(self, grads: list[Tensor | None]) -> bool:
        if len(self._launchers) == 1:
            return self._launchers[0].bind(grads)
        return all(
            launcher.bind(grads[part]) for launcher, part in zip(self._launchers, self._slices, strict=True)
        )

    def _select(self, mask: bytes) -> None:
        """Let a step take the members that have a gradient: the plan of them all stays as it is.

        Sets of members that take turns are remembered.
        """
        known = self._selections.get(mask)
        if known is None or self._counters.beginners or not self._counters.take(known[0]):
            if len(self._selections) >= _REMEMBERED:
                self._selections.clear()
            known = self._selections[mask] = self._new_selection(mask)
            self._counters.take(known[0])
        self._mask, self._resting = mask, known[1]
        for launcher, rows in zip(self._launchers, known[2], strict=True):
            launcher.select(rows)

    def _new_selection(self, mask: bytes) -> tuple[Selection, list[int], list[tuple[int, ...]]]:
        """The counters that a step advances, the members without a gradient, and each launcher's rows."""
        active = [False] * self._counted
        for place, on in zip(self._order, mask, strict=True):
            if place >= 0:
                active[place] = bool(on)
        selection = self._counters.group(active)
        rows = [
            IDLE if not on else selection.rows[place] if place >= 0 else 0
            for place, on in zip(self._order, mask, strict=True)
        ]
        resting = [place for place, on in enumerate(mask) if not on]
        return selection, resting, [tuple(rows[part]) for part in self._slices]

    def _read_options(self, k: int, group: Mapping[str, Any], options: tuple[Any, ...]) -> bool:
        request = self._requests[k]
        rule = self.groups.rule_of(group)
        if not _same_kernel(rule, request.rule) or request.differentiable != self._differentiable[k]:
            return False
        self._rules[k], self._envelopes[k] = rule, group_envelope(group)
        # An option that may change in place (a tensor, a list) is read anew at every step.
        self._options[k] = options if is_constant(options) else None
        return True

    def run(self, unscale: float = 1.0, found_inf: bool = False) -> StepInfo:
        """Take the step that `bind` prepared; a scalar that cannot be had raises before any change.

        Args:
            unscale: the factor on all gradients, one over the loss scale.
            found_inf: whether somebody has found a gradient that is not finite.
        """
        norm, factor = self._clip(unscale) if self._needs_grad_norm else (None, 1.0)
        skipped = found_inf or (
            norm is not None and self.groups.options.skip_nonfinite and not math.isfinite(norm)
        )
        if not skipped:
            scale = unscale * factor
            if scale > _LARGEST:
                raise ValueError(f"the factor on the gradients is too large for float32: {scale!r}")
            rows = self._next()
            for launcher in self._launchers:
                launcher.stage(rows)
            for launcher in self._launchers:
                launcher.launch(scale)
            self._counters.advance(rows)
            self._made = []
        for launcher in self._launchers:
            launcher.unbind()
        return StepInfo(norm, factor, skipped)

    def rollback(self) -> bool:
        """After a step that was not taken, delete the state allocated for it; True where there was any.

        SGD infers its first step from missing state. The plan then no longer holds.
        """
        for p, keys in self._made:
            state = self.groups.state.get(p, {})
            for key in keys:
                state.pop(key, None)
            if not state:
                self.groups.state.pop(p, None)
        return bool(self._made)

    def _clip(self, unscale: float) -> tuple[float, float]:
        """The norm of all gradients, and the factor that clips it."""
        norm = math.sqrt(self._grad_sumsq(1.0))
        if norm == 0 or norm == math.inf:  # squares left the range of float64, though perhaps no gradient did
            rescale = _RESCALE if norm else 1 / _RESCALE
            norm = math.sqrt(self._grad_sumsq(rescale)) / rescale
        norm *= unscale
        # The 1e-6, and what becomes of NaN, are those of torch.nn.utils.clip_grad_norm_.
        clip = self.groups.options.clip_norm
        factor = 1.0 if clip is None else clip / (norm + 1e-6)
        return norm, 1.0 if factor > 1 else factor

    def _grad_sumsq(self, scale: float) -> float:
        return sum([launcher.grad_sumsq(scale).item() for launcher in self._launchers])

    def _next(self) -> list[StepScalars]:
        """The scalars of this step, a row each."""
        average = self.groups.options.average
        rows: list[StepScalars] = []
        for count in self._counters.counts:
            k, carried = count.group, count.carried
            rule, envelope, taken = self._rules[k], self._envelopes[k], count.taken + 1
            t = taken if rule.counts_steps else 1 + count.began
            try:
                if carried:
                    carried = self._counters.stored(host_carry(rule, t, *carried))
                scalars = host_scalars(rule, t, *carried)
            except (ZeroDivisionError, OverflowError) as error:
                raise ValueError(f"a scalar of step {t} cannot be computed: {error!r} in {rule}") from None
            if average is not None:
                envelope = (*envelope[:3], self.groups.options.average_weight(taken))
            rows.append((rule, envelope, scalars, taken, carried))
        return rows

    def first_nonfinite(self) -> str | None:
        """The name, or the place, of the first parameter whose gradient is not finite."""
        for k, group in enumerate(self.groups.param_groups):
            given = map(repr, group.get("param_names", ()))
            names = itertools.chain(given, (f"parameter {n} of group {k}" for n in itertools.count()))
            for name, p in zip(names, group["params"], strict=False):
                if p.grad is not None and not bool(dense_grad(p, True).isfinite().all()):
                    return name
        return None


def _same_kernel(rule: Rule, other: Rule) -> bool:
    """Whether two rules of one group store and compute the same, but for their scalars.

    The kernel of a rule depends on whether its ε is large enough to hide subnormal state.
    """
    return getattr(rule, "eps", None) == getattr(other, "eps", None) and same_form(rule.form(), other.form())


def _mask(grads: Sequence[Tensor | None]) -> bytes:
    """Which gradients there are, a byte each."""
    return bytes(map(operator.is_not, grads, repeat(None)))


def _any_given(grads: Iterable[Tensor | None]) -> bool:
    return any(map(operator.is_not, grads, repeat(None)))


def _kind(p: Tensor) -> Hashable:
    """All that the choice of a launcher may depend on."""
    grad = p.grad
    return (
        type(p),
        p.dtype,
        p.device,
        p.layout,
        p.numel() >= 4096,
        p.layout == torch.strided and has_own_memory(p),
        None if grad is None else grad.dtype,
    )


def _check_found(found: Sequence[tuple[int, Tensor]], groups: Groups) -> None:
    """Raise for parameters that no launcher can update, before anything has changed."""
    if len({id(p) for _, p in found}) < len(found):
        seen: dict[int, int] = {}
        for k, p in found:
            if id(p) in seen:
                raise ValueError(
                    f"a parameter of shape {tuple(p.shape)} is in two groups, {seen[id(p)]} and {k}; "
                    f"keep it in one of them"
                )
            seen[id(p)] = k
    for _, p in found:
        if p.grad is not None:
            check_grad(p, groups.takes_sparse)
            if groups.options.needs_grad_norm and is_distributed(p):
                raise ValueError(
                    "clip_norm and skip_nonfinite would see this process's shard of a DTensor alone; clip "
                    "with torch.nn.utils.clip_grad_norm_(model.parameters(), ...) before the step instead"
                )


def _warn(launcher: type[Launcher], reasons: Sequence[str], p: Tensor, request: Request) -> None:
    """Say why no faster launcher takes a parameter."""
    if request.differentiable or p.is_meta or is_fake(p):
        return
    warnings.warn(
        f"parameters of shape {tuple(p.shape)} and alike are updated by backend {launcher.name!r}, slower "
        f"than a kernel: {reasons[0]}. Ask for backend={launcher.name!r} if that is meant",
        SlowPathWarning,
        stacklevel=8,
    )


def _dense_like(p: Tensor) -> Tensor:
    """The parameter, or a dense tensor like it where it has gaps in memory or is lazily conjugated."""
    if p.layout != torch.strided or not has_own_memory(p) or p.device.type == "meta":
        return p
    if is_dense(p) and not p.is_conj() and not p.is_neg():
        return p
    return torch.empty_like(p, requires_grad=False)


def _average(p: Tensor, layout: Tensor, old: Tensor | None) -> Tensor:
    """The running average of a parameter, in the type of the computation; at first the parameter itself."""
    real = formats.get(slot_format(p, "", SIGNED, None).name)
    if old is not None:
        return as_format(old, layout, real, True)
    dtype = torch.promote_types(p.dtype, torch.float32)
    return torch.empty_like(layout, dtype=dtype, requires_grad=False).copy_(p.detach())
