"""Offload: parameters and gradients on their device, masters and state on the host, stepped by its kernels.

A plan over the masters is one over parameters of the CPU: launchers, formats, averages, clipping and skipping
know nothing of the device. Around it gradients are copied in, and what the step wrote is copied out.
"""

from __future__ import annotations

import dataclasses
import itertools
import operator
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ._compat import is_distributed, is_fake, is_flat
from .device_info import DeviceInfo
from .gradients import has_own_memory
from .host import MASTER, Host, host_of, wide_dtype
from .launchers import Member
from .numbering import numbers_of
from .options import Groups, RuleOf, StepInfo
from .skips import WINDOW_KEY
from .slots import fault
from .step import Plan
from .untouched import Untouched

__all__ = ["Offloaded", "Worker", "check_offloaded", "order", "plan_of", "stand_in"]


def plan_of(
    groups: Groups,
    rule_of: RuleOf,
    before: Plan | None = None,
    clip_factor: Callable[[float], float] | None = None,
    orders: bool = True,
    info_on: Callable[[torch.device], DeviceInfo] | None = None,
) -> Plan:
    """The plan of an optimizer, offloaded or not.

    Args:
        orders: whether a step makes the current stream wait for its parameters. That of a thread beside the
            backward pass must not: its current stream may be the one that computes.
        info_on: as of `Plan`.
    """
    if groups.hosts is None:
        return Plan(groups, rule_of, before, clip_factor, info_on)
    return Offloaded(groups, rule_of, before, clip_factor, orders)


class _Shadow(NamedTuple):
    """The masters as an optimizer of their own, as far as a plan reads one."""

    param_groups: list[dict[str, Any]]
    state: dict[Tensor, Any]
    rule_of: RuleOf


class Offloaded(Plan):
    """A plan over the masters of the parameters that have had a gradient.

    The state of a master is the dictionary that the optimizer has for the parameter.
    """

    def __init__(
        self,
        groups: Groups,
        rule_of: RuleOf,
        before: Plan | None = None,
        clip_factor: Callable[[float], float] | None = None,
        orders: bool = True,
    ) -> None:
        assert groups.hosts is not None
        self._own, hosts, self._orders = groups, groups.hosts, orders
        params = list(_params(groups))
        numbers = numbers_of(params, groups)
        for p in params:
            if p.grad is not None or p in hosts:
                check_offloaded(p, groups)
                host_of(p, hosts)
        self._hosts = [hosts[p] for p in params if p in hosts]
        self._alone = [p for p in params if p not in hosts]
        self._flat = _flat(groups.param_groups)
        self._masters = [[hosts[p].master for p in g["params"] if p in hosts] for g in groups.param_groups]
        self._groups: list[dict[str, Any]] = [{} for _ in self._masters]
        self._state: dict[Tensor, Any] = defaultdict(dict)
        self._new: list[Host] = []
        shadow = dataclasses.replace(
            groups,
            param_groups=self._groups,
            state=self._state,
            hosts=None,
            numbers={id(host.master): numbers[id(host.p)] for host in self._hosts},
        )
        try:
            self._read_groups()
            self._adopt()
            self._fetch()
            super().__init__(shadow, rule_of, before, clip_factor)
        except BaseException:
            self._forget()
            raise
        for host in self._hosts:
            if host.master in self._state:
                groups.state[host.p] = self._state[host.master]

    def _read_groups(self) -> None:
        """Read the options of the groups: schedulers change them."""
        for mine, group, masters in zip(self._groups, self._own.param_groups, self._masters, strict=True):
            mine.clear()
            mine.update(group)
            mine["params"] = masters

    def _adopt(self) -> None:
        """Take the state that there is, and its masters."""
        for host in self._hosts:
            state = self._own.state.get(host.p)
            if host.kept is not None:
                state = self._own.state[host.p] if state is None else state
                stored = state.get(MASTER)
                if wrong := fault(state, MASTER, host.p):
                    raise ValueError(f"the master of a parameter {wrong}; delete its state, or load it")
                if stored is None:
                    self._new.append(host)
                host.read(stored)
                state[MASTER] = host.kept
            if state:
                self._state[host.master] = state

    def _fetch(self) -> None:
        """Bring the gradients to the host: all copies begin before the first is waited for."""
        for host in self._hosts:
            if host.master.grad is None and host.p.grad is not None:
                host.fetch(self._own.takes_sparse)
        for host in self._hosts:
            host.wait()

    def bind(self, optimizer: Any) -> bool:
        """As of `Plan`; gradients are on the host when it returns."""
        own = self._own
        flat = _flat(optimizer.param_groups)
        if (
            optimizer.param_groups is not own.param_groups
            or optimizer.state is not own.state
            or len(flat) != len(self._flat)
            or not all(map(operator.is_, flat, self._flat))
            or any(p.grad is not None for p in self._alone)
            or not all(map(self._is_as_it_was, self._hosts))
        ):
            return False
        self._read_groups()
        self._fetch()
        return super().bind(_Shadow(self._groups, self._state, optimizer.rule_of))

    def _is_as_it_was(self, host: Host) -> bool:
        return self._own.state.get(host.p) is self._state.get(host.master) and host.holds()

    def run(
        self, unscale: float = 1.0, found_inf: bool | None = None, measured: Untouched | None = None
    ) -> StepInfo:
        """As of `Plan`; parameters are being copied back when it returns."""
        info = super().run(unscale, found_inf, measured)
        if measured is not None:
            owners: dict[Tensor, Tensor] = {host.master: host.p for host in self._hosts}
            self.measured = {owners[master]: found for master, found in self.measured.items()}
        if not info.skipped:
            self._new.clear()
            for host in self._hosts:
                if host.master.grad is not None:
                    host.send()
            if self._orders:
                order(self._hosts)
        for host in self._hosts:
            host.forget()
        for mine, group in zip(self._groups, self._own.param_groups, strict=True):
            if WINDOW_KEY in mine:
                group[WINDOW_KEY] = mine[WINDOW_KEY]
        return info

    def rollback(self) -> bool:
        """As of `Plan`."""
        made = super().rollback()
        return self._forget() or made

    def _forget(self) -> bool:
        """Let go of gradients, and of masters that were put into the state for a step that was not taken."""
        for host in self._hosts:
            host.forget()
            state = self._own.state.get(host.p)
            if host in self._new and state is not None:
                state.pop(MASTER, None)
            if state is not None and not state:
                del self._own.state[host.p]
        return bool(self._new)


