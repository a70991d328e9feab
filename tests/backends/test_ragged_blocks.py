"""Blocks within rows of any length: the same bits however the work is cut, and no byte beside them."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from code_support import SCALED, both_signs, every_scaled, spacing
from format_support import TINY, Driver, bits_of, swap
from rule_cases import gradients, parameters

from adamas import formats
from adamas.formats import BLOCK
from adamas.rules import Adam

# Elements of a row; of short ones together, as `formats.row_length` says, the last of which may be cut.
LENGTHS = {"100": 100, "150": 150, "1600": 1600, "16": 128, "9": 126, "64": 128, "147": 147, "129": 129}
every_length = pytest.mark.parametrize("length", LENGTHS.values(), ids=LENGTHS)
MANY = 1600 * 43 + 57  # a part of a row at the end; enough for the threads to be asked


def run(state: str, length: int, p: str = "float32", n: int = MANY, **options: int) -> Driver:
    params, grads = inputs()
    driver = Driver(Adam(), [params[:n]], p, state, lengths=[length], **options)
    for g in grads:
        driver.step(0.01 * g[:n])
    return driver


@cache
def inputs() -> tuple[np.ndarray, np.ndarray]:
    return parameters(MANY), gradients(3, MANY)


@cache
def once(state: str, length: int) -> list[bytes]:
    return bits_of(run(state, length).arrays)


@pytest.mark.parametrize(("threads", "chunk"), [(2, 1 << 14), (1, BLOCK), (3, 300 * BLOCK), (2, 8 * BLOCK)])
@every_length
@every_scaled
def test_same_bits_for_any_threads_and_chunks(name: str, length: int, threads: int, chunk: int) -> None:
    assert bits_of(run(name, length, threads=threads, chunk=chunk).arrays) == once(name, length)


@every_length
@every_scaled
def test_a_row_is_as_if_it_were_alone(name: str, length: int) -> None:
    """Its codes, but for the random bits: those of its place, which a shard of whole rows keeps."""
    params, grads = inputs()
    rows = [slice(start, start + length) for start in (0, length, 5 * length)]
    driver = Driver(swap(True), [params[: 6 * length]], slots=name, lengths=[length])
    driver.step(grads[0][: 6 * length])
    stored = driver.slots[0][0]
    for row in rows:
        alone = Driver(swap(True), [params[row]], slots=name)
        alone.step(grads[0][row])
        np.testing.assert_array_equal(stored.spread[row], alone.slots[0][0].spread)
        off = np.abs(stored.values[row] - alone.slots[0][0].values)
        assert (off <= 1.001 * spacing(stored.format, grads[0][row], stored.spread[row]) + 2 * TINY).all()


@both_signs
@every_length
@every_scaled
def test_a_row_does_not_see_the_next(name: str, signed: bool, length: int) -> None:
    """Nor what fills up its last block: a huge row before and after changes neither codes nor scales."""
    x = np.random.default_rng(0).uniform(0.1, 1, 5 * length).astype(np.float32)
    plain = Driver(swap(signed), [x], slots=name, lengths=[length])
    plain.step(x)
    x[length : 2 * length] = 1e15
    x[3 * length : 4 * length] = 1e-15
    other = Driver(swap(signed), [x], slots=name, lengths=[length])
    other.step(x)
    a, b = plain.slots[0][0], other.slots[0][0]
    for k in (0, 2, 4):
        row = slice(k * length, (k + 1) * length)
        np.testing.assert_array_equal(a.codes[row], b.codes[row])
        np.testing.assert_array_equal(a.spread[row], b.spread[row])


@every_length
@every_scaled
def test_scales_are_those_of_the_blocks_of_rows(name: str, length: int) -> None:
    x = np.random.default_rng(1).uniform(-1, 1, 7 * length + 3).astype(np.float32)
    driver = Driver(swap(True), [x], slots=name, lengths=[length])
    driver.step(x)
    stored = driver.slots[0][0]
    place = np.arange(x.size)
    block = place // length * 1000 + place % length // BLOCK
    for k in np.unique(block):
        mine = block == k
        factor = np.float32(stored.format.scale_factor)
        np.testing.assert_array_equal(stored.spread[mine], np.abs(x[mine]).max() * factor)


@pytest.mark.parametrize("rows", [1, 2, 7])
@pytest.mark.parametrize("length", [1, 3, 9, 99, 127, 129, 151, 255, 257])
@pytest.mark.parametrize("name", [name for name in SCALED if formats.get(name).packs > 1])
def test_half_bytes_of_odd_rows_are_left_alone(name: str, length: int, rows: int) -> None:
    """The driver looks at the bytes around; the half after an odd row's last code stays zero, or a copy."""
    n = length * rows
    driver = Driver(Adam(), [parameters(n)], slots=name, lengths=[length], chunk=BLOCK)
    twin = Driver(Adam(), [parameters(n)], slots=name, lengths=[length], chunk=1 << 16)
    for g in gradients(3, n):
        driver.step(g)
        twin.step(g)
    assert bits_of(driver.arrays) == bits_of(twin.arrays)
    for stored in driver.slots[0]:
        assert stored.stored.size == rows * ((length + 1) // 2)


@every_length
@pytest.mark.parametrize("special", [np.nan, np.inf], ids=str)
@every_scaled
def test_what_is_not_finite_stays_in_its_block(name: str, special: float, length: int) -> None:
    n = 4 * length
    x = np.linspace(0.5, 1.5, n).astype(np.float32)
    place = 2 * length + length // 2
    x[place] = special
    driver = Driver(swap(True), [np.zeros(n)], slots=name, lengths=[length])
    driver.step(x)
    stored = driver.slots[0][0]
    others = stored.scale_of != stored.scale_of[place]
    values = stored.values
    assert np.isfinite(values[others]).all()
    assert np.isnan(values[place]) == np.isnan(special)
    scale = np.where(others, stored.spread, 1)
    off = np.abs(values[others] - x[others])
    assert (off <= 1.001 * spacing(stored.format, np.where(others, x, 1), scale)[others]).all()


def test_tensors_of_many_shapes_in_one_job() -> None:
    """Each as alone, whatever else is in the table."""
    sizes = [(1, 1), (128, 128), (7 * 100, 100), (129, 129), (1600 * 3, 1600), (126 * 2 + 9, 126), (5, 5)]
    for name in SCALED:
        params = [parameters(n, seed=n) for n, _ in sizes]
        driver = Driver(Adam(), params, slots=name, lengths=[length for _, length in sizes], threads=2)
        driver.step(*(0.1 * parameters(n, seed=n + 1) for n, _ in sizes))
        for k, (n, length) in enumerate(sizes):
            alone = Driver(Adam(), [params[k]], slots=name, lengths=[length], tensor_index=[k])
            alone.step(0.1 * parameters(n, seed=n + 1))
            assert bits_of([driver.params[k], *driver.slots[k]]) == bits_of(alone.arrays)
