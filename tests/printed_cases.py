"""Algorithms as their papers print them, in plain NumPy, where no public package has that definition."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from adamas.rules import AdamAtan2, AdamP, QHAdam, Rule, SimplifiedAdEMAMix, Yogi

__all__ = ["PRINTED"]


def qhadam(p: Any, grads: Any, rule: QHAdam) -> Any:
    """QHAdam; pytorch_optimizer has it, but keeps the corrections of bias in float32."""
    m, v = np.zeros_like(p), np.zeros_like(p)
    for t, g in enumerate(grads, start=1):
        m = rule.beta1 * m + (1 - rule.beta1) * g
        v = rule.beta2 * v + (1 - rule.beta2) * g**2
        m_hat, v_hat = m / (1 - rule.beta1**t), v / (1 - rule.beta2**t)
        above = (1 - rule.nu1) * g + rule.nu1 * m_hat
        below = np.sqrt((1 - rule.nu2) * g**2 + rule.nu2 * v_hat) + rule.eps
        p = p - rule.lr * above / below
    return p


def adam_atan2(p: Any, grads: Any, rule: AdamAtan2) -> Any:
    """Adam with atan2 for the division."""
    m, v = np.zeros_like(p), np.zeros_like(p)
    for t, g in enumerate(grads, start=1):
        m = rule.beta1 * m + (1 - rule.beta1) * g
        v = rule.beta2 * v + (1 - rule.beta2) * g**2
        m_hat, v_hat = m / (1 - rule.beta1**t), v / (1 - rule.beta2**t)
        p = p - rule.lr * rule.a * np.arctan2(m_hat, rule.b * np.sqrt(v_hat))
    return p


def simplified_ademamix(p: Any, grads: Any, rule: SimplifiedAdEMAMix) -> Any:
    """With the warm-up of β1, which optax leaves out.

    pytorch_optimizer has it, but m as a mean, and divides by the root of the correction of v, where v̂ under
    the root multiplies by it.
    """
    m, v = np.zeros_like(p), np.zeros_like(p)

    def half_life(beta: float) -> float:
        return math.log(0.5) / math.log(beta)

    for t, g in enumerate(grads, start=1):
        part = min(t / rule.warmup, 1) if rule.warmup else 1.0
        half = (1 - part) * half_life(rule.first_beta1) + part * half_life(rule.beta1)
        m = 0.5 ** (1 / half) * m + g
        v = rule.beta2 * v + (1 - rule.beta2) * g**2
        p = p - rule.lr * (m + rule.alpha * g) / (np.sqrt(v / (1 - rule.beta2**t)) + rule.eps)
    return p


def adamp(p: Any, grads: Any, rule: AdamP) -> Any:
    """Algorithm 2, each row a weight of its own; both public codes project all rows of a tensor or none."""
    rows = p.reshape(len(p), -1).copy() if p.ndim > 1 else p.reshape(1, -1).copy()
    m, v = np.zeros_like(rows), np.zeros_like(rows)
    for t, g in enumerate(grads, start=1):
        for w, gradient, mean, square in zip(rows, g.reshape(rows.shape), m, v, strict=True):
            mean[:] = rule.beta1 * mean + (1 - rule.beta1) * gradient
            square[:] = rule.beta2 * square + (1 - rule.beta2) * gradient**2
            step = mean / (1 - rule.beta1**t) / (np.sqrt(square / (1 - rule.beta2**t)) + rule.eps)
            decay = rule.weight_decay
            cosine = abs(w @ gradient) / (np.linalg.norm(w) * np.linalg.norm(gradient))
            if cosine < rule.delta / math.sqrt(w.size):
                along = w / np.linalg.norm(w)
                step, decay = step - (along @ step) * along, decay * rule.wd_ratio
            w[:] = w - rule.lr * (step + decay * w)
    return rows.reshape(p.shape)


def yogi(p: Any, grads: Any, rule: Yogi) -> Any:
    """Algorithm 2, without corrections of bias, which all public codes have."""
    m, v = np.zeros_like(p), np.full_like(p, rule.initial_accumulator_value)
    for g in grads:
        m = rule.beta1 * m + (1 - rule.beta1) * g
        v = v - (1 - rule.beta2) * np.sign(v - g**2) * g**2
        p = p - rule.lr * m / (np.sqrt(v) + rule.eps)
    return p


BETAS: dict[str, Any] = {"lr": 0.01, "beta1": 0.8, "beta2": 0.95}
PRINTED: list[tuple[Callable[[Any, Any, Any], Any], Rule]] = [
    (qhadam, QHAdam()),
    (qhadam, QHAdam(**BETAS, nu1=0.6, nu2=0.7, eps=0.1)),
    (adam_atan2, AdamAtan2()),
    (adam_atan2, AdamAtan2(**BETAS, a=2, b=0.5)),
    (simplified_ademamix, SimplifiedAdEMAMix(beta2=0.95, alpha=10, eps=0.1)),
    (simplified_ademamix, SimplifiedAdEMAMix(beta1=0.99, alpha=2, warmup=30)),
    (adamp, AdamP(**BETAS, delta=1.5, weight_decay=0.1, wd_ratio=0.5, eps=0.1)),
    (yogi, Yogi(bias_correction=False)),
    (yogi, Yogi(**BETAS, initial_accumulator_value=0.25, bias_correction=False)),
]
