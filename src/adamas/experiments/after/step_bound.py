"""The longest step that Adam can take: what holds in the place of section 2.1's two bounds.

With ε = 0 a step is Δ_t / α = Σ_k w_k g_k / √(Σ_k u_k g_k²), where w_k = (1 - β1) β1^(t-k) / (1 - β1^t)
and u_k = (1 - β2) β2^(t-k) / (1 - β2^t) are the weights of m̂ and v̂. By the Cauchy-Schwarz inequality
of the vectors w_k / √u_k and √u_k g_k it is at most √(Σ_k w_k² / u_k), with equality for g_k
proportional to w_k / u_k, which is to (β1 / β2)^(t-k). The sum is a geometric one: where β1² < β2 it
tends to (1 - β1) / √((1 - β2)(1 - β1² / β2)). Where β1 = β2, w = u, and it is 1 at every step.
"""

from __future__ import annotations

import numpy as np

from adamas.rules import Adam

from ..charts import BLUE, GREEN, ORANGE, PINK, Chart, Level, Line, Style
from ..claims._steps import ROUNDING, TINY, Array, kinds, steps
from ..findings import verdict
from . import Comparison, Learned, Value

PAIRS = ((0.9, 0.999), (0.9, 0.99), (0.0, 0.999), (0.95, 0.95))
TIMES = (1, 2, 10, 100, 1_000)
LONG = 20_000  # steps: 1 - .999^t is 1 within 1e-8 after them
WITHIN = 1e-9  # of the bound: thousands of roundings


def weights(beta: float, t: int) -> Array:
    """Return the bias-corrected weights of t gradients, (t,)."""
    ages = np.arange(t)[::-1]
    return np.asarray((1 - beta) * beta**ages / (1 - beta**t))


def bound(beta1: float, beta2: float, t: int) -> float:
    """Return the bound on |Δ_t| / α."""
    # Where β1 is 0 all but the last weight vanish, and w² / u is then 0 too.
    return float(np.sqrt((weights(beta1, t) ** 2 / weights(beta2, t)).sum()))


def limit(beta1: float, beta2: float) -> float:
    """Return the limit of the bound as t grows, for β1² < β2."""
    return float((1 - beta1) / np.sqrt((1 - beta2) * (1 - beta1**2 / beta2)))


def printed(beta1: float, beta2: float) -> float:
    """Return the larger of the two bounds of section 2.1."""
    return max(float((1 - beta1) / np.sqrt(1 - beta2)), 1.0)


def attained(beta1: float, beta2: float, t: int) -> float:
    """Return |Δ_t| / α for the gradients of the longest step."""
    ages = np.minimum(np.arange(t)[::-1], 600)  # beyond, the power is below all that float64 can add
    gradients = (beta1 / beta2) ** ages
    return float(abs(steps(Adam(1.0, beta1, beta2, TINY), gradients[:, None])[-1, 0]))


def longest(beta1: float, beta2: float, count: int, elements: int) -> float:
    """Return the largest |Δ_t| / α over its bound, over random gradients with gaps and outliers."""
    random = np.random.default_rng(1)
    ratios = []
    bounds = np.array([bound(beta1, beta2, t) for t in range(1, count + 1)])
    for gradients in kinds(count, elements).values():
        rare = gradients * (random.uniform(size=gradients.shape) < 0.02)
        heavy = gradients * random.standard_cauchy(gradients.shape)
        for each in (gradients, rare, heavy):
            lengths = np.abs(steps(Adam(1.0, beta1, beta2, TINY), each))
            ratios.append(float((lengths / bounds[:, None]).max()))
    return max(ratios)


def measure() -> Comparison:
    """Measure the longest step for gradients that attain the bound, and for others."""
    values, held = [], []
    for beta1, beta2 in PAIRS:
        for t in TIMES:
            predicted, measured = bound(beta1, beta2, t), attained(beta1, beta2, t)
            held.append(abs(measured / predicted - 1) <= WITHIN)
            if (beta1 == 0.9 and beta2 == 0.999) or t == TIMES[-1]:
                values.append(Value(f"β1 {beta1:g}, β2 {beta2:g}, t = {t:,}", predicted, measured))
        held.append(longest(beta1, beta2, 300, 50) <= 1 + ROUNDING)
    asymptotic, far = limit(0.9, 0.999), attained(0.9, 0.999, LONG)
    values.append(Value(f"β1 0.9, β2 0.999, limit; measured at t = {LONG:,}", asymptotic, far))
    held.append(abs(far / asymptotic - 1) <= 1e-6)
    others = max(longest(beta1, beta2, 300, 50) for beta1, beta2 in PAIRS)
    return Comparison(
        f"the longest step at the defaults is {far:.3g} α, where the paper prints "
        f"{printed(0.9, 0.999):.3g} α; gradients proportional to w / u attain the bound within {WITHIN:g} at "
        "every β and t tried; no random gradients, rare or heavy-tailed ones among them, exceed it (at most "
        f"{others:.3g} of it)",
        verdict(held),
        values,
        [_chart()],
    )


def _chart() -> Chart:
    """Draw the bound by t, with the steps that attain it at some, and what the paper prints."""
    times, some = np.unique(np.geomspace(1, 3_000, 60).astype(int)), np.array([1, 3, 10, 30, 100, 300, 1_000])
    lines = []
    for (beta1, beta2), color in zip(
        ((0.9, 0.999), (0.9, 0.99), (0.95, 0.95)), (BLUE, GREEN, ORANGE), strict=True
    ):
        bounds = np.array([[bound(beta1, beta2, int(t)) for t in times]])
        lines.append(Line(f"bound, β1 {beta1:g}, β2 {beta2:g}", times.astype(float), bounds, Style(color)))
    found = np.array([[attained(0.9, 0.999, int(t)) for t in some]])
    lines.append(Line("attained, β1 0.9, β2 0.999", some.astype(float), found, Style("#000000", "dot", 1.0)))
    levels = [Level("printed for β1 0.9, β2 0.999", printed(0.9, 0.999), Style(PINK, "dash"))]
    return Chart("The longest step", "", "step t", "|Δ_t| / α", lines, levels, log_x=True)


CLAIM = Learned(
    "A step is at most α √(Σ w² / u), and there are gradients for which it is that long",
    "derived here (Cauchy-Schwarz); for the place of Kingma & Ba 2014, section 2.1",
    "|Δ_t| / α ≤ √(Σ_k w_k² / u_k) → (1 - β1) / √((1 - β2)(1 - β1² / β2)) where β1² < β2",
    measure,
)
