"""What must hold to the bit: any threads and chunks, untouched neighbours, NaN, infinity, flushed state."""

import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from rule_cases import (
    CASES,
    FORMS,
    Driver,
    every_case,
    every_dtype,
    every_form,
    gradients,
    has_sums,
    parameters,
    run_kernel,
    run_reference,
)

from adamas.backends.numba import ThreadPool
from adamas.rules import Adam, Rule

FLOAT32 = np.dtype(np.float32)
MANY = 70_001  # enough for the threads to be asked, and no multiple of anything
FEW = 67


def assert_same_bits(actual: tuple[np.ndarray, ...], expected: tuple[np.ndarray, ...]) -> None:
    for a, b in zip(actual, expected, strict=True):
        np.testing.assert_array_equal(a.view(f"u{a.itemsize}"), b.view(f"u{b.itemsize}"), strict=True)


# Threads and chunks.


@cache
def once(name: str, n: int) -> tuple[np.ndarray, ...]:
    """One thread, chunks of the default size."""
    return run_kernel(CASES[name], parameters(n).astype(FLOAT32), gradients(3, n))


@every_form
@pytest.mark.parametrize(("threads", "chunk"), [(2, 1 << 14), (2, 1000), (2, 333), (3, 35_000), (1, 4097)])
def test_same_bits_for_any_threads_and_chunks(name: str, threads: int, chunk: int) -> None:
    grads, p = gradients(3, MANY), parameters(MANY).astype(FLOAT32)
    assert_same_bits(run_kernel(CASES[name], p, grads, threads=threads, chunk=chunk), once(name, MANY))


@every_form
@pytest.mark.parametrize("chunk", [1, 3, 8, 66])
def test_an_element_does_not_see_where_its_chunk_begins(name: str, chunk: int) -> None:
    """A fused multiply-add in the vector body and not in the rest would show here."""
    grads, p = gradients(3, FEW), parameters(FEW).astype(FLOAT32)
    assert_same_bits(run_kernel(CASES[name], p, grads, chunk=chunk), once(name, FEW))


@given(
    threads=st.sampled_from([1, 2]), chunk=st.integers(50, MANY + 10), sizes=st.lists(st.integers(0, MANY))
)
@settings(max_examples=20)
@example(threads=2, chunk=MANY, sizes=[MANY, 1, 0])
def test_same_bits_however_the_work_is_cut(threads: int, chunk: int, sizes: list[int]) -> None:
    """Any number of tensors: each comes out as if it were alone."""
    p, g = parameters(MANY).astype(FLOAT32), gradients(3, MANY).astype(FLOAT32)
    driver = Driver(Adam(), [p[:n].copy() for n in sizes], threads=threads, chunk=chunk, dtype=FLOAT32)
    for row in g:
        driver.step(*(row[:n] for n in sizes))
    for n, moved, slots in zip(sizes, driver.params, driver.slots, strict=True):
        assert_same_bits((moved, *slots), tuple(array[:n] for array in once("Adam", MANY)))


class CountingPool(ThreadPool):
    """How often the threads were asked."""

    asked = 0

    def run(self, function: int, job: int) -> None:
        self.asked += 1
        super().run(function, job)


@pytest.mark.parametrize(("n", "threads", "asked"), [(MANY, 2, 1), (MANY, 1, 0), (FEW, 2, 0)])
def test_threads_are_asked_where_there_is_enough_to_do(n: int, threads: int, asked: int) -> None:
    driver = Driver(Adam(), [parameters(n)])
    driver.pool = CountingPool(threads)
    driver.step(gradients(1, n)[0])
    assert driver.pool.asked == asked


FORKED = """
import os
import numpy as np
from rule_cases import Driver
from adamas.rules import Adam
driver = Driver(Adam(), [np.zeros(100_000)], threads=2)
g = np.ones(100_000)
driver.step(g)
child = os.fork()
driver.step(g)
moved = driver.params[0]
assert (moved == moved[0]).all() and moved[0] < -1.9e-3, moved
if not child:
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_fork_makes_its_own_threads() -> None:
    """With the parent's, of which none is alive in the child, it would wait for ever."""
    subprocess.run([sys.executable, "-c", FORKED], check=True, cwd=Path(__file__).parents[1], timeout=120)


def test_a_pool_has_all_cpus_where_the_system_does_not_say_which(monkeypatch: pytest.MonkeyPatch) -> None:
    """As macOS and Windows do not."""
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 7)
    assert ThreadPool().size() == 7


def test_a_pool_has_at_least_one_thread() -> None:
    assert ThreadPool().size() >= 1
    assert ThreadPool(3).size() == 3


# Memory.


@every_form
@every_dtype
@pytest.mark.parametrize("n", [0, 1, 7, 16, 33, 100])
@pytest.mark.parametrize("offset", [1, 3, 16])
def test_neighbours_are_untouched(name: str, dtype: np.dtype, n: int, offset: int) -> None:
    """Every array lies between guards, at odd addresses; they and the gradient come out as they were."""
    driver = Driver(FORMS[name], [parameters(n).astype(dtype)])
    guard = np.array(-7.25, dtype)
    buffers = [
        np.concatenate([np.full(offset, guard), array, np.full(40, guard)])
        for array in (driver.params[0], gradients(1, n)[0].astype(dtype), *driver.slots[0])
    ]
    p, g, *slots = (buffer[offset : offset + n] for buffer in buffers)
    expected = run_kernel(FORMS[name], p, g[None])
    before = g.copy()
    driver.params, driver.slots = [p], [slots]
    driver.step(g)
    assert_same_bits((p, *slots, g), (*expected, before))
    for buffer in buffers:
        np.testing.assert_array_equal(buffer[:offset], guard)
        np.testing.assert_array_equal(buffer[offset + n :], guard)


