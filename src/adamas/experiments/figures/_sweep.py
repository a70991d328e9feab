"""The final cost by α, for each optimizer: how much tuning it asks for."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..charts import Chart, Line, Style

__all__ = ["Finals", "sweep_chart"]

# Our choice, for the headline alone: no verdict follows from it.
NEAR = 2.0  # a final cost is near the best up to this factor


@dataclass(frozen=True, eq=False)
class Finals:
    """The final costs of a grid: `costs`, (seeds, α), at `lrs`, NaN where a run failed or has no record.

    `failed` are the α at which a run diverged.
    """

    lrs: NDArray[np.float64]
    costs: NDArray[np.float64]
    failed: Sequence[float] = ()

    def near_best(self) -> int:
        """Return the number of α whose cost is at most `NEAR` times the lowest."""
        mean = self.costs.mean(axis=0)
        return int((mean <= NEAR * np.nanmin(mean)).sum()) if np.isfinite(mean).any() else 0


def sweep_chart(
    title: str, note: str, cost: str, finals: Mapping[str, Finals], looks: Mapping[str, Style]
) -> Chart:
    """Return the chart of final costs by α; its headline counts the α near each optimizer's best."""
    lines = [
        Line(name, each.lrs, each.costs, dataclasses.replace(looks[name], marked=True), name, each.failed)
        for name, each in finals.items()
        if np.isfinite(each.costs).any() or len(each.failed)
    ]
    near = {name: each.near_best() for name, each in finals.items()}
    ranked = sorted((name for name in near if near[name]), key=lambda name: -near[name])
    counts = ", ".join(f"{name} {near[name]} of {len(finals[name].lrs)}" for name in ranked)
    finding = f"α within {NEAR:g} × the best cost: {counts}" if counts else ""
    marks = f"{note}. × at the edge: diverged" if any(len(each.failed) for each in finals.values()) else note
    return Chart(
        title,
        marks,
        "stepsize α",
        cost,
        lines,
        log_x=True,
        log_y=True,
        finding=finding,
        clip=True,
    )