def order(hosts: Iterable[Host]) -> None:
    """Let what follows on the current stream, the next forward, see the parameters that were sent."""
    for moves in {id(host.moves): host.moves for host in hosts}.values():
        moves.order()


def check_offloaded(p: Tensor, groups: Groups) -> None:
    """Raise a ValueError for a parameter or an option that cannot be offloaded; nothing has changed."""
    reason = None
    if is_distributed(p) or is_flat(p):
        reason = "it is sharded; use fully_shard(..., offload_policy=CPUOffloadPolicy())"
    elif p.is_meta or is_fake(p) or p.layout != torch.strided or not has_own_memory(p):
        reason = f"it is a {type(p).__name__} without memory of its own on {p.device}"
    if reason is not None:
        raise ValueError(f"offload=True cannot step a parameter of shape {tuple(p.shape)}: {reason}")
    if any(group.get("differentiable", False) for group in groups.param_groups):
        raise ValueError("differentiable=True cannot go through copies on the host; do without offload")


def stand_in(member: Member, groups: Groups) -> Member:
    """A parameter as launchers are asked about its master, without making that."""
    if groups.hosts is None:
        return member
    p, dtype = member.p, wide_dtype(member.p.dtype)
    master = torch.empty((), dtype=dtype, device="cpu").expand(p.shape)
    copy = None if dtype == p.dtype else torch.empty((), dtype=p.dtype, device="cpu")
    return Member(master, master, None, None, copy)


class Worker:
    """A thread that steps parameters while the backward pass goes on, one after the other."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "adamas-offload")
        self._begun: list[Future[None]] = []

    def begin(self, step: Callable[[], None]) -> None:
        """Let the thread take a step after those that it was given before."""
        self._begun.append(self._thread.submit(step))

    def finish(self) -> None:
        """Wait for all steps; an error of the first that raised is raised here."""
        begun, self._begun = self._begun, []
        wait(begun)
        for each in begun:
            each.result()


def _params(groups: Groups) -> Iterator[Tensor]:
    """Every parameter once."""
    every = itertools.chain.from_iterable(group["params"] for group in groups.param_groups)
    return iter({id(p): p for p in every}.values())


def _flat(param_groups: list[dict[str, Any]]) -> list[Any]:
    """All that says which parameter is in which group, to be compared by identity."""
    return [*itertools.chain(*((group, *group["params"], None) for group in param_groups))]
