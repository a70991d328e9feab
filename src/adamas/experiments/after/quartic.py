"""On the degenerate minimum of x⁴ / 4, Adam converges linearly where gradient descent does not.

Gradient descent in continuous time obeys x' = -x³, so that x = x₀ (1 + 2 α t x₀²)^(-1/2). Adam's v
forgets: it falls by β2 a step and no faster. Once x³ falls faster than √v, v is its memory alone, √v ∝
β2^(t/2), and x obeys x' = -α x³ / √v. A steady fall of ln |x| needs x² ∝ √v: it is ln(1 / β2) / 4 a
step, whatever α is; x³ then falls by 3/4 ln(1 / β2) a step, which is faster than √v's 1/2 indeed.
"""

from __future__ import annotations

import itertools

import numpy as np

from adamas.backends import reference
from adamas.rules import SGD, Adam, Rule

from ..charts import Chart, Line, styles
from ..claims._steps import TINY, Array
from ..findings import verdict
from . import Comparison, Learned, Value

ALPHA, START = 1e-3, 1.0
STEPS, EVERY = 40_000, 50
BETA2S = (0.999, 0.99)
LINEAR = 0.02  # the largest error of the rate; ours
DESCENT = 0.01  # of gradient descent's x; ours


def path(rule: Rule, steps: int = STEPS) -> Array:
    """Return |x| after 0, `EVERY`, 2 `EVERY`, ... steps on x⁴ / 4."""
    states = reference.trajectory(rule, np.full(1, START), lambda t, x: x**3, steps)
    return np.array([abs(float(state.p[0])) for state in itertools.islice(states, 0, None, EVERY)])


def descent(t: Array) -> Array:
    """Return x of gradient descent after t steps."""
    return np.asarray(START / np.sqrt(1 + 2 * ALPHA * START**2 * t))


def pace(beta2: float) -> float:
    """Return how much ln |x| falls in a step of Adam."""
    return float(np.log(1 / beta2) / 4)


def fallen(x: Array) -> float:
    """Return how much ln |x| falls in a step over the second half of the path: a straight line's slope."""
    half = len(x) // 2
    t = np.arange(half, len(x)) * EVERY
    return -float(np.polyfit(t, np.log(x[half:]), 1)[0])


def measure() -> Comparison:
    """Compare both with their formulas."""
    t = np.arange(0, STEPS + 1, EVERY, dtype=np.float64)
    plain = path(SGD(lr=ALPHA))
    apart = float(np.max(np.abs(plain / descent(t) - 1)))
    values = [Value(f"gradient descent: x after {STEPS:,} steps", float(descent(t)[-1]), float(plain[-1]))]
    held, lines, looks = [apart <= DESCENT], [], styles(["gradient descent", *map(str, BETA2S)])
    lines.append(Line("gradient descent", t, plain[None], looks["gradient descent"], "gradient descent"))
    for beta2 in BETA2S:
        x = path(Adam(ALPHA, 0.9, beta2, TINY), STEPS if beta2 == BETA2S[0] else STEPS // 4)
        predicted, measured = pace(beta2), fallen(x)
        held.append(abs(measured / predicted - 1) <= LINEAR)
        values.append(Value(f"Adam, β2 {beta2:g}: fall of ln |x| in a step", predicted, measured))
        label = f"Adam, β2 = {beta2:g}"
        lines.append(Line(label, t[: len(x)], x[None], looks[str(beta2)], label))
    chart = Chart(
        "x⁴ / 4", f"α = {ALPHA:g}, from {START:g}", "step", "|x|", lines, log_y=True,
        finding="Adam's |x| falls by the same factor every step, gradient descent's ever less",
    )  # fmt: skip
    falls = ", ".join(f"{each.measured:.3g} ({each.predicted:.3g} predicted)" for each in values[1:])
    return Comparison(
        f"gradient descent stays within {apart:.2%} of its formula ({DESCENT:.0%} allowed); ln |x| of Adam "
        f"falls by {falls} a step at β2 {', '.join(map(str, BETA2S))} (within {LINEAR:.0%})",
        verdict(held),
        values,
        [chart],
    )


CLAIM = Learned(
    "On x⁴ / 4 Adam converges linearly, and gradient descent like the root of 1 / t",
    "Bai et al. 2026, arXiv 2603.09581, abstract; the rate of Adam is derived here",
    "gradient descent: x = x₀ (1 + 2 α x₀² t)^(-1/2); Adam: |x| ∝ β2^(t / 4)",
    measure,
)
