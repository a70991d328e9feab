"""The reference beside boxes as their papers print them."""

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
from box_support import PRINTED, corrected, printed
from rule_cases import gradients, parameters, run_reference

from adamas.rules import (
    Adan,
    AdEMAMix,
    ScheduleFreeAdamW,
    ScheduleFreeSGD,
)

STEPS, N = 40, 30


def assert_same(actual: np.ndarray, expected: np.ndarray) -> None:
    """The same formula, in another order of operations: some roundings a step, with cancellation in m."""
    np.testing.assert_allclose(actual, expected, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("name", PRINTED)
def test_boxes_that_neither_has(name: str) -> None:
    p, grads = parameters(N), gradients(STEPS, N)
    assert_same(run_reference(PRINTED[name], p, grads)[-1][0], printed(PRINTED[name], p, grads))


def by_points(rule: ScheduleFreeSGD | ScheduleFreeAdamW, p: np.ndarray, grads: np.ndarray) -> Any:
    """x and y of the schedule-free methods with x and z as they are printed."""
    x, z, y, v, total, largest = p, p, p, np.zeros_like(p), 0.0, 0.0
    beta = rule.momentum if isinstance(rule, ScheduleFreeSGD) else rule.beta1
    for t, g in enumerate(grads, start=1):
        lr = rule.lr * min(1, t / max(rule.warmup, 1))
        if isinstance(rule, ScheduleFreeAdamW):
            v = rule.beta2 * v + (1 - rule.beta2) * g**2
            g = g / (np.sqrt(corrected(v, rule.beta2, t)) + rule.eps)
        largest = max(largest, lr)
        weight = largest**rule.weight_lr_power * t**rule.r
        total += weight
        z = z - lr * (g + rule.weight_decay * y)
        x = (1 - weight / total) * x + weight / total * z
        y = (1 - beta) * z + beta * x
    return x, y


@pytest.mark.parametrize("options", [{}, {"weight_decay": 0.1, "warmup": 7, "r": 0.5, "weight_lr_power": 1}])
@pytest.mark.parametrize("rule", [ScheduleFreeSGD(lr=1e-3), ScheduleFreeAdamW(beta1=0.8)])
def test_a_difference_kept_is_the_two_points_of_the_paper(rule: Any, options: dict[str, float]) -> None:
    rule = dataclasses.replace(rule, **options)
    p, grads = parameters(N), gradients(STEPS, N)
    last = run_reference(rule, p, grads)[-1]
    for ours, expected in zip((rule.averaged(*last), last[0]), by_points(rule, p, grads), strict=True):
        assert_same(ours, expected)


def test_adan_begins_without_a_difference() -> None:
    """The weight of a difference is β2, at any β2: as the authors' code has it, and no longer optax."""
    rule = Adan(eps=0.1)
    p, grads = parameters(N), gradients(STEPS, N)
    m, u, n, last, expected = *(np.zeros_like(p) for _ in range(3)), grads[0], p
    for t, g in enumerate(grads, start=1):
        m = rule.beta1 * m + (1 - rule.beta1) * g
        u = rule.beta2 * u + (1 - rule.beta2) * (g - last)
        n = rule.beta3 * n + (1 - rule.beta3) * (g + rule.beta2 * (g - last)) ** 2
        last = g
        moved = corrected(m, rule.beta1, t) + rule.beta2 * corrected(u, rule.beta2, t)
        expected = expected - rule.lr * moved / (np.sqrt(corrected(n, rule.beta3, t)) + rule.eps)
    assert_same(run_reference(rule, p, grads)[-1][0], expected)


def test_the_slow_mean_of_ademamix_warms_up_by_half_lives() -> None:
    """Equation by equation of the paper's schedulers, of which ours are a rearrangement."""
    rule, first, last, T = AdEMAMix(warmup=20), 0.9, 0.9999, 20
    for t in range(1, 40):
        part = min(t / T, 1)
        log = math.log(first) * math.log(last) / ((1 - part) * math.log(last) + part * math.log(first))
        *_, beta3, _, _, slow, _ = rule.scalars(t)
        assert beta3 == pytest.approx(min(math.exp(log), last), rel=1e-12)
        assert slow == pytest.approx(rule.lr * rule.alpha * part * (1 - rule.beta2**t) ** 0.5, rel=1e-12)
