"""Every code of every format, by brute force; what rounding keeps; what must never happen to a number."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
from format_support import EPS, TINY, Driver, Stored, bits_of, encode, encode_blocks, swap, words
from hypothesis import given
from hypothesis import strategies as st

from adamas import formats
from adamas.formats import BLOCK, Format

HALVES = ["bfloat16", "float16"]
both_signs = pytest.mark.parametrize("signed", [True, False], ids=["signed", "nonnegative"])
every_half = pytest.mark.parametrize("name", HALVES)
STORAGE = [(name, signed) for name in (*HALVES, "float8") for signed in (True, False)]
every_storage = pytest.mark.parametrize(("name", "signed"), STORAGE)


def codes_of(format: Format) -> np.ndarray:
    """All of them: 65,536, or 256."""
    return np.arange(1 << 8 * format.stored.itemsize).astype(format.stored)


def decode(format: Format, codes: Any) -> np.ndarray:
    assert format.decode is not None
    return format.decode(np.asarray(codes, format.stored))


def assert_same_numbers(actual: np.ndarray, expected: np.ndarray) -> None:
    """NaN where NaN, and elsewhere the same bits."""
    nan = np.isnan(expected)
    np.testing.assert_array_equal(np.isnan(actual), nan)
    np.testing.assert_array_equal(actual[~nan].view(np.uint32), expected[~nan].view(np.uint32))


@functools.cache
def grid(signed: bool) -> np.ndarray:
    """The values of all float8 codes."""
    return decode(formats.get("float8", signed), codes_of(formats.get("float8", signed)))


# What each code means.


def test_bfloat16_is_the_upper_half_of_float32() -> None:
    codes = np.arange(1 << 16).astype(np.uint16)
    expected = (codes.astype(np.uint32) << 16).view(np.float32)
    assert_same_numbers(decode(formats.get("bfloat16"), codes), expected)


def test_float16_is_ieee() -> None:
    codes = np.arange(1 << 16).astype(np.uint16)
    assert_same_numbers(decode(formats.get("float16"), codes), codes.view(np.float16).astype(np.float32))


def test_signed_float8_is_sign_exponent_and_three_bits() -> None:
    expected = [
        0.0 if k == 0 else (1 + k % 8 / 8) * 2.0 ** (k // 8 - 15) for k in range(128)
    ]  # the code of 2^-15 is zero
    np.testing.assert_array_equal(grid(True), np.array([*expected, *(-x for x in expected)], np.float32))


def test_nonnegative_float8_is_exponent_and_three_bits() -> None:
    expected = [0.0 if k == 0 else (1 + k % 8 / 8) * 2.0 ** (k // 8 - 31) for k in range(256)]
    np.testing.assert_array_equal(grid(False), np.array(expected, np.float32))


@both_signs
def test_the_root_of_what_float8_holds_spans_enough(signed: bool) -> None:
    """Signed moments and roots of second moments have ranges of one size: 2^15 and 2^15.5 below the top."""
    smallest = grid(signed)[1]
    assert grid(signed).max() == 1.875
    assert 2.0**-16 < (smallest if signed else smallest**0.5) < 2.0**-14


# There and back.


@every_storage
@pytest.mark.parametrize("random", [0, 1, 0x5A5A5A5A, 0x7FFFFFFF, 0xFFFFFFFF], ids=hex)
def test_every_code_comes_back(name: str, signed: bool, random: int) -> None:
    """Whatever the random bits: a number that a format holds is not rounded."""
    format = formats.get(name, signed)
    codes = codes_of(format)
    values = decode(format, codes)
    kept = ~np.isnan(values) & (signed | ~np.signbit(values))
    again = encode(format, values[kept], np.uint32(random))
    np.testing.assert_array_equal(again[values[kept] != 0], codes[kept & (values != 0)])
    np.testing.assert_array_equal(decode(format, again), values[kept])


@every_half
@both_signs
def test_every_code_comes_back_through_a_kernel(name: str, signed: bool) -> None:
    format = formats.get(name, signed)
    values = decode(format, codes_of(format))
    values = values[np.isfinite(values) & (signed | ~np.signbit(values))]
    driver = Driver(swap(signed), [values], slots=name)
    stored = driver.slots[0][0]
    driver.step(values)
    written = stored.values
    np.testing.assert_array_equal(np.where(np.abs(values) < TINY, 0, values), written)
    driver.step(values)
    assert_same_numbers(driver.params[0].values, written)


@both_signs
def test_every_float8_code_is_decoded_by_a_kernel(signed: bool) -> None:
    driver = Driver(swap(signed), [np.zeros(256)], slots="float8")
    stored = driver.slots[0][0]
    stored.codes[:], stored.scales[:] = np.arange(256), [1.0, 2.0**-40]
    expected = stored.values
    driver.step(np.zeros(256))
    np.testing.assert_array_equal(driver.params[0].values, expected)


@both_signs
def test_every_float8_code_comes_back_through_a_kernel(signed: bool) -> None:
    """In blocks whose largest magnitude is the largest code; to the margin, which is less than a rounding."""
    values = grid(signed).reshape(2, BLOCK).copy()
    values[:, -1] = grid(signed).max()
    driver = Driver(swap(signed), [values.ravel()], slots="float8")
    driver.step(values.ravel())
    moved = driver.slots[0][0].values - values.ravel()
    # Rounding that keeps the mean takes the code below in one of 2^20 * 2^-17 cases; none of 256 here.
    assert np.abs(moved).max() <= 2.0**-20 * 1.875


# Kernels and NumPy are one text.

WILD = st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=300)


@every_storage
@given(values=WILD)
def test_a_kernel_stores_the_very_bits_that_numpy_does(name: str, signed: bool, values: list[float]) -> None:
    x = np.array(values, np.float32)
    x = x if signed else np.abs(x)
    driver = Driver(swap(signed), [np.zeros(x.size)], slots=name)
    driver.step(x)
    stored, format = driver.slots[0][0], formats.get(name, signed)
    random = (words_of_blocks if formats.get(name).scaled else words)(int(driver.job._keys[0]), 0, x.size)
    normal = np.where(np.abs(x) < TINY, np.float32(0), x)
    if format.scaled:
        codes, scales = encode_blocks(format, x, random)
        np.testing.assert_array_equal(stored.scales, scales)
    else:
        codes = encode(format, normal, random)
    values_of = np.abs(decode(format, codes)) if signed else decode(format, codes)
    np.testing.assert_array_equal(stored.codes[values_of != 0], codes[values_of != 0])
    np.testing.assert_array_equal(decode(format, stored.codes), decode(format, codes))


# Nearest, where nothing is random.


def distances(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """From each value to its signed code, and to the nearest of all codes."""
    format = formats.get("float8", True)
    chosen = decode(format, format.encode(x, np.uint32(0))).astype(np.float64)
    nearest = np.abs(x.astype(np.float64)[:, None] - np.unique(grid(True).astype(np.float64))).min(axis=1)
    return np.abs(chosen - x), nearest


def around(points: np.ndarray) -> np.ndarray:
    """Each point with the float32 numbers on both sides."""
    points = points.astype(np.float32)
    below, above = np.nextafter(points, np.float32(-9)), np.nextafter(points, np.float32(9))
    return np.concatenate([below, points, above])


def test_signed_float8_is_the_nearest_of_all_codes() -> None:
    """Around every code, around the middle of every two, and at random in every octave and below."""
    codes = np.unique(grid(True).astype(np.float64))
    random = np.random.default_rng(0)
    scattered = random.uniform(-1.9374, 1.9374, 4000) * 2.0 ** -random.integers(0, 24, 4000)
    x = np.concatenate([around(codes), around((codes[1:] + codes[:-1]) / 2), scattered.astype(np.float32)])
    actual, nearest = distances(x)
    np.testing.assert_array_equal(actual, nearest)


@given(st.floats(-1.875, 1.875, width=32))
def test_signed_float8_is_the_nearest(x: float) -> None:
    actual, nearest = distances(np.array([x], np.float32))
    assert actual == nearest


@both_signs
@given(x=st.floats(0, 1.875, width=32), random=st.integers(0, 2**32 - 1))
def test_float8_rounds_to_a_neighbour(signed: bool, x: float, random: int) -> None:
    format = formats.get("float8", signed)
    code = format.encode(np.array([x], np.float32), np.array([random], np.uint32))
    below, above = (grid(signed)[(grid(signed) <= x)].max(), grid(signed)[(grid(signed) >= x)].min())
    assert decode(format, code)[0] in (below, above)


@every_half
@given(x=st.floats(-6e4, 6e4, width=32), random=st.integers(0, 2**32 - 1))
def test_sixteen_bits_round_to_a_neighbour(name: str, x: float, random: int) -> None:
    format = formats.get(name)
    value = decode(format, encode(format, np.array([x], np.float32), np.array([random], np.uint32)))[0]
    kept = encode(format, np.array([value]), np.uint32(0))
    assert decode(format, kept)[0] == value
    spacing = (
        max(abs(x) * 2.0**-7, TINY * 2.0**-7) if name == "bfloat16" else max(abs(x) * 2.0**-10, 2.0**-24)
    )
    assert abs(float(value) - x) < spacing or value == x


# The mean.

WORDS = 1 << 16


def bias(format: Format, x: float) -> tuple[float, float]:
    """The mean error over many random words, and its standard error, in units of the two codes' distance."""
    random = words(key=12345, ordinal=6, n=WORDS)
    values = decode(format, encode(format, np.full(WORDS, x, np.float32), random)).astype(np.float64)
    low, high = values.min(), values.max()
    if low == high:
        return float(low - np.float32(x)), 0.0
    share = (np.float32(x) - low) / (high - low)
    # With as many random bits as are dropped, or 20, the probability is a multiple of 2^-20, 2^-12 for the
    # subnormal halves: the mean may be off by half of that.
    return float((values.mean() - np.float32(x)) / (high - low)), (share * (1 - share) / WORDS) ** 0.5


