"""The path of a rule on a test function, by the float64 reference."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import charts
import numpy as np

from adamas.backends import reference
from adamas.rules import Rule

__all__ = ["draw_path", "path_of"]

CURVATURE = np.array([1.0, 20.0])
START = np.array([-1.8, 1.0])
STEPS = 60
_RATES = [base * 10.0**power for power in range(-3, 2) for base in (1, 2, 5)]


def path_of(rule: Rule) -> np.ndarray[Any, Any]:
    """The points of a run, the first included: an array of (STEPS + 1, 2)."""
    states = reference.trajectory(rule, START, lambda _, p: CURVATURE * p, STEPS)
    return np.array([state.p for state in states])


def cost(p: np.ndarray[Any, Any]) -> Any:
    """The quadratic (x² + 20 y²) / 2."""
    return 0.5 * (CURVATURE * p * p).sum(-1)


def best(rule: Rule) -> tuple[Rule, np.ndarray[Any, Any]]:
    """The rule with the stepsize, of 15, whose mean cost over the run is least, and its path."""
    with np.errstate(all="ignore"):
        tried = [dataclasses.replace(rule, lr=lr) for lr in _RATES]  # type: ignore[type-var]
        paths = [path_of(each) for each in tried]
        means = [float(np.nan_to_num(cost(path), nan=np.inf).mean()) for path in paths]
    k = int(np.argmin(means))
    return tried[k], paths[k]


def draw_path(rule: Rule, path: Path) -> tuple[float, float]:
    """Write the figure of a rule; the stepsize of it, and the cost at the end."""
    chosen, points = best(rule)
    with charts.figure(path, 2, (6.8, 3.0)) as (plane, curve):
        x, y = np.meshgrid(np.linspace(-2.1, 1.2, 120), np.linspace(-1.2, 1.2, 120))
        levels = 10.0 ** np.arange(-2, 1.6, 0.4)
        plane.contour(x, y, cost(np.stack([x, y], -1)), levels, colors=charts.GREY, linewidths=0.6, alpha=0.6)
        plane.plot(*points.T, marker=".", markersize=4, linewidth=1.2)
        plane.plot(0, 0, "+", color=charts.GREY, markersize=9)
        plane.set(
            title=f"{STEPS} steps at α = {chosen.lr:g}",
            xlabel="x",
            ylabel="y",
            xlim=(-2.1, 1.2),
            ylim=(-1.2, 1.2),
        )
        curve.semilogy(np.maximum(cost(points), 1e-12))
        curve.set(title="cost (x² + 20 y²) / 2", xlabel="step")
        curve.grid(True, axis="y")
    return chosen.lr, float(cost(points[-1]))
