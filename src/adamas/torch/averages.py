"""`averaged_parameters`: the running average of an optimizer, or that of a rule that keeps one itself."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from .. import formats
from ..rules import Rule
from .conversion import widened
from .keywords import StepOptions
from .options import AVERAGE
from .slots import find

__all__ = ["Averages"]


class Averages(torch.optim.Optimizer):
    """What an optimizer can do with the average of its parameters."""

    options: StepOptions
    # Whether parameters hold their averages now.
    _averaged = False

    @contextlib.contextmanager
    def averaged_parameters(self) -> Iterator[None]:
        """Within, every parameter holds its average; after, and after an error, its own value again.

        The average is that of `average=`, or else of a rule that keeps one, as the schedule-free rules do. A
        parameter that has not been stepped keeps its value. Within another such block nothing changes, and
        no step can be taken.

        Raises:
            RuntimeError: the optimizer keeps no averages.
        """
        if self._averaged:
            yield
            return
        with torch.no_grad():
            pairs = list(self._averages())
            saved = [p.detach().clone() for p, _ in pairs]
        try:
            self._averaged = True
            with torch.no_grad():
                for p, average in pairs:
                    p.copy_(average)
            yield
        finally:
            self._averaged = False
            with torch.no_grad():
                for (p, _), before in zip(pairs, saved, strict=True):
                    p.copy_(before)

    def _averages(self) -> Iterator[tuple[Tensor, Tensor]]:
        if self.options.average is not None:
            yield from ((p, state[AVERAGE]) for p, state in self.state.items() if AVERAGE in state)
            return
        rules = [self.rule_of(group) for group in self.param_groups]  # type: ignore[attr-defined]
        kept = [type(rule).averaged is not Rule.averaged for rule in rules]
        if not any(kept):
            raise RuntimeError("this optimizer keeps no averages: construct it with average=0.999, say")
        self.catch_up()  # type: ignore[attr-defined]
        for group, rule, keeps in zip(self.param_groups, rules, kept, strict=True):
            for p in group["params"] if keeps else ():
                if self.state.get(p):
                    yield p, self._average_of(rule, p, self.state[p])

    def _average_of(self, rule: Rule, p: Tensor, state: Mapping[str, Any]) -> Tensor:
        slots = []
        keys = self._slot_keys(rule)  # type: ignore[attr-defined]
        for key, slot in zip(keys, rule.form().slots.values(), strict=True):
            held = find(state, key)
            if held is None:
                return p
            own = held.name == "" and (held.codes.is_floating_point() or held.codes.is_complex())
            slots.append(held.codes if own else widened(held, p, formats.get("float32"), slot.signed))
        wide = state.get("master", p)
        averaged: Tensor = rule.averaged(wide.float() if wide.element_size() < 4 else wide, *slots)
        return averaged