ROUNDED = [("bfloat16", True), ("float16", True), ("float16", False), ("float8", False)]
KEEPING = {
    "bfloat16": [1.001, -1.001, 3e-39, 1.1754945e-38, 1e-30, 3.3e38, 0.0086],
    "float16": [1.0003, -1.0003, 60001.5, 6.1e-5, 6.2e-5, 3.5e-6, -3.5e-6, 1e-7, 6.5e-8, 1.5e-5, 0.99995],
    "float8": [1.0, 1.874, 1.01, 0.77, 3e-5, 1e-9, 5.3e-10, 2.0**-31 * 1.126],
}


@pytest.mark.parametrize(("name", "signed"), ROUNDED)
def test_rounding_keeps_the_mean(name: str, signed: bool) -> None:
    """To five standard errors, which none of some thirty draws exceeds, and the grain of the random bits."""
    for x in KEEPING[name]:
        if signed or x >= 0:
            mean, sigma = bias(formats.get(name, signed), x)
            assert abs(mean) <= 5 * sigma + 2.0**-12, x


def test_float16_keeps_the_mean_below_its_smallest_number() -> None:
    """Of signed values; a second moment must stay positive instead."""
    for x in (2.0**-25, 1e-8, -1e-8, 1e-9):
        mean, sigma = bias(formats.get("float16", True), x)
        assert abs(mean) <= 5 * sigma + 2.0**-12, x


