"""Boxes as their papers print them, with m̂ and v̂: of rules that no library among the test's has."""

from collections.abc import Callable
from typing import Any

import numpy as np

from adamas.rules import MARS, AdaBound, AdamAtan2, Grams, LaProp, QHAdam, Rule

OURS = {"beta1": 0.8, "beta2": 0.95}


def corrected(x: np.ndarray, beta: float, t: int) -> np.ndarray:
    return x / (1 - beta**t)


# The rest of a box whose m and v are those of Adam: what the parameter loses at step t.
BOXES: dict[type[Rule], Callable[..., Any]] = {
    AdamAtan2: lambda r, t, g, m, v: r.lr * r.a * np.arctan2(m, r.b * np.sqrt(v)),
    QHAdam: lambda r, t, g, m, v: (
        r.lr * ((1 - r.nu1) * g + r.nu1 * m) / (np.sqrt((1 - r.nu2) * g**2 + r.nu2 * v) + r.eps)
    ),
    Grams: lambda r, t, g, m, v: r.lr * np.sign(g) * np.abs(m / (np.sqrt(v) + r.eps)),
    MARS: lambda r, t, g, m, v: r.lr * m / (np.sqrt(v) + r.eps),
    AdaBound: lambda r, t, g, m, v: (
        np.clip(
            r.lr / (np.sqrt(v) + r.eps / np.sqrt(1 - r.beta2**t)) / (1 - r.beta1**t),
            r.final_lr - r.final_lr / (r.gamma * t + 1),
            r.final_lr + r.final_lr / (r.gamma * t),
        )
        * (m * (1 - r.beta1**t))
    ),
}


def printed(rule: Any, p: np.ndarray, grads: np.ndarray) -> np.ndarray:
    """A box as it is printed, with m̂ and v̂."""
    m, v, last = np.zeros_like(p), np.zeros_like(p), np.zeros_like(p)
    for t, g in enumerate(grads, start=1):
        c = g + rule.gamma * rule.beta1 / (1 - rule.beta1) * (g - last) if isinstance(rule, MARS) else g
        last = g
        v = rule.beta2 * v + (1 - rule.beta2) * c**2
        if isinstance(rule, LaProp):
            m = rule.beta1 * m + (1 - rule.beta1) * g / (np.sqrt(corrected(v, rule.beta2, t)) + rule.eps)
            p = p - rule.lr * corrected(m, rule.beta1, t)
        else:
            m = rule.beta1 * m + (1 - rule.beta1) * c
            moments = corrected(m, rule.beta1, t), corrected(v, rule.beta2, t)
            p = p - BOXES[type(rule)](rule, t, c, *moments)
    return p


PRINTED: dict[str, Rule] = {
    "AdamAtan2": AdamAtan2(b=0.5),
    "QHAdam": QHAdam(**OURS, nu2=0.3),
    "Grams": Grams(**OURS),
    "MARS": MARS(**OURS, gamma=0.3),
    "AdaBound": AdaBound(**OURS, gamma=0.01, eps=0.1),
    "LaProp": LaProp(**OURS, eps=0.1),
}
