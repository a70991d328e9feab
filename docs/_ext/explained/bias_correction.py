"""The length of Adam's steps under a constant gradient, with and without bias correction."""

from __future__ import annotations

from pathlib import Path

import charts
import numpy as np

from adamas.backends import reference
from adamas.rules import Adam

STEPS = 3000


def draw(path: Path) -> dict[str, str]:
    """Draw both curves; the first step and the longest, in units of α."""
    lengths = {}
    for corrected in (True, False):
        rule = Adam(lr=1.0, bias_correction=corrected)
        states = reference.trajectory(rule, np.zeros(1), lambda t, p: np.ones(1), STEPS)
        lengths[corrected] = -np.diff([state.p[0] for state in states])
    with charts.figure(path) as (axes,):
        for corrected, label in ((True, "with correction"), (False, "without")):
            axes.semilogx(np.arange(1, STEPS + 1), lengths[corrected], label=label)
        axes.set(xlabel="step", ylabel="step length / α", ylim=(0, None))
        axes.set_title("A constant gradient should give steps of α")
        axes.grid(True)
        axes.legend()
    without = lengths[False]
    return {
        "first": f"{without[0]:.2f}",
        "longest": f"{without.max():.2f}",
        "longest_at": str(int(without.argmax()) + 1),
        "late": f"{without[-1]:.2f}",
    }