@pytest.mark.parametrize(("name", "signed"), ROUNDED)
def test_the_share_of_the_upper_code_is_exact(name: str, signed: bool) -> None:
    """Over every random word there is, not a sample: as many ups as the distance from the code below says."""
    format = formats.get(name, signed)
    n_bits = {"bfloat16": 16, "float16": 13, "float8": 20}[name]
    random = np.arange(1 << n_bits, dtype=np.uint32) << np.uint32(32 - n_bits)
    for x in (1.0009765625 + EPS, 1.3, 0.7, 1.75):
        values = decode(format, encode(format, np.full(random.size, x, np.float32), random)).astype(
            np.float64
        )
        assert values.mean() == pytest.approx(np.float32(x), rel=2.0**-40)


# What must not happen.


@every_storage
@pytest.mark.parametrize("special", [np.nan, np.inf, -np.inf], ids=str)
@pytest.mark.parametrize("place", [0, 127, 128, 255, 299])
def test_nan_and_infinity_never_become_a_number(name: str, signed: bool, special: float, place: int) -> None:
    """They may take their block with them, and no other."""
    x = np.linspace(0.5, 1.5, 300).astype(np.float32)
    x[place] = special if signed else abs(special)
    driver = Driver(swap(signed), [np.zeros(300)], slots=name)
    driver.step(x)
    block = np.arange(300) // BLOCK == place // BLOCK
    others = ~block if driver.slots[0][0].format.scaled else np.arange(300) != place
    driver.step(np.zeros(300))
    read = driver.params[0].values
    assert not np.isfinite(read[place])
    assert np.isfinite(read[others]).all()
    np.testing.assert_allclose(read[others], x[others], rtol=2.0**-3)
    if np.isnan(special) or not driver.slots[0][0].format.scaled:
        np.testing.assert_array_equal(read[place], x[place])


