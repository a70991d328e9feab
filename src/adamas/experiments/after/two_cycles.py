"""Adam can step to and fro for ever on ½ c x², where it does not converge.

On a 2-cycle x, -x the gradients are ±c x. Then v = c² x², and m is steady only if it changes its sign with
the gradient: m = ±c x (1 - β1) / (1 + β1). A step of 2 x = α |m| / (√v + ε) leaves

    |x| = (α / 2)(1 - β1) / (1 + β1) - ε / c,

a cycle wherever that is positive. Whether it attracts follows from the map of two steps, linearized there: it
does where all its eigenvalues lie inside the unit circle.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from adamas.backends import reference
from adamas.rules import Adam

from ..charts import BLUE, GREEN, ORANGE, Chart, Level, Line, Style
from ..claims._steps import Array
from ..findings import verdict
from . import Comparison, Learned, Value

WITHIN = 1e-9  # relative: what rounding leaves of a cycle
NEAR = 1e-3  # the perturbation, relative to x
LONG = 8_000  # steps: many times the memory of v
FAR = 0.1  # a path that ends so near the cycle, relative to x, is attracted, and one that ends farther is not


@dataclass(frozen=True)
class Case:
    """The hyperparameters and the curvature c."""

    alpha: float
    beta1: float
    beta2: float
    eps: float
    c: float

    @property
    def rule(self) -> Adam:
        """Adam without bias correction, as it is after many steps."""
        return Adam(self.alpha, self.beta1, self.beta2, self.eps, bias_correction=False)

    def __str__(self) -> str:
        return f"α {self.alpha:g}, β ({self.beta1:g}, {self.beta2:g}), ε {self.eps:g}, c {self.c:g}"


def cases() -> Iterator[Case]:
    """Yield hyperparameters of which the cycle exists."""
    for beta1, beta2 in ((0.9, 0.999), (0.9, 0.99), (0.5, 0.9), (0.2, 0.5), (0.0, 0.999), (0.9, 0.5)):
        for alpha, eps, c in ((1e-3, 1e-8, 1.0), (0.1, 1e-3, 10.0)):
            yield Case(alpha, beta1, beta2, eps, c)


def amplitude(case: Case) -> float:
    """Return |x| of the cycle."""
    return case.alpha / 2 * (1 - case.beta1) / (1 + case.beta1) - case.eps / case.c


def state_of(case: Case, x: float) -> tuple[float, float, float]:
    """Return x, m and v of the cycle, just before the step from x to -x."""
    g = case.c * x
    return x, -g * (1 - case.beta1) / (1 + case.beta1), g**2


def after(case: Case, state: Array, steps: int) -> Array:
    """Return (x, m, v) after so many steps, for columns of states."""
    taken = reference.trajectory(
        case.rule, state[0], lambda t, x: case.c * x, steps, slots=(state[1], state[2])
    )
    last = next(itertools.islice(taken, steps, None))
    return np.array([last.p, *last.slots])


def radius(case: Case) -> float:
    """Return the largest modulus of an eigenvalue of the map of two steps, by central differences."""
    start = np.array(state_of(case, amplitude(case)))
    scale, h = np.abs(start), 1e-6
    moved = start[:, None] + np.concatenate([np.diag(h * scale), -np.diag(h * scale)], axis=1)
    ends = after(case, moved, 2) / scale[:, None]
    return float(np.abs(np.linalg.eigvals((ends[:, :3] - ends[:, 3:]) / (2 * h))).max())


def attracts(case: Case) -> bool:
    """Return whether paths from near the cycle end at it."""
    x = amplitude(case)
    start = np.array(state_of(case, x))
    moved = start[:, None] * (1 + NEAR * np.array([[1, -1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]))
    end = np.abs(after(case, moved, LONG)[0])
    return bool((np.abs(end / x - 1) < FAR).all())


def measure() -> Comparison:
    """Measure two steps on the cycle, and what becomes of a perturbation."""
    values, cycles, agree, attracted = [], [], [], []
    for case in cases():
        x = amplitude(case)
        start = np.array(state_of(case, x))[:, None]
        one, two = after(case, start, 1)[0, 0], after(case, start, 2)[0, 0]
        cycles.append(abs(one / x + 1) <= WITHIN and abs(two / x - 1) <= WITHIN)
        modulus, ends = radius(case), attracts(case)
        agree.append(ends == (modulus < 1))
        attracted.append(ends)
        values.append(Value(f"{case}: |x|, one step later", x, abs(float(one))))
        values.append(Value(f"{case}: it attracts where this is below 1", None, modulus))
    return Comparison(
        f"{sum(cycles)} of {len(cycles)} settings step between x and -x as predicted, within {WITHIN:g}; "
        f"{sum(attracted)} of these cycles attract paths that begin {NEAR:.1%} beside them, by "
        f"{LONG:,} steps; the eigenvalues say the same of {sum(agree)}",
        verdict([*cycles, *agree]),
        values,
        [_chart()],
    )


def _chart() -> Chart:
    """Draw where the cycle attracts, by β1."""
    beta1, lines = np.linspace(0, 0.95, 20), []
    for beta2, color in ((0.9, GREEN), (0.99, ORANGE), (0.999, BLUE)):
        moduli = np.array([[radius(Case(1.0, float(each), beta2, 0.0, 1.0)) for each in beta1]])
        lines.append(Line(f"β2 = {beta2:g}", beta1, moduli, Style(color)))
    y, edge = "largest modulus of an eigenvalue", [Level("attracts below", 1.0, Style("#000000", "dash"))]
    return Chart("A push from the cycle, over two steps", "ε = 0: any α and c", "β1", y, lines, edge)


CLAIM = Learned(
    "Adam has 2-cycles on ½ c x² for all hyperparameters; where the map of two steps contracts they attract",
    "Bock & Weiß 2022, arXiv 2210.02070, abstract; amplitude and stability are derived here",
    "|x| = (α / 2)(1 - β1) / (1 + β1) - ε / c, where positive",
    measure,
)
