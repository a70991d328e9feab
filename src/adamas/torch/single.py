"""A parameter with a plan of its own, where parameters are stepped one by one."""

from __future__ import annotations

import dataclasses
import functools
from collections import defaultdict
from collections.abc import Callable
from typing import Any, NamedTuple

from torch import Tensor

from .host import host_of
from .offload import check_offloaded, plan_of
from .options import Groups, RuleOf
from .step import Plan

__all__ = ["Single"]


class _Part(NamedTuple):
    """One parameter as an optimizer of its own, as far as a plan reads one."""

    param_groups: list[dict[str, Any]]
    state: dict[Tensor, Any]
    rule_of: RuleOf


class Single:
    """A parameter with a plan of its own, which reads the options of its group and shares its state."""

    def __init__(self, p: Tensor, group: dict[str, Any], number: int) -> None:
        self.p, self.group, self.number = p, group, number
        self.taken = -1  # the number of the last step that it took
        self.plan: Plan | None = None
        self._params, self._options = [p], dict[str, Any]()
        self._groups = [self._options]
        self._state: dict[Tensor, Any] = defaultdict(dict)

    def step(self, optimizer: Any, groups: Groups, clip_factor: Callable[[float], float] | None) -> None:
        """Take a step with the gradient there is, and free that; in an error the gradient stays."""
        self._read_options()
        self._take(optimizer, groups, clip_factor)
        self.p.grad = None

    def begin(
        self, optimizer: Any, groups: Groups, clip_factor: Callable[[float], float] | None
    ) -> Callable[[], None]:
        """Begin to copy the gradient to the host, and free it; return the step, with the options of now."""
        assert groups.hosts is not None
        self._read_options()
        check_offloaded(self.p, groups)
        host_of(self.p, groups.hosts).fetch(groups.takes_sparse)
        self.p.grad = None
        return functools.partial(self._take, optimizer, groups, clip_factor)

    def _read_options(self) -> None:
        self._options.update(self.group)
        self._options["params"] = self._params

    def _take(self, optimizer: Any, groups: Groups, clip_factor: Callable[[float], float] | None) -> None:
        p = self.p
        state = optimizer.state.get(p)
        if state is not self._state.get(p):
            self._state.clear()
            if state is not None:
                self._state[p] = state
        part = _Part(self._groups, self._state, optimizer.rule_of)
        try:
            plan = self.plan
            if plan is None or not plan.bind(part):
                own = dataclasses.replace(
                    groups, param_groups=self._groups, state=self._state, numbers={id(p): self.number}
                )
                self.plan = plan = plan_of(own, part.rule_of, plan, clip_factor, orders=False)
                if not plan.bind(part):
                    raise RuntimeError(
                        "a parameter, gradient or state changed as the step was being prepared"
                    )
            plan.run()
        except BaseException:
            if self.plan is not None:
                self.plan.rollback()
                self.plan = None
            raise
        if state is None and p in self._state:
            optimizer.state[p] = self._state[p]