@every_half
@given(payload=st.integers(1, 0x7FFFFF), sign=st.booleans(), random=st.integers(0, 2**32 - 1))
def test_no_nan_is_carried_into_a_number(name: str, payload: int, sign: bool, random: int) -> None:
    x = np.array([payload | 0x7F800000 | sign << 31], np.uint32).view(np.float32)
    format = formats.get(name)
    assert np.isnan(decode(format, encode(format, x, np.array([random], np.uint32))))[0]


@every_half
@given(random=st.integers(0, 2**32 - 1), sign=st.sampled_from([1, -1]))
def test_infinity_stays_and_the_largest_goes_no_further(name: str, random: int, sign: int) -> None:
    format, word = formats.get(name), np.array([random], np.uint32)
    infinite = encode(format, np.array([sign * np.inf], np.float32), word)
    assert decode(format, infinite)[0] == sign * np.inf
    largest = {"bfloat16": 255 * 2.0**120, "float16": 65504.0}[name]
    kept = encode(format, np.array([sign * largest], np.float32), word)
    assert decode(format, kept)[0] == sign * largest


@every_storage
def test_zero_stays_zero(name: str, signed: bool) -> None:
    """And, where there is a code for it, the zero that it is."""
    format = formats.get(name, signed)
    random = words(key=1, ordinal=2, n=1000)
    np.testing.assert_array_equal(encode(format, np.zeros(1000, np.float32), random), 0)
    negative = decode(format, encode(format, np.full(1000, -0.0, np.float32), random))
    np.testing.assert_array_equal(negative, 0)
    assert np.signbit(negative).all() or name == "float8"


@pytest.mark.parametrize("name", ["bfloat16", "float16", "float8"])
@given(x=st.floats(TINY, 1.0, width=32), random=st.integers(0, 2**32 - 1))
def test_a_positive_second_moment_never_becomes_zero(name: str, x: float, random: int) -> None:
    """It is divided by."""
    format = formats.get(name, False)
    assert decode(format, encode(format, np.array([x], np.float32), np.array([random], np.uint32)))[0] > 0


@both_signs
@given(exponent=st.integers(-120, 127), seed=st.integers(0, 1000), n=st.integers(1, BLOCK))
def test_the_largest_of_a_block_survives(signed: bool, exponent: int, seed: int, n: int) -> None:
    random = np.random.default_rng(seed)
    x = (random.uniform(-1 if signed else 0, 1, n) * 2.0**exponent).astype(np.float32)
    driver = Driver(swap(signed), [np.zeros(n)], slots="float8")
    driver.step(x)
    top = np.abs(x).argmax()
    value = float(driver.slots[0][0].values[top])
    # The margin of 2^-20; and one rounding each of scale, inverse and product, below which a code may lie
    # only where the draw is among the 2^-17 smallest.
    assert value == pytest.approx(float(x[top]), rel=2.0**-20 + 3 * EPS)


@both_signs
def test_a_block_does_not_see_the_next(signed: bool) -> None:
    """A huge neighbour in another block changes nothing; in its own it takes the precision with it."""
    x = np.linspace(0.1, 1, 3 * BLOCK).astype(np.float32)
    plain = Driver(swap(signed), [x], slots="float8")
    plain.step(x)
    x[BLOCK] = 1e30
    other = Driver(swap(signed), [x], slots="float8")
    other.step(x)
    a, b = plain.slots[0][0], other.slots[0][0]
    for block in (slice(0, BLOCK), slice(2 * BLOCK, None)):
        np.testing.assert_array_equal(a.codes[block], b.codes[block])


@both_signs
def test_the_extremes_of_float32_in_one_format(signed: bool) -> None:
    """Blocks of only zeros, of the smallest normal numbers, and of the largest."""
    x = np.repeat(np.array([0.0, TINY * 4, 0.999 * np.finfo(np.float32).max], np.float32), BLOCK)
    driver = Driver(swap(signed), [x], slots="float8")
    driver.step(x)
    np.testing.assert_allclose(driver.slots[0][0].values, x, rtol=2.0**-20 + 4 * EPS)
    assert (driver.slots[0][0].scales >= TINY).all()


def test_a_kernel_reads_a_gradient_in_any_plain_format() -> None:
    """Such a gradient is not rounded, for it is not stored."""
    driver = Driver(swap(True), [np.zeros(5)], slots="bfloat16")
    first = bits_of([Stored(driver.kernel.formats["g"], np.arange(5))])
    assert first == bits_of([Stored(formats.get("float32"), np.arange(5))])
