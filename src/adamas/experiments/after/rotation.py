"""A rotation of the parameters changes nothing for gradient descent, and slows Adam down.

With y = Qᵀ x for an orthogonal Q, the gradient in y is Qᵀ times that in x, so descent takes the same path.
Adam divides each coordinate by the size of its own gradients: where the Hessian is diagonal, that takes the
condition out of the problem; after a random rotation each coordinate has a part of every eigenvector, and it
does not. Measured on ½ Σ h_i x_i² with h from 1 to 10⁻⁴, each method at the best stepsize of a grid.
"""

from __future__ import annotations

import numpy as np
from scipy.stats import ortho_group

from adamas.backends import reference
from adamas.rules import SGD, Adam, Rule

from ..bootstrap import Estimate, ratio_of
from ..charts import BLUE, ORANGE, Chart, Line, Style
from ..claims._steps import Array
from ..findings import verdict
from . import Comparison, Learned, Value

DIMENSIONS, ROTATIONS, STEPS = 20, 10, 3_000
HESSIAN = np.logspace(0, -4, DIMENSIONS)
REACHED = 1e-3  # of the first loss: ours
SHOWN = 1e-9  # the lowest loss in the chart
ADAMS, DESCENTS = (0.003, 0.01, 0.03, 0.1, 0.3), (0.1, 0.3, 1.0, 1.9)
ROUNDING = 1e-9  # relative, of descent


def rotations() -> Array:
    """Return random orthogonal matrices, (rotations, dimensions, dimensions)."""
    return np.asarray(ortho_group.rvs(DIMENSIONS, size=ROTATIONS, random_state=np.random.default_rng(0)))


def path(rule: Rule, turns: Array) -> Array:
    """Return the loss after each step, (steps + 1, rotations), in the coordinates of these rotations."""

    def within(y: Array) -> Array:
        return np.asarray(np.einsum("rij,rj->ri", turns, y))

    def slope(t: int, y: Array) -> Array:
        return np.asarray(np.einsum("rij,ri->rj", turns, HESSIAN * within(y)))

    start = np.einsum("rij,ri->rj", turns, np.ones((len(turns), DIMENSIONS)))
    states = reference.trajectory(rule, start, slope, STEPS)
    return np.array([(HESSIAN * within(each.p) ** 2).sum(axis=1) / 2 for each in states])


def best(rules: list[Rule], turns: Array) -> Array:
    """Return the path of the rule that gets to `REACHED` in the fewest steps, the mean over rotations."""
    return min((path(rule, turns) for rule in rules), key=lambda losses: float(taken(losses).mean()))


def taken(losses: Array) -> Array:
    """Return the steps to `REACHED` times the first loss, (rotations,); all there are where it is not."""
    there = losses <= REACHED * losses[0]
    return np.where(there.any(axis=0), there.argmax(axis=0), STEPS).astype(float)


def ratio(rules: list[Rule], turns: Array) -> tuple[Estimate, Array, Array]:
    """Return the steps with rotations over those without, over rotations, and both paths."""
    plain, turned = best(rules, np.eye(DIMENSIONS)[None]), best(rules, turns)
    before = np.broadcast_to(taken(plain), len(turns))
    return ratio_of(taken(turned), before), plain, turned


def measure() -> Comparison:
    """Measure the steps of Adam and of descent to a small loss, with and without rotations."""
    turns = rotations()
    adam, plain, turned = ratio([Adam(lr=lr) for lr in ADAMS], turns)
    descent, straight, bent = ratio([SGD(lr=lr) for lr in DESCENTS], turns)
    rate = float(np.abs(bent / straight - 1).max())
    t = np.arange(STEPS + 1, dtype=float)
    chart = Chart(
        "½ Σ h x², h from 1 to 10⁻⁴",
        f"{ROTATIONS} rotations, each at its best α",
        "step",
        "loss",
        [
            Line("Adam", t, np.where(plain > SHOWN, plain, np.nan).T, Style(BLUE), "Adam"),
            Line("Adam, rotated", t, turned.T, Style(ORANGE, "dash"), "Adam, rotated"),
        ],
        log_y=True,
        finding=f"Rotated, Adam takes {adam.value:.2g} × as long",
    )
    return Comparison(
        f"to {REACHED:g} of the first loss, Adam takes {adam:.1f} × the steps after a random rotation, over "
        f"{ROTATIONS} of them; descent {descent.value:g} × (its paths differ by {rate:.0e}, rounding)",
        verdict([adam.above(1), rate <= ROUNDING]),
        [
            Value("gradient descent: steps, rotated over not rotated", 1.0, descent.value),
            Value("Adam: steps, rotated over not rotated (above 1)", None, adam.value),
        ],
        [chart],
    )


CLAIM = Learned(
    "A random rotation of the parameters degrades Adam, and not gradient descent",
    "Maes, Zhang, Jolicoeur-Martineau, Mitliagkas, Scieur, Lacoste-Julien & Guille-Escuret 2024, arXiv "
    "2410.19964, abstract; of transformers there, of a quadratic function here",
    "f(Q y) with QᵀQ = I: y_t = Qᵀ x_t for descent, and not for Adam",
    measure,
)
