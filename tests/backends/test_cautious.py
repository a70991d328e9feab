"""Cautious decay: the formula of its paper in the reference, and the reference in kernels."""

from itertools import pairwise
from typing import Any

import format_support
import numpy as np
import pytest
from gpu_support import every_backend
from rule_cases import CASES, every_case, every_dtype, gradients, parameters, run_kernel, run_reference

from adamas.backends import Envelope, host_carry, reference
from adamas.rules import SGD, Rule

N, STEPS, DECAY = 67, 10, 0.01
CAUTIOUS = Envelope(cautious_decay=DECAY)


def some() -> tuple[np.ndarray, np.ndarray]:
    """Parameters, some of them zeros and very small, and gradients, some of them zeros."""
    start, grads = parameters(N), gradients(STEPS, N)
    start[:4], grads[:, ::7] = (0.0, -0.0, 1e-30, -1e-30), 0
    return start, grads


def undecayed(rule: Rule, history: list[tuple[Any, ...]], grads: np.ndarray) -> list[tuple[Any, ...]]:
    """The step without a decay from each of the states of a run."""
    found, carried = [], tuple(rule.carried.values())
    for t, (before, g) in enumerate(zip(history, grads, strict=False), start=1):
        carried = host_carry(rule, t, *carried)
        found.append(reference.step(rule, t, before[0], g, before[1:], carried=carried))
    return found


@every_case
def test_elements_decay_where_the_step_and_the_parameter_have_one_sign(name: str) -> None:
    """Chen et al. 2025, Algorithm 1: x' = x - η (u + λ 1[u x >= 0] x), with the x before the step."""
    start, grads = some()
    history, seen = run_reference(CASES[name], start, grads, CAUTIOUS), set()
    for (before, after), free in zip(pairwise(history), undecayed(CASES[name], history, grads), strict=True):
        p, agree = before[0], np.sign(before[0] - free[0]) * np.sign(before[0]) >= 0
        np.testing.assert_allclose(after[0], free[0] - DECAY * agree * p, rtol=1e-14, atol=0)
        for mine, plain in zip(after[1:], free[1:], strict=True):
            np.testing.assert_array_equal(mine, plain)
        seen |= set(agree.tolist())
    assert seen == {False, True}


@every_dtype
@every_backend
@pytest.mark.parametrize("name", ["Adam", "SGD-momentum", "OwnRule"])
def test_kernels_agree(name: str, dtype: np.dtype, backend: str) -> None:
    """To some roundings of each step: an element that decays in one and not in the other is 1e-2 off."""
    start, grads = some()
    moved, *_ = run_kernel(CASES[name], start.astype(dtype), grads, CAUTIOUS, backend=backend)
    expected = run_reference(CASES[name], start, grads, CAUTIOUS)
    path = np.sum([np.abs(b[0] - a[0]) for a, b in pairwise(expected)], axis=0) + np.abs(start)
    assert (np.abs(moved - expected[-1][0]) <= 4 * STEPS * np.finfo(dtype).eps * path).all()


@every_backend
@pytest.mark.parametrize(
    ("p", "slots", "average"),
    [("bfloat16", "bfloat16", False), ("float32", "float8", True), ("float16", "float4", False)],
)
def test_every_kind_of_storage(p: str, slots: str, average: bool, backend: str) -> None:
    """Packed pairs, blocks with scales, averages: of numbers that all formats can hold."""
    n = 301
    start, g = np.resize([1.0, 1.0, -1.0, -1.0, 0.0], n), np.resize([1.0, -1.0, 1.0, -1.0, 1.0], n)
    driver = format_support.Driver(
        SGD(lr=0.5, momentum=0.5), [start], p, slots, average=average, cautious=True, backend=backend
    )
    driver.step(g, envelope=Envelope(cautious_decay=0.25, average=0.5))
    expected = np.resize([0.25, 1.5, -1.5, -0.25, -0.5], n)
    np.testing.assert_array_equal(driver.params[0].values, expected)
    if average:
        np.testing.assert_array_equal(driver.averages[0][0].values, (start + expected) / 2)


@every_dtype
def test_a_step_that_is_rounded_away_is_none(dtype: np.dtype) -> None:
    p = np.array([1.0, -1.0], dtype)
    moved, *_ = run_kernel(SGD(lr=1e-30), p, np.array([[-1.0, 1.0]]), Envelope(cautious_decay=0.5))
    np.testing.assert_array_equal(moved, p / 2)


@pytest.mark.parametrize("threads", [1, 2])
def test_bits_do_not_depend_on_threads(threads: int) -> None:
    n = 200_000
    rule, p, grads = CASES["Adam"], parameters(n).astype(np.float32), gradients(2, n)
    moved, *_ = run_kernel(rule, p, grads, CAUTIOUS, threads=threads)
    few, *_ = run_kernel(rule, p, grads, CAUTIOUS, chunk=1000)
    np.testing.assert_array_equal(moved, few)
