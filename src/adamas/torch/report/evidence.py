"""What the reports on a training say together: of all parameters, from the oldest report to the newest."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor

from ..measured import Measured
from ..options import as_float
from .totals import Total
from .values import ParamReport, Report

__all__ = ["Evidence", "listed", "second_decay"]


class Evidence:
    """The reports of a watch, and what the parameters were when it began.

    Attributes:
        now: the newest report.
        measured: the reports in which something was measured, from the oldest to the newest.
        start: the report of the beginning; None without a watch.
    """

    def __init__(self, reports: Sequence[Report], start: Report | None) -> None:
        self.now = reports[-1]
        self.measured = [report for report in reports if report.step is not None]
        self.start = start

    @functools.cached_property
    def totals(self) -> list[Total]:
        """Those of `measured`."""
        return [report.total for report in self.measured if report.total is not None]

    def since(self, total: Total) -> int:
        """The steps from the beginning of the watch to one that was measured."""
        began = 0 if self.start is None else max((p.steps or 0 for p in self.start.params), default=0)
        return total.step - began

    def last(self, n: int) -> list[Total]:
        """The last so many, or none where there are not so many."""
        return self.totals[-n:] if len(self.totals) >= n else []

    def names(self, holds: Callable[[ParamReport], bool], n: int = 1) -> tuple[str, ...]:
        """The parameters of which something holds in the last `n` measured reports, by name."""
        if len(self.measured) < n:
            return ()
        found = [{p.index for p in report.params if holds(p)} for report in self.measured[-n:]]
        wanted = set.intersection(*found)
        return tuple(p.label for p in self.now.params if p.index in wanted)

    def of_measured(self, holds: Callable[[Measured], bool], n: int = 1) -> tuple[str, ...]:
        """The same of parameters that were measured."""
        return self.names(lambda p: p.measured is not None and holds(p.measured), n)

    @functools.cached_property
    def growth(self) -> float | None:
        """The factor by which weights of two dimensions or more that began other than 0 have grown."""
        if self.start is None or not self.measured:
            return None
        begun = {p.index: p.reading.param_norm for p in self.start.params if len(p.shape) > 1}
        pairs = [
            (before, p.measured.param_norm)
            for p in self.measured[-1].params
            if p.measured is not None and (before := begun.get(p.index))
        ]
        if not pairs:
            return None
        before, after = (math.hypot(*each) for each in zip(*pairs, strict=True))
        return after / before

    def option(self, name: str) -> str:
        """The values that groups have of an option, as text."""
        numbers = sorted({float(g.options[name]) for g in self.now.groups if name in g.options})
        ends = dict.fromkeys([*numbers[:1], *numbers[-1:]])
        return " to ".join(f"{value:g}" for value in ends) or "not known"


def listed(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    shown = ", ".join(names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"


def second_decay(options: Mapping[str, Any]) -> float | None:
    """The decay of the second moment, by whatever name a class has it; None for no such."""
    betas = options.get("betas")
    found = (
        betas[-1] if betas else next((options[k] for k in ("beta2", "alpha", "rho") if k in options), None)
    )
    return as_float(found) if isinstance(found, (int, float, Tensor)) else None
