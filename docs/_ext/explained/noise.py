"""A noisy quadratic: with a fixed stepsize the cost ends at a floor that the stepsize sets."""

from __future__ import annotations

from pathlib import Path

import charts
import numpy as np

from adamas.backends import reference
from adamas.rules import Adam

STEPS, COUNT = 3000, 256
RATES = (0.1, 0.01)


def costs_of(lr: float) -> np.ndarray:
    """The mean cost |p|²/2 of independent coordinates whose gradient is p and noise of deviation 1."""
    random = np.random.default_rng(0)
    states = reference.trajectory(
        Adam(lr=lr), np.full(COUNT, 3.0), lambda t, p: p + random.standard_normal(COUNT), STEPS
    )
    return np.array([0.5 * np.mean(state.p**2) for state in states])


def draw(path: Path) -> dict[str, str]:
    """Draw a run of each stepsize; their floors."""
    found = {lr: costs_of(lr) for lr in RATES}
    floors = {lr: float(found[lr][-STEPS // 3 :].mean()) for lr in RATES}
    with charts.figure(path) as (axes,):
        for lr in RATES:
            (line,) = axes.loglog(np.arange(1, STEPS + 2), found[lr], label=f"α = {lr:g}")
            axes.axhline(floors[lr], color=line.get_color(), linewidth=0.8, linestyle=":")
        axes.set(xlabel="step", ylabel="cost above the minimum")
        axes.set_title("Smaller stepsizes take longer, and end lower")
        axes.legend()
    return {
        "large": f"{floors[RATES[0]]:.3f}",
        "small": f"{floors[RATES[1]]:.4f}",
        "ratio": f"{floors[RATES[0]] / floors[RATES[1]]:.0f}",
    }
