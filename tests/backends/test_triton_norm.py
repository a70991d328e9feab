"""The exact sum of squares in Triton's interpreter: of any numbers in any pieces, that of the CPU."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from exact_support import PLAIN, numbers, root_of_squares, sum_in, sum_of_squares
from format_support import Stored
from hypothesis import example, given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")
pytest.importorskip("triton")

from adamas import formats  # noqa: E402
from adamas.backends import exact  # noqa: E402
from adamas.backends._generated import load_generated  # noqa: E402
from adamas.backends.numba import Job, NormJob, ThreadPool, compile_rule  # noqa: E402
from adamas.backends.triton.launch import launch  # noqa: E402
from adamas.backends.triton.norm import SIGNATURE, THREADS, norm_kernel, range_of_words  # noqa: E402
from adamas.rules import SGD  # noqa: E402

Values = np.ndarray[Any, Any]
every_format = pytest.mark.parametrize("name", PLAIN)
SPANS = [0, 3, 12, 30, 60, 150, 480, 1074]

ROOT = """\
from adamas.backends.triton.toolbox import *
from adamas.backends.triton.kernels.root import root_of


@triton.jit
def step(words, out):
    tl.store(out, root_of(words, {}, {}))
"""


def words_of(
    name: str,
    arrays: Sequence[Values],
    *,
    rows: Sequence[int] | None = None,
    counts: Sequence[int] | None = None,
    chunk: int = 1 << 16,
    skip: int = 0,
) -> Values:
    """The words of arrays, of which each lies `skip` elements beyond a multiple of 16 bytes."""
    format, n = formats.get(name), len(arrays)
    # Around what counts lies NaN, which would show.
    stored = [Stored(format, np.concatenate([np.full(skip, np.nan), x])) for x in arrays]
    memory = [np.full(x.stored.nbytes + 64, 0xFF, np.uint8) for x in stored]
    table = np.full((max(n, 1), 3), 1, np.int64)
    for k, (x, buffer) in enumerate(zip(stored, memory, strict=True)):
        start = -buffer.ctypes.data % 16
        buffer[start : start + x.stored.nbytes] = x.stored.view(np.uint8)
        table[k, 1] = buffer.ctypes.data + start + skip * format.stored.itemsize
    chunks = [
        (k, i, min(i + chunk, x.size), 0) for k, x in enumerate(arrays) for i in range(0, x.size, chunk)
    ]
    info = np.zeros((max(n, 1), 4), np.int64)
    info[:n, 2] = 0 if rows is None else rows
    words = np.zeros(exact.LENGTH, np.int64)
    counted = np.ones(max(n, 1), np.int64) if counts is None else np.array(counts)
    tensors = [
        torch.from_numpy(x) for x in (table, np.array(chunks, np.int64).reshape(-1, 4), info, counted, words)
    ]
    arguments = [tensors[0], 3, 1, *tensors[1:]]
    launch(norm_kernel(name), len(chunks), SIGNATURE, arguments, THREADS)
    return words


def root_on_device(words: Values, first: int = 0, last: int = exact.INFINITE) -> float:
    """The root of words, of which only those from `first` to before `last` are read."""
    out = torch.zeros(1, dtype=torch.float64)
    step = load_generated("root", ROOT.format(first, last)).step
    launch(step, 1, ("*i64", "*fp64"), [torch.from_numpy(words), out], 1)
    return float(out)


@every_format
@settings(max_examples=8)
@given(
    n=st.integers(0, 600),
    span=st.sampled_from(SPANS),
    zeros=st.sampled_from([0.0, 0.5, 0.999, 1.0]),
    skip=st.integers(0, 8),
    seed=st.integers(0, 2**32),
)
@example(n=2060, span=12, zeros=0.0, skip=0, seed=0)
@example(n=2060, span=12, zeros=0.0, skip=3, seed=0)
@example(n=600, span=1074, zeros=0.1, skip=0, seed=1)
def test_the_sum_is_exact(name: str, n: int, span: int, zeros: float, skip: int, seed: int) -> None:
    values = numbers(name, n, span, zeros, seed)
    words = words_of(name, [values], skip=skip)
    assert sum_in(words) == sum_of_squares(values)  # to the last digit, which no root shows
    assert exact.root(words) == root_of_squares(values)
    assert root_on_device(words, *range_of_words(name)) == root_of_squares(values)


@every_format
def test_windows_that_the_first_numbers_mislead(name: str) -> None:
    """The first tile is of another size than the rest, or the range is wider than one window."""
    limit = 15 if name == "float16" else 126
    for first, then in [
        (0.0, 1.0),
        (0.0, 2.0**limit),
        (1.0, 2.0**limit),
        (1.0, 2.0**-limit),
        (2.0**-limit, 1.5),
    ]:
        values = np.concatenate([np.full(1030, first), numbers(name, 1030, 3, 0.0, 7) * 0 + then, [1.0]])
        values = Stored(formats.get(name), values).values.astype(np.float64)
        assert sum_in(words_of(name, [values])) == sum_of_squares(values)


@every_format
def test_numbers_at_both_ends_of_the_range(name: str) -> None:
    largest, smallest = {
        "float64": (np.finfo(np.float64).max, 5e-324),
        "float16": (65504.0, 2.0**-24),
        "bfloat16": (float.fromhex("0x1.fep127"), 2.0**-133),
    }.get(name, (float(np.finfo(np.float32).max), 2.0**-149))
    for values in ([largest], [-largest, smallest], [smallest], [smallest] * 1100, [largest] * 1100):
        x = np.array(values)
        words = words_of(name, [x])
        assert sum_in(words) == sum_of_squares(x)
        assert root_on_device(words, *range_of_words(name)) == root_of_squares(x)


@pytest.mark.parametrize(("name", "digits"), [("float32", 24), ("bfloat16", 8), ("float16", 11)])
def test_two_numbers_ever_further_apart(name: str, digits: int) -> None:
    """Of which the smaller has all the digits that its format can: some pair just fits into one window."""
    odd = (2**digits - 1) / 2**digits
    for k in range(12, 14) if name == "float16" else range(9, 48):
        values = np.array([1.0, math.ldexp(odd, -k)])
        assert sum_in(words_of(name, [values])) == sum_of_squares(values)


@every_format
def test_any_pieces_add_up_to_the_sum_of_the_cpu(name: str) -> None:
    arrays = [numbers(name, n, span, 0.1, n) for n, span in [(1300, 3), (0, 3), (1, 30), (800, 60)]]
    kernel = compile_rule(SGD(), name)
    stored = [Stored(kernel.formats["g"], x) for x in arrays]
    job = Job(kernel, [x.size for x in arrays])
    job.write_table([a for x in stored for _ in kernel.arrays for a in x.addresses])
    norm = NormJob(job)
    norm.run(ThreadPool(1))
    for chunk in (700, 1 << 16):
        words = words_of(name, arrays, chunk=chunk)
        assert sum_in(words) == sum_in(norm.words)
        assert root_on_device(words) == exact.root(norm.words)


def test_a_chunk_of_any_length() -> None:
    values = numbers("bfloat16", 70_001, 8, 0.1, 0)
    assert sum_in(words_of("bfloat16", [values], chunk=1 << 20)) == sum_of_squares(values)


@every_format
@pytest.mark.parametrize("bad", [math.inf, -math.inf, math.nan], ids=str)
def test_what_is_not_finite_shows(name: str, bad: float) -> None:
    for place in (0, 1099):
        values = numbers(name, 1100, 3, 0.1, 0)
        values[place] = bad
        for counts in ([1, 1], [1, 0]):  # also where it does not count
            words = words_of(name, [np.ones(3), values], counts=counts)
            assert exact.root(words) == pytest.approx(abs(bad), nan_ok=True)
            assert root_on_device(words, 60, 90) == pytest.approx(abs(bad), nan_ok=True)
    values[1] = math.nan
    assert math.isnan(exact.root(words_of(name, [values])))


@every_format
def test_what_does_not_count(name: str) -> None:
    arrays = [np.full(5, 3.0), np.full(4, 2.0), np.array([7.0, 2.0**-60])]
    assert exact.root(words_of(name, arrays, rows=[-1, 0, 3], counts=[1, 1, 0])) == 4.0
    assert exact.root(words_of(name, [np.full(5, np.nan), np.full(4, 2.0)], rows=[-1, 0])) == 4.0


@settings(max_examples=20)
@given(
    total=st.one_of(st.integers(0, 1 << 4400), st.integers(1 << 52, 1 << 54)),
    shift=st.integers(0, 90),
    least=st.integers(0, 1),
    seed=st.integers(0, 2**32),
)
@example(total=(1 << 53) + 1, shift=64, least=0, seed=0)  # half-way, to even
@example(total=(1 << 53) + 3, shift=64, least=0, seed=0)
@example(total=(1 << 53) + 1, shift=90, least=1, seed=0)  # not quite
def test_the_root_of_words(total: int, shift: int, least: int, seed: int) -> None:
    words = exact.words_of((total << shift) + least)
    random = np.random.default_rng(seed)
    for place in random.integers(0, exact.INFINITE - 1, 20):  # as kernels leave them: signed, with carries
        carry = random.integers(-(2**30), 2**30)
        words[place] -= carry << 32
        words[place + 1] += carry
    assert root_on_device(words) == exact.root(words)


COMPILE = """\
import re
from triton.backends.compiler import GPUTarget
from adamas.backends.triton.launch import compiled
from adamas.backends.triton.norm import SIGNATURE, THREADS, norm_kernel

kernel = norm_kernel({name!r})
vectors = r"ld\\.global\\S*\\.v(4\\.b32|2\\.b64)"
for capability in (80, 90, 100):
    text = compiled(kernel, SIGNATURE, GPUTarget("cuda", capability, 32), THREADS).asm["ptx"]
    assert re.search(vectors, text)
    # No memory of a thread's own, no float64, and subnormal numbers stay.
    assert not re.search(r"\\.(local|ftz{wide})\\b", text)
text = compiled(kernel, SIGNATURE, GPUTarget("hip", "gfx942", 64), THREADS).asm["amdgcn"]
assert re.search("load_dwordx4", text)
assert re.search("denorm_mode_32 3", text)
assert not re.search("scratch_(load|store){wide_hip}", text)
"""


@pytest.mark.slow
@every_format
def test_what_is_compiled(name: str) -> None:
    wide = name == "float64"
    text = COMPILE.format(name=name, wide="" if wide else "|f64", wide_hip="" if wide else "|v_[a-z]+_f64")
    environment = {**os.environ, "TRITON_INTERPRET": "0"}
    subprocess.run([sys.executable, "-c", text], env=environment, check=True)
