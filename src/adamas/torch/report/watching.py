"""The watching of an optimizer: which steps are measured, where their reports go, and what is warned of."""

from __future__ import annotations

import dataclasses
import numbers
import warnings
import weakref
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from ..measured import Measured
from .diagnosis import MEMORY, diagnose
from .sinks import Sink, sink_of
from .values import Report

__all__ = ["DiagnosisWarning", "Watch", "Watches"]


class DiagnosisWarning(UserWarning):
    """Something is wrong with a training that is watched; the message names parameters and a remedy."""


class Watch:
    """One `watch()` of an optimizer: how often steps are measured, and where reports go.

    Attributes:
        model: the model whose parameters the optimizer's should be; None where none was given.
    """

    def __init__(self, watches: Watches, every: Any, to: Any, model: nn.Module | None) -> None:
        self._watches = watches
        self._since = 0
        self._sink: Sink | None = sink_of(to)
        self.every = every
        self.model = model

    @property
    def every(self) -> int:
        """A step in so many is measured; it may be changed at any time."""
        return self._every

    @every.setter
    def every(self, every: Any) -> None:
        if isinstance(every, bool) or not isinstance(every, numbers.Integral) or every < 1:
            raise ValueError(f"every must be a positive number of steps, got {every!r}")
        self._every = int(every)

    def remove(self) -> None:
        """Stop this watch; a second time it does nothing."""
        self._watches.remove(self)

    def _due(self) -> bool:
        """Whether so many steps have been since the last that was measured; one that was skipped was not."""
        return self._since >= self._every


def _none() -> None:
    """A reference to nothing."""


def _shapes(optimizer: Any) -> list[tuple[int, Any]]:
    """Which parameters there are, of which shapes; None for one that has none yet."""
    every = (p for group in optimizer.param_groups for p in group["params"])
    return [(id(p), None if is_lazy(p) else p.shape) for p in every]


class Watches:
    """All watches of an optimizer, what they have seen, and of what they have warned.

    An optimizer asks `due` before each step, and calls `take` after one that was measured.

    Args:
        optimizer: the optimizer.
        start: its report.

    Attributes:
        start: the report of the beginning.
        stale: whether state has been loaded since the last report.
        seen: the last reports, from the oldest to the newest.
        taken: the number of the step that was measured last, from the beginning on.
    """

    def __init__(self, optimizer: Any, start: Report) -> None:
        self.start = start
        self._each: list[Watch] = []
        self.seen: deque[Report] = deque(maxlen=MEMORY)
        self.taken = self._asked = 0
        self.stale = False
        self._ids = _shapes(optimizer)
        self._told: set[str] = set()
        # The plan of the last report: as long as it holds, parameters and formats are those of then.
        self._plan: Callable[[], Any] = _none

    def __bool__(self) -> bool:
        return bool(self._each)

    def add(self, every: Any, to: Any, model: nn.Module | None) -> Watch:
        """Begin a watch.

        Raises:
            TypeError: `to` is of no use.
            ValueError: `every` is not positive, or a file cannot be written.
        """
        watch = Watch(self, every, to, model)
        self._each.append(watch)
        return watch

    def remove(self, watch: Watch) -> None:
        """End a watch."""
        self._each = [each for each in self._each if each is not watch]

    @property
    def model(self) -> nn.Module | None:
        """The model that was given last."""
        return next((each.model for each in reversed(self._each) if each.model is not None), None)

    def due(self, optimizer: Any) -> bool:
        """Whether the next step is to be measured; every step is asked about once."""
        self._asked += 1
        for each in self._each:
            each._since += 1
        return any(each._due() for each in self._each)

    def take(self, optimizer: Any, measured: Mapping[Tensor, Measured]) -> None:
        """Report on a step that was measured and has been counted, and warn of what is wrong.

        Raises:
            Exception: that of a callback, or of a file that cannot be written.
        """
        self.taken = self._asked
        due = [each for each in self._each if each._due()]
        for each in due:
            each._since = 0
        plan = optimizer._plan
        ids = _shapes(optimizer)
        # What was seen before is of other parameters, or of another course of training.
        anew = self.stale or ids != self._ids
        if anew:
            self.seen.clear()
        same = self.seen and plan is not None and self._plan() is plan
        settled = self.seen[-1] if same else None
        self._plan = weakref.ref(plan) if plan is not None else _none
        self.seen.append(report := optimizer._reported(self.model, measured, reads=False, settled=settled))
        if anew:
            self.start, self.stale, self._ids = report, False, ids
        report = dataclasses.replace(report, warnings=diagnose(self.seen, self.start))
        failures = []
        for each in due:
            try:
                if each._sink is not None:
                    each._sink(report)
            except Exception as error:  # the others get theirs first
                failures.append(error)
        if failures:
            raise failures[0]
        for found in report.warnings:
            if found.kind not in self._told:
                self._told.add(found.kind)
                warnings.warn(str(found), DiagnosisWarning, stacklevel=5)
