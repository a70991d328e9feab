"""The length of Adam's step against the size of the gradient, for the three places of ε."""

from __future__ import annotations

from pathlib import Path

import charts
import numpy as np

from adamas.backends import reference
from adamas.rules import Adam

EPS = 1e-8


def draw(path: Path) -> dict[str, str]:
    """Draw the curves at the first step; the lengths at a gradient of ε."""
    sizes = np.logspace(-14, 0, 141)
    places = ("outside", "hat", "inside")
    found = {}
    for place in places:
        rule = Adam(lr=1.0, eps=EPS, eps_placement=place)
        zero = np.zeros_like(sizes)
        found[place] = -reference.step(rule, 1, zero, sizes, reference.init(rule, zero))[0]
    with charts.figure(path) as (axes,):
        for place in places:
            axes.loglog(sizes, found[place], label=f'eps_placement="{place}"')
        axes.axvline(EPS, color=charts.GREY, linewidth=0.8, linestyle=":")
        axes.text(EPS * 1.3, 2e-6, "|g| = ε", color=charts.GREY)
        axes.set(xlabel="size of the gradient", ylabel="first step / α", ylim=(1e-6, 3))
        axes.set_title("Above ε the size of a gradient does not matter")
        axes.legend()
    at = int(np.argmin(np.abs(np.log(sizes / EPS))))
    return {place: f"{found[place][at]:.2g}" for place in places}
