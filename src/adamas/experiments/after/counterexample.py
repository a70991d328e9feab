"""Adam can go to the worst point of a convex problem, and AMSGrad does not (Reddi, Kale & Kumar 2018).

Costs on [-1, 1] are C x in one round of three and -x in the others: of a cycle (C - 2) x, lowest at -1
for C > 2. With β1 = 0 and β2 = 1 / (1 + C²), v after the large gradient is near C² (1 - β2), so that its
step is about α; v forgets at once, and the two steps the other way, α / √2 and α, are together longer. Adam
ends at +1, where it pays C - 2 too much and misses C - 2 more a cycle, 2 (C - 2) / 3 a round. AMSGrad keeps
the largest v. See also the figure `counterexample`.
"""

from __future__ import annotations

from adamas.rules import Adam, AMSGrad, Rule

from ..findings import verdict
from ..runs.online import Online
from . import Comparison, Learned, Value

SIZES = (3.0, 4.0, 10.0)  # C
ROUNDS = 9_000
NEAR = 0.05  # of an end, and of the predicted regret: ours


def played(rule: Rule, size: float) -> tuple[float, float]:
    """Return x and the mean regret a round at the end."""
    options = (("large", size), ("order", "in turn"), ("period", 3), ("small", 1.0))
    last = Online("reddi", options, rule, 1.0, ROUNDS, 0).execute().epochs[-1]
    return float(last["x"] or 0.0), float(last["average_regret"] or 0.0)


def regret(size: float) -> float:
    """Return the regret a round of whoever stays at +1."""
    return 2 * (size - 2) / 3


def measure() -> Comparison:
    """Play both rules on problems made for their β2."""
    values, held, texts = [], [], []
    for size in SIZES:
        beta2 = 1 / (1 + size**2)
        adam, paid = played(Adam(0.1, 0.0, beta2, 1e-8), size)
        ams, _ = played(AMSGrad(0.1, 0.0, beta2, 1e-8), size)
        held += [adam > 1 - NEAR, ams < NEAR - 1, abs(paid / regret(size) - 1) < NEAR]
        texts.append(f"C {size:g}: Adam {adam:+.2f}, AMSGrad {ams:+.2f}")
        values += [
            Value(f"C {size:g}, Adam: last x", 1.0, adam),
            Value(f"C {size:g}, Adam: regret a round", regret(size), paid),
            Value(f"C {size:g}, AMSGrad: last x", -1.0, ams),
        ]
    return Comparison(
        f"the last x after {ROUNDS:,} rounds, of which -1 is the best: {'; '.join(texts)} (ours: within "
        f"{NEAR:.0%} of an end, and of the regret)",
        verdict(held),
        values,
    )


CLAIM = Learned(
    "For every C > 2 there is a convex problem on which Adam's regret grows like T, and AMSGrad converges",
    "Reddi, Kale & Kumar 2018, arXiv 1904.09237, Theorem 1",
    "β1 = 0, β2 = 1 / (1 + C²): x → +1 where -1 is best, R(T) / T → 2 (C - 2) / 3",
    measure,
)
