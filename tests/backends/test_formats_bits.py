"""To the bit in storage formats: any threads and chunks; and rounding that depends on its key alone."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest
from code_support import STORED, UNSCALED
from format_support import Driver, bits_of, representable
from hypothesis import example, given, settings
from hypothesis import strategies as st
from rule_cases import gradients, parameters

from adamas import formats
from adamas.backends import Envelope
from adamas.formats import BLOCK
from adamas.rules import SIGNED, Adam, Rule

MANY = 70_001  # enough for the threads to be asked, and no multiple of anything
KINDS: dict[str, tuple[str, str | Mapping[str, str], bool]] = {
    **{name: ("float32" if formats.get(name).scaled else name, name, False) for name in STORED},
    "mixed": ("bfloat16", {"m": "float8", "v": "bfloat16"}, True),
    "mixed-packed": ("float32", {"m": "float4", "v": "float8"}, True),
}
every_kind = pytest.mark.parametrize("kind", KINDS)


def run(kind: str, sizes: tuple[int, ...], steps: int = 3, **options: int) -> Driver:
    """The first elements of the same tensor, as many as each of the sizes says, all numbered 0."""
    p, slots, average = KINDS[kind]
    params, grads = inputs(p)
    parts, tensor_index = [params[:n] for n in sizes], [0] * len(sizes)
    driver = Driver(Adam(), parts, p, slots, average=average, tensor_index=tensor_index, **options)
    for g in grads[:steps]:
        driver.step(*(g[:n] for n in sizes))
    return driver


@cache
def inputs(p: str) -> tuple[np.ndarray, np.ndarray]:
    return parameters(MANY), np.stack([representable(p, 0.01 * g) for g in gradients(3, MANY)])


@cache
def once(kind: str) -> Driver:
    """One thread, chunks of the default size."""
    return run(kind, (MANY,))


@every_kind
@pytest.mark.parametrize(
    ("threads", "chunk"), [(2, 1 << 14), (2, 8 * BLOCK), (1, BLOCK), (3, 300 * BLOCK), (2, 1 << 17)]
)
def test_same_bits_for_any_threads_and_chunks(kind: str, threads: int, chunk: int) -> None:
    assert bits_of(run(kind, (MANY,), threads=threads, chunk=chunk).arrays) == bits_of(once(kind).arrays)


@pytest.mark.parametrize("kind", UNSCALED)
@pytest.mark.parametrize("chunk", [333, 1000])
def test_without_scales_a_chunk_may_have_any_size(kind: str, chunk: int) -> None:
    assert bits_of(run(kind, (MANY,), threads=2, chunk=chunk).arrays) == bits_of(once(kind).arrays)


def test_a_chunk_of_scaled_blocks_is_whole_blocks() -> None:
    with pytest.raises(ValueError, match="multiple of 128 elements, got 1000"):
        run("float8", (MANY,), chunk=1000)


@given(
    kind=st.sampled_from(sorted(KINDS)),
    blocks=st.integers(1, 600),
    sizes=st.lists(st.integers(0, MANY), min_size=1, max_size=4).map(tuple),
)
@settings(max_examples=20)
@example(kind="mixed", blocks=3, sizes=(MANY, 1, 0, BLOCK))
def test_same_bits_however_the_work_is_cut(kind: str, blocks: int, sizes: tuple[int, ...]) -> None:
    """Any number of tensors: the whole blocks of each come out as those of the longest."""
    driver = run(kind, sizes, threads=2, chunk=blocks * BLOCK)
    whole = once(kind).arrays
    scaled = any(array.format.scaled for array in whole)
    for k, n in enumerate(sizes):
        full = n - n % BLOCK if scaled else n  # a block with fewer elements has another scale
        for array, other in zip(driver.arrays[k * len(whole) : (k + 1) * len(whole)], whole, strict=True):
            np.testing.assert_array_equal(array.codes[:full], other.codes[:full])


# Rounding.


@dataclass(frozen=True)
class Keep(Rule):
    """Stores the gradient everywhere, so that what differs is the rounding."""

    slots = {"x": SIGNED, "y": SIGNED}

    def scalars(self, t):
        return ()

    @staticmethod
    def update(p, g, x, y):
        return g, g, g


N = 1 << 16
HALFWAY, QUARTER = 1 + 2.0**-8, 1 + 2.0**-9  # between two bfloat16 numbers


def rounding(value: float = HALFWAY, seed: int = 0, t: int = 1, ordinal: int = 0) -> list[np.ndarray]:
    """Of each stored array, whether an element was rounded up."""
    driver = Driver(
        Keep(), [np.ones(N)], "bfloat16", "bfloat16", g="float32", seed=seed, tensor_index=[ordinal]
    )
    driver.t = t - 1
    driver.step(np.full(N, value))
    return [array.values > value for array in driver.arrays]


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a, b)[0, 1])


def test_rounding_is_reproducible() -> None:
    for a, b in zip(rounding(seed=3), rounding(seed=3), strict=True):
        np.testing.assert_array_equal(a, b)


def test_every_seed_step_and_tensor_is_rounded_by_other_bits() -> None:
    """No two of 125 agree in more elements than chance does: 65,536 scatter by 1/256."""
    every = [
        rounding(seed=s, t=t, ordinal=k)[0]
        for s, t, k in itertools.product(range(5), (1, 2, 3, 4, 5), range(5))
    ]
    agreement = np.corrcoef(np.array(every, np.float32)) - np.eye(len(every))
    assert np.abs(agreement).max() <= 6 / N**0.5


@pytest.mark.parametrize("value", [HALFWAY, QUARTER])
def test_the_arrays_of_an_element_are_rounded_on_their_own(value: float) -> None:
    """And so are neighbours. The arrays share bits, of which the higher of one are the lower of another."""
    share = (value - 1) * 2**7
    arrays = rounding(value)
    for array in arrays:
        assert array.mean() == pytest.approx(share, abs=5 * (share * (1 - share) / N) ** 0.5)
        for lag in (1, 2, 8, 16, 128):
            assert abs(correlation(array[lag:], array[:-lag])) <= 5 / N**0.5 + 0.01
    for a, b in itertools.combinations(arrays, 2):
        assert abs(correlation(a, b)) <= 5 / N**0.5 + 0.01
    together = np.mean(np.all(arrays, axis=0))
    assert together == pytest.approx(share**3, abs=5 * (share**3 / N) ** 0.5 + 0.01)


def test_an_element_is_rounded_without_bias_over_the_steps() -> None:
    """Each of 65,536 elements, over 64 steps: their means scatter as those of coins do."""
    ups = np.sum([rounding(t=t)[1] for t in range(1, 65)], axis=0)
    assert ups.mean() == pytest.approx(32, abs=5 * 4 / 256)
    # The variance of 64 coins is 16; that of N of its samples scatters by 16 √(2 / N).
    assert ups.var() == pytest.approx(16, abs=5 * 16 * (2 / N) ** 0.5)


# NaN.


@pytest.mark.parametrize("scale", [1.0, float(np.uint32(0x7FFFFFFF).view(np.float32))], ids=str)
def test_all_in_bfloat16_a_nan_stays_one(scale: float) -> None:
    """Nothing looks for it there: its lower half must be empty, whatever the upper one and the rounding."""
    codes = np.arange(1 << 16, dtype=np.uint32).repeat(16) << np.uint32(16)
    values = codes.view(np.float32)
    driver = Driver(Adam(), [np.ones(values.size)], "bfloat16", "bfloat16")
    with np.errstate(invalid="ignore"):
        driver.step(np.ones(values.size))
        driver.step(values, envelope=Envelope(scale=scale))
    expected = np.isnan(values) | np.isnan(scale)
    for array in driver.arrays:
        assert np.isnan(array.values[expected]).all()


# Places.


@pytest.mark.parametrize("n", [1, 15, 127, 128, 129, 300, 1000])
def test_no_place_in_a_tensor_shows(n: int) -> None:
    """Equal elements get equal steps: in whole blocks, in what is left of them, and alone."""
    driver = Driver(Adam(), [np.full(n, 0.7)], slots="float8")
    driver.step(np.full(n, 0.3))
    assert len(set(driver.params[0].values.tolist())) == 1


@pytest.mark.parametrize("eps", [0.0, 1e-40])
@pytest.mark.parametrize("state", [name for name in formats.names() if formats.get(name).scaled])
def test_a_second_moment_that_no_epsilon_adds_to_stays_positive(state: str, eps: float) -> None:
    """When gradients end: 0 over a moment that was flushed to zero would be NaN."""
    driver = Driver(Adam(eps=eps, beta1=0.5, beta2=0.5), [np.ones(300)], slots=state)
    driver.step(np.ones(300))
    for _ in range(300):
        driver.step(np.zeros(300))
    assert np.isfinite(driver.params[0].values).all()
