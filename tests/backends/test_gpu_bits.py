"""Kernels for GPUs beside those of the CPU: the same codes, scales and random bits, however memory lies."""

from __future__ import annotations

import numpy as np
import pytest
from code_support import STORED, both_signs
from format_support import Driver, swap
from gpu_support import OF_GPUS
from rule_cases import CASES, FORMS, every_dtype, gradients, parameters, run_kernel, run_reference

from adamas import formats
from adamas.backends import Runs
from adamas.rules import Adam

every_gpu = pytest.mark.parametrize("backend", OF_GPUS)
# Elements of a row: whole blocks, none, part of one, more than a chunk, and some short rows together.
LENGTHS = {"1": None, "147": 147, "128": 128, "1100": 1100, "9": 126}
N = 2 * 1024 + 77


def values(n: int, signed: bool) -> np.ndarray:
    """Numbers of every size, in runs of a block and a half, and what is no number."""
    random = np.random.default_rng(0)
    x = random.standard_normal(n) * 10.0 ** random.uniform(-45, 38, n // 190 + 1).repeat(190)[:n]
    x[::97] = 0
    x[300], x[700], x[1100] = np.inf, np.nan, 1e-40
    with np.errstate(over="ignore"):
        x = x.astype(np.float32)
    return x if signed else np.abs(x)


def swapped(backend: str, state: str, signed: bool, **options: object) -> Driver:
    """Two steps of a rule without arithmetic: what is stored is what was given, encoded and decoded."""
    driver = Driver(swap(signed), [parameters(N)], "bfloat16", state, g="float32", backend=backend, **options)  # type: ignore[arg-type]
    for x in (parameters(N), values(N, signed)):
        driver.step(np.abs(x) if not signed else x)
    return driver


def codes(driver: Driver) -> list[np.ndarray]:
    """All that is stored, but for half bytes that no element has."""
    arrays = driver.arrays
    return [a.codes.copy() for a in arrays] + [a.scales.view(np.uint32).copy() for a in arrays]


def assert_same(driver: Driver, other: Driver) -> None:
    for mine, theirs in zip(codes(driver), codes(other), strict=True):
        np.testing.assert_array_equal(mine, theirs)


STORING = [
    pytest.param(state, length, id=f"{state}-{name}")
    for state in STORED
    for name, length in LENGTHS.items()
    if length is None or formats.get(state).scaled
]


@every_gpu
@both_signs
@pytest.mark.parametrize(("state", "length"), STORING)
def test_what_is_stored_is_as_on_the_cpu(backend: str, state: str, length: int | None, signed: bool) -> None:
    """To the bit, for numbers of every size, in rows of any length."""
    options = {"lengths": None if length is None else [length], "chunk": 1024}
    assert_same(swapped(backend, state, signed, **options), swapped("numba", state, signed, **options))


@every_gpu
@pytest.mark.parametrize(("chunk", "guard"), [(1024, 40), (2048, 40), (1536, 48)])
@pytest.mark.parametrize("state", ["bfloat16", "float8", "float4"])
def test_neither_chunks_nor_alignment_show(backend: str, state: str, chunk: int, guard: int) -> None:
    options = {"chunk": chunk, "guard": guard}
    assert_same(swapped(backend, state, True, **options), swapped(backend, state, True))


@every_gpu
@pytest.mark.parametrize("state", ["bfloat16", "float8", "float4"])
def test_a_shard_draws_the_bits_of_its_elements(backend: str, state: str) -> None:
    """It has rows 1 and 3 of a tensor of four."""
    row = 1024 + 128
    x, runs = values(4 * row, True), Runs(row, [row, 3 * row])
    mine = np.concatenate([np.arange(row, 2 * row), np.arange(3 * row, 4 * row)])
    whole = Driver(swap(True), [parameters(4 * row)], "bfloat16", state, g="float32")
    shard = Driver(
        swap(True),
        [parameters(4 * row)[mine]],
        "bfloat16",
        state,
        g="float32",
        backend=backend,
        guard=48,
        runs=[runs],
    )
    for driver, part in ((whole, x), (shard, x[mine])):
        driver.step(part)
        driver.step(part)
    for k in range(2):
        np.testing.assert_array_equal(shard.arrays[k].codes, whole.arrays[k].codes[mine])


@every_gpu
@every_dtype
@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf], ids=str)
def test_a_special_gradient_is_as_in_the_reference(
    backend: str, name: str, dtype: np.dtype, value: float
) -> None:
    grads = gradients(2, 8)
    grads[0, 3] = value
    with np.errstate(all="ignore"):
        expected = run_reference(CASES[name], parameters(8).astype(dtype), grads.astype(dtype))[-1]
    actual = run_kernel(CASES[name], parameters(8).astype(dtype), grads, backend=backend)
    for mine, theirs in zip(actual, expected, strict=True):
        np.testing.assert_array_equal(np.isfinite(mine), np.isfinite(theirs))
        np.testing.assert_array_equal(np.isnan(mine), np.isnan(theirs))


@every_gpu
@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=str)
def test_state_below_the_smallest_normal_is_flushed(backend: str, dtype: type) -> None:
    tiny = np.finfo(dtype).tiny
    driver_slots = run_kernel(
        Adam(beta1=0.5), np.ones(4, dtype), np.array([[2 * tiny] * 4, [0.0] * 4, [0.0] * 4]), backend=backend
    )[1:]
    assert all((slot == 0).all() for slot in driver_slots)
