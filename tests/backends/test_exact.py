"""The exact sum of squares: of any numbers, in any pieces and on any threads, the one that fractions give."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from exact_support import PLAIN, numbers, root_of_squares, sum_in, sum_of_squares
from format_support import Stored
from hypothesis import example, given, settings
from hypothesis import strategies as st

from adamas.backends import exact
from adamas.backends.numba import Job, NormJob, ThreadPool, compile_rule
from adamas.backends.numba.slices import PART
from adamas.rules import SGD

Values = np.ndarray[Any, Any]

WHOLE = 4 * PART + 3  # elements that are one block
every_format = pytest.mark.parametrize("name", PLAIN)


def words_of(
    name: str, arrays: Sequence[Values], threads: int = 1, rows: Any = None, **options: Any
) -> Values:
    kernel = compile_rule(SGD(), name)
    stored = [Stored(kernel.formats["g"], x) for x in arrays]
    job = Job(kernel, [x.size for x in arrays], rows, **options)
    job.write_table([a for x in stored for _ in kernel.arrays for a in x.addresses])
    norm = NormJob(job)
    for _ in range(2):  # the second begins from nothing again
        norm.run(ThreadPool(threads))
    return norm.words.copy()


@every_format
@settings(max_examples=40)
@given(
    n=st.one_of(st.integers(0, 70), st.integers(WHOLE - 9, WHOLE + 9)),
    span=st.sampled_from([0, 3, 12, 30, 60, 150, 480, 1074]),
    zeros=st.sampled_from([0.0, 0.5, 0.999, 1.0]),
    seed=st.integers(0, 2**32),
)
@example(n=5, span=1074, zeros=0.0, seed=0)
@example(n=WHOLE + 9, span=1074, zeros=0.0, seed=1)
def test_the_root_is_that_of_the_rounded_sum(name: str, n: int, span: int, zeros: float, seed: int) -> None:
    values = numbers(name, n, span, zeros, seed)
    words = words_of(name, [values])
    assert sum_in(words) == sum_of_squares(values)  # to the last digit, which no root shows
    found = exact.root(words)
    assert found == root_of_squares(values)
    in_range = values[values != 0]
    if not in_range.size or 1e-140 < np.abs(in_range).min() <= np.abs(in_range).max() < 1e140:
        assert found == math.sqrt(math.fsum((values * values).tolist()))


@every_format
@settings(max_examples=20)
@given(
    cut=st.integers(0, 20_000),
    chunk=st.sampled_from([128, 1280, 4096, 1 << 16]),
    span=st.sampled_from([3, 60, 1074]),
    seed=st.integers(0, 2**32),
)
def test_words_add_up_over_any_split(name: str, cut: int, chunk: int, span: int, seed: int) -> None:
    """As processes do that have a part of the elements each: vectors differ, their sum's meaning does not."""
    values = numbers(name, 20_000, span, 0.1, seed)
    shuffled = np.random.default_rng(seed).permutation(values)
    whole = sum_in(words_of(name, [values]))
    parts = [words_of(name, [x], chunk=chunk) for x in (shuffled[:cut], shuffled[cut:])]
    assert sum_in(parts[0] + parts[1]) == whole
    assert sum_in(words_of(name, [shuffled[cut:], shuffled[:cut]], chunk=chunk)) == whole


@every_format
@pytest.mark.parametrize("threads", [2, 3])
def test_threads_find_the_same(name: str, threads: int) -> None:
    arrays = [numbers(name, n, 40, 0.1, n) for n in (100_003, 1, 0, 70_000)]
    one, many = words_of(name, arrays), words_of(name, arrays, threads, chunk=4096)
    assert sum_in(one) == sum_in(many) == sum_of_squares(np.concatenate(arrays))


@pytest.mark.parametrize(("name", "digits"), [("float32", 24), ("float64", 53)])
def test_two_numbers_ever_further_apart(name: str, digits: int) -> None:
    """Of which the smaller has all the digits that its format can: some pair just fits into two slices."""
    odd = (2**digits - 1) / 2**digits
    for k in range(60):
        values = np.array([1.0, math.ldexp(odd, -k)])
        assert sum_in(words_of(name, [values])) == sum_of_squares(values)


@every_format
def test_every_place_of_a_block_counts(name: str) -> None:
    for n in (1, 2, 3, 4, 7, 67, 4 * PART - 1, WHOLE, WHOLE + 1, WHOLE + 2):
        for k in {0, n // 4, n // 2, n - 2, n - 1} - {-1}:
            values = np.zeros(n)
            values[k] = 0.375
            assert exact.root(words_of(name, [values])) == 0.375


@every_format
@pytest.mark.parametrize("bad", [math.inf, -math.inf, math.nan], ids=str)
@pytest.mark.parametrize("place", [0, 16_397, 19_999])
def test_what_is_not_finite_shows(name: str, bad: float, place: int) -> None:
    values = numbers(name, 20_000, 10, 0.1, 0)
    values[place] = bad
    words = words_of(name, [values]) + words_of(name, [np.ones(3)])
    assert exact.root(words) == pytest.approx(abs(bad), nan_ok=True)
    values[1] = math.nan
    assert math.isnan(exact.root(words_of(name, [values])))


@every_format
def test_a_tensor_left_alone_does_not_count(name: str) -> None:
    arrays = [np.full(5, 3.0), np.full(4, 2.0)]
    assert exact.root(words_of(name, arrays, rows=[-1, 0])) == 4.0


def test_squares_beyond_float64() -> None:
    largest = np.finfo(np.float64).max
    for values in (
        [3e200, 4e200],
        [3e-200, 4e-200],
        [largest],
        [5e-324],
        [5e-324, largest],
        [1e-160, 1e-170],
    ):
        x = np.array(values)
        assert exact.root(words_of("float64", [x])) == root_of_squares(x)
    assert exact.root(words_of("float64", [np.full(4, largest)])) == math.inf


@given(st.integers(0, 1 << 4400))
def test_words_of_an_integer(total: int) -> None:
    words = exact.words_of(total)
    assert words.size == exact.LENGTH
    assert words.dtype == np.int64
    assert sum_in(words) == total
