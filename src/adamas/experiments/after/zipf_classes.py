"""Where classes follow Zipf's law, gradient descent learns the rare ones late, and Adam all at once.

A softmax over c classes, an input of its own for each, of which class k has the share π_k ∝ 1 / k. Its
c logits depend on no other class. With the distance z of the right logit from the others, which stay
equal, the loss is ℓ = ln(1 + (c - 1) e^-z), and descent on π_k ℓ moves z by η π_k (1 - p) c / (c - 1) a
step, where 1 - p ≈ ℓ late: so ℓ → (c - 1) / (c π_k η t). Sign descent moves z by 2 η, whatever π_k is;
and so does Adam, which a factor on its gradients does not change.
"""

from __future__ import annotations

import itertools

import numpy as np

from adamas.backends import reference
from adamas.rules import SGD, Adam, Rule

from ..charts import BLUE, GREEN, ORANGE, Chart, Line, Style
from ..claims._steps import TINY, Array
from ..findings import verdict
from . import Comparison, Learned, Value

CLASSES, SHOWN = 40, (1, 6, 40)
SHARES = 1 / np.arange(1, CLASSES + 1) / np.sum(1 / np.arange(1, CLASSES + 1))
ETA, STEPS, EVERY = 10.0, 20_000, 100
ADAM = Adam(1e-2, 0.9, 0.999, TINY)
SIGNS = 600  # steps of Adam and of sign descent
WITHIN = 0.05  # of the prediction; ours
COLORS = (BLUE, ORANGE, GREEN)


def gradient(logits: Array) -> Array:
    """Return the gradient of the mean loss, (classes of inputs, logits)."""
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    p = raised / raised.sum(axis=1, keepdims=True)
    return np.asarray(SHARES[:, None] * (p - np.eye(CLASSES)))


def losses(logits: Array) -> Array:
    """Return the loss of each class, (classes,)."""
    shifted = logits - np.diag(logits)[:, None]
    return np.asarray(np.log1p(np.exp(shifted).sum(axis=1) - 1))


def path(rule: Rule, steps: int, sign: bool = False) -> Array:
    """Return the losses of all classes every `EVERY` steps, or each step of few, (records, classes)."""
    every = EVERY if steps > 10 * EVERY else 1

    def slope(t: int, logits: Array) -> Array:
        found = gradient(logits)
        return np.sign(found) if sign else found

    states = reference.trajectory(rule, np.zeros((CLASSES, CLASSES)), slope, steps)
    return np.array([losses(state.p) for state in itertools.islice(states, 0, None, every)])


def late(share: float, t: float) -> float:
    """Return the loss of a class of this share, after t steps of gradient descent."""
    return (CLASSES - 1) / (CLASSES * share * ETA * t)


def spread(of_classes: Array) -> float:
    """Return the largest loss over the smallest, less 1."""
    return float(of_classes.max() / of_classes.min() - 1)


def measure() -> Comparison:
    """Measure the loss by class after descent, sign descent and Adam."""
    descent, adam = path(SGD(lr=ETA), STEPS), path(ADAM, SIGNS)
    signs = path(SGD(lr=ADAM.lr), SIGNS, sign=True)
    pairs = [(k, late(float(SHARES[k - 1]), STEPS), float(descent[-1, k - 1])) for k in SHOWN]
    exact = float(np.log1p((CLASSES - 1) * np.exp(-2 * ADAM.lr * SIGNS)))
    ratios = [measured / predicted for _, predicted, measured in pairs]
    apart = {"Adam": spread(adam[-1]), "sign": spread(signs[-1])}
    errors = [*(abs(each - 1) for each in (*ratios, signs[-1, 0] / exact)), *apart.values()]
    listed, numbers = ", ".join(f"{each:.3f}" for each in ratios), ", ".join(map(str, SHOWN))
    return Comparison(
        f"descent's loss of classes {numbers} is {listed} × the predicted one; between classes the "
        f"loss differs by a factor of {1 + spread(descent[-1]):.0f} there, by {apart['sign']:.1e} "
        f"of it with sign descent and {apart['Adam']:.1e} with Adam (ours: within {WITHIN:.0%})",
        verdict([each <= WITHIN for each in errors]),
        [
            *(Value(f"descent, class {k}: loss after {STEPS:,} steps", *pair) for k, *pair in pairs),
            Value(f"sign descent: loss after {SIGNS} steps", exact, float(signs[-1, 0])),
            *(Value(f"{name}: spread of the classes' losses", 0.0, each) for name, each in apart.items()),
        ],
        [_chart(descent, adam)],
    )


def _chart(descent: Array, adam: Array) -> Chart:
    lines = []
    for k, color in zip(SHOWN, COLORS, strict=True):
        t = np.arange(1, len(descent), dtype=float) * EVERY
        label = f"descent, class {k}"
        lines.append(Line(label, t, descent[None, 1:, k - 1], Style(color), label))
    t = np.arange(1, len(adam), dtype=float)
    lines.append(Line("Adam, every class", t, adam[None, 1:, 0], Style(BLUE, "dash"), "Adam, every class"))
    return Chart(
        f"{CLASSES} classes by Zipf's law",
        f"descent: η = {ETA:g}; Adam: α = {ADAM.lr:g}",
        "step",
        "loss of a class",
        lines,
        log_x=True,
        log_y=True,
        finding="Gradient descent learns rare classes last, Adam all at the same time",
    )


CLAIM = Learned(
    "With classes by Zipf's law, gradient descent learns class k like 1 / (π_k t), Adam all equally",
    "Kunstner, Yadav, Milligan, Schmidt & Bietti 2024, arXiv 2402.19449, abstract; constants derived here",
    "gradient descent: ℓ_k → (c - 1) / (c π_k η t); sign descent: ℓ_k = ln(1 + (c - 1) e^(-2 η t))",
    measure,
)