# Special values.


def special(g: np.ndarray, value: float) -> np.ndarray:
    """The gradients with one element of the second step replaced."""
    g = g.copy()
    g[1, FEW // 2] = value
    return g


@pytest.mark.parametrize("name", [name for name, rule in CASES.items() if not has_sums(rule)])
@every_dtype
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf], ids=str)
def test_a_special_gradient_is_as_in_the_reference(name: str, dtype: np.dtype, value: float) -> None:
    """The element has the reference's NaN or infinity; all others have the bits they have without it."""
    p, grads = parameters(FEW), gradients(3, FEW)
    actual = run_kernel(CASES[name], p.astype(dtype), special(grads, value))
    with np.errstate(invalid="ignore"):
        expected = run_reference(CASES[name], p, special(grads, value))[-1]
    plain = run_kernel(CASES[name], p.astype(dtype), grads)
    others = np.arange(FEW) != FEW // 2
    assert_same_bits(tuple(a[others] for a in actual), tuple(a[others] for a in plain))
    for a, b in zip(actual, expected, strict=True):
        a, b = a[~others], b[~others]
        np.testing.assert_array_equal(np.isnan(a), np.isnan(b))
        np.testing.assert_array_equal(np.where(np.isinf(a), a, 0), np.where(np.isinf(b), b, 0))


@every_case
@every_dtype
def test_a_nan_gradient_comes_out_as_nan(name: str, dtype: np.dtype) -> None:
    p, *_ = run_kernel(CASES[name], parameters(FEW).astype(dtype), special(gradients(2, FEW), np.nan))
    assert np.isnan(p[FEW // 2])
    # Of rules with sums those that divide by one say so in all of the tensor.
    assert has_sums(CASES[name]) or np.isfinite(np.delete(p, FEW // 2)).all()


@every_case
def test_what_overflows_float32_is_as_in_float32(name: str) -> None:
    """Where squares overflow or vanish, the float32 reference has the same infinities and NaN."""
    g = np.array([[1e30, -1e30, 1e-30, -1e-30, 1e19, 1e-23]], FLOAT32)
    rule, p = CASES[name], parameters(g.size).astype(FLOAT32)
    with np.errstate(over="ignore", invalid="ignore"):
        expected = run_reference(rule, p, g)[-1]
    for a, b in zip(run_kernel(rule, p, g), expected, strict=True):
        if "centered" in name:  # fused, v - mean² has no infinite square: infinity where unfused it is NaN
            assert not (np.isnan(a) & ~np.isnan(b)).any()
            continue
        np.testing.assert_array_equal(np.isnan(a), np.isnan(b))
        np.testing.assert_array_equal(np.isinf(a), np.isinf(b))


# Denormals.


def fading(rule: Rule, dtype: np.dtype, start: np.ndarray) -> Driver:
    """A driver whose every slot holds `start` (its size, where the slot cannot be negative)."""
    driver = Driver(rule, [np.ones(start.size, dtype)])
    for array, slot in zip(driver.slots[0], rule.form().slots.values(), strict=True):
        array[:] = start if slot.signed else np.abs(start)
    return driver


@every_form
@every_dtype
def test_state_below_the_smallest_normal_is_flushed(name: str, dtype: np.dtype) -> None:
    tiny = np.finfo(dtype).tiny
    start = np.array([1.0, -1.0, 1.01, 0.5, 1e-3, 0.0], dtype) * tiny
    driver = fading(FORMS[name], dtype, start)
    driver.step(np.zeros_like(start))
    for array in driver.slots[0]:
        assert ((array == 0) | (np.abs(array) >= tiny)).all()


@given(start=st.floats(allow_nan=False, width=32), name=st.sampled_from(sorted(FORMS)))
@settings(max_examples=200)
def test_no_state_stays_subnormal_without_gradients(start: float, name: str) -> None:
    driver = fading(FORMS[name], FLOAT32, np.full(1, start, FLOAT32))
    driver.step(np.zeros(1, FLOAT32))
    subnormal = [array[0] != 0 and np.abs(array[0]) < np.finfo(FLOAT32).tiny for array in driver.slots[0]]
    # A second moment of a rule with a small ε stays as long as a mean of gradients does.
    slots = zip(driver.slots[0], FORMS[name].form().slots.values(), strict=True)
    means = [array[0] for array, slot in slots if slot.signed]
    assert not any(subnormal) or any(means)


@every_dtype
def test_decaying_moments_end_at_zero(dtype: np.dtype) -> None:
    """After 10,000 steps without gradients m is exactly 0; unflushed, it would be stuck at a denormal."""
    driver = Driver(Adam(beta2=0.9), [parameters(FEW).astype(dtype)])
    driver.step(gradients(1, FEW)[0].astype(dtype))
    silence = np.zeros(FEW, dtype)
    for _ in range(10_000):
        driver.step(silence)
    for array in driver.slots[0]:
        np.testing.assert_array_equal(array, 0)


@every_dtype
def test_the_parameter_is_not_flushed(dtype: np.dtype) -> None:
    p = np.array([0.5, -0.5], dtype) * np.finfo(dtype).tiny
    moved, *_ = run_kernel(Adam(), p, np.zeros((1, 2)))
    assert_same_bits((moved,), (p,))
