"""The making of a plan: its members, a launcher for each, missing state, and the counters of their steps."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..rules import Rule
from ._compat import has_overlap
from .counters import Counters, counter_keys, counter_type
from .device_counters import CounterStore, DeviceCounters
from .kept import kept_of
from .launchers import Launcher, Member, ParamState, Request
from .members import Kind, check_state, kinds_of, make_state, missing_names
from .numbering import numbers_of
from .options import AVERAGE, Groups
from .slots import fault, find

__all__ = ["Made", "Placement", "place"]

# Parameters, and the keys of the state that was made for each.
Made = list[tuple[Tensor, Sequence[str]]]
_Found = tuple[Member, Kind, dict[str, Any] | None]


@dataclass(eq=False, slots=True)
class Placement:
    """The members of a plan, ordered by launcher, so that each launcher reads a slice of the gradients.

    Attributes:
        states: the members; the first `counted` have counters here, the others' launchers count for them.
        idle: the parameters that are not members, because they have never had a gradient.
        launchers, slices: the launchers, and the members of each.
        counters: the steps that the members have taken.
    """

    states: list[ParamState]
    counted: int
    idle: list[Tensor]
    launchers: list[Launcher]
    slices: list[slice]
    counters: Counters | DeviceCounters


def place(
    groups: Groups,
    requests: Sequence[Request],
    rules: Sequence[Rule],
    found: Sequence[tuple[int, Member]],
    known: set[int],
    made: Made,
    counts: bool = True,
    store_on: Callable[[torch.device], CounterStore | None] | None = None,
) -> Placement:
    """Choose the members and a launcher for each, make the state that is missing, and the launchers.

    Args:
        groups, requests, rules: the optimizer's groups, and the request and rule of each.
        found: every parameter, with the number of its group.
        known: the identities of parameters that have had a gradient before.
        made: is appended to, so that the caller can roll back.
        counts: whether parameters that are no DTensors count in the norm of this process.
        store_on: where steps are counted on a device, if all launchers are there, and they may be; None where
            not, and unless given.
    """
    keys = counter_keys(groups, rules)
    index = numbers_of([member.p for _, member in found], groups)
    active = [
        member.grad is not None or (id(member.p) in known and _has_state(member.p, groups, requests[k], keys))
        for k, member in found
    ]
    members = list(itertools.compress(found, active))
    parts: dict[tuple[bool, type[Launcher], Hashable], list[_Found]] = {}
    for (_, member), kind in zip(members, kinds_of(members, requests, groups), strict=True):
        mine = groups.state.get(member.p)
        if mine:
            check_state(member.p, mine, kind)
        part = not kind.launcher.keeps_state, kind.launcher, kind.key
        parts.setdefault(part, []).append((member, kind, mine))
    ordered = [parts[part] for part in sorted(parts, key=lambda part: (part[0], part[1].rank))]
    flat = [each for part in ordered for each in part]
    kept = [each for part in ordered for each in part if each[1].launcher.keeps_state]
    device = _common_device(flat)
    store = None if device is None or store_on is None else store_on(device)
    place_of = {id(member.p): n for n, (_, member) in enumerate(found)}
    counting = keys, counter_type(rules)
    states, counters = _states(groups, kept, index, counting, made, place_of, store)
    states += [_without_state(member, index[id(member.p)]) for member, *_ in flat[len(kept) :]]
    ends = list(itertools.accumulate(map(len, ordered), initial=0))
    slices = [slice(*pair) for pair in itertools.pairwise(ends)]
    for state in states:
        state.counts &= counts or state.spread is not None
    launchers = [
        part[0][1].launcher(states[place], [requests[kind.group] for _, kind, _ in part], part[0][1].key)
        for part, place in zip(ordered, slices, strict=True)
    ]
    idle = [member.p for (_, member), on in zip(found, active, strict=True) if not on]
    return Placement(states, len(kept), idle, launchers, slices, counters)


def _without_state(member: Member, index: int) -> ParamState:
    """A parameter whose launcher keeps its state."""
    counts = member.spread is None or member.spread.counts
    return ParamState(member.p, member.local, {}, (), index, member.local, member.spread, counts=counts)


def _has_state(p: Tensor, groups: Groups, request: Request, counters: Mapping[str, float]) -> bool:
    """Whether a parameter without gradient has all that a step would make for it, and of its shape."""
    state = groups.state.get(p, {})
    slots = (*request.slot_keys, *([AVERAGE] if groups.options.average is not None else []))
    _, kept = kept_of(request.rule, groups.state_names)
    return (
        all(state.get(key) is not None for key in (*counters, *kept))
        and all(find(state, key) is not None and fault(state, key, p) is None for key in slots)
        and not (p.layout == torch.strided and has_overlap(p))
    )


def _common_device(flat: Sequence[_Found]) -> torch.device | None:
    """The device of all members, where all their launchers can step without the host; None otherwise."""
    devices = {member.local.device if kind.launcher.on_device else None for member, kind, _ in flat}
    return devices.pop() if len(devices) == 1 else None


def _states(
    groups: Groups,
    kept: Sequence[_Found],
    index: Mapping[int, int],
    counting: tuple[dict[str, float], torch.dtype],
    made: Made,
    place_of: Mapping[int, int],
    store: CounterStore | None,
) -> tuple[list[ParamState], Counters | DeviceCounters]:
    """The members with their state, made where missing, and their counters, in a store if there is one."""
    keys, dtype = counting
    began, members, states = [], [], []
    for member, kind, mine in kept:
        p = member.p
        missing: Sequence[str] = (*kind.names, *kind.kept[1], *keys)
        began.append(mine is not None and _has_any(mine, kind))
        if mine or kind.scaled:
            missing = [*missing_names(mine or {}, kind), *(k for k in keys if (mine or {}).get(k) is None)]
        if not mine:
            mine = groups.state[p] if missing else {}
        if missing:
            made.append((p, missing))
        for key in keys:  # first, as torch has it
            mine.setdefault(key, None)
        members.append(make_state(member, index[id(p)], kind, mine))
        states.append(mine)
    groups_of = [kind.group for _, kind, _ in kept]
    if store is not None:
        params = [member.p for member, *_ in kept]
        columns, device = [place_of[id(p)] for p in params], kept[0][0].local.device
        counters = DeviceCounters(
            groups, groups_of, states, began, keys, dtype, columns, params, store, device
        )
        return members, counters
    return members, Counters(groups, groups_of, states, began, keys, dtype)


def _has_any(state: Mapping[str, Any], kind: Kind) -> bool:
    """Whether there is a value for one of the rule's slots."""
    return any(find(state, key) is not None for key, *_ in kind.slots)
