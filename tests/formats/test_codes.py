"""Every code of every format, by brute force: what it means, and that it comes back; kernels beside NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from code_support import (
    MARGIN,
    both_signs,
    codes_of,
    decode,
    every_scaled,
    every_stored,
    every_unscaled,
    grid,
    magnitudes,
    smallest,
)
from format_support import TINY, Driver, Stored, bits_of, block_words, encode, encode_blocks, swap, words
from hypothesis import given
from hypothesis import strategies as st

from adamas import formats
from adamas.formats import BLOCK


def assert_same_numbers(actual: np.ndarray, expected: np.ndarray) -> None:
    """NaN where NaN, and elsewhere the same bits."""
    nan = np.isnan(expected)
    np.testing.assert_array_equal(np.isnan(actual), nan)
    np.testing.assert_array_equal(actual[~nan].view(np.uint32), expected[~nan].view(np.uint32))


# What each code means.


def test_bfloat16_is_the_upper_half_of_float32() -> None:
    codes = np.arange(1 << 16).astype(np.uint16)
    expected = (codes.astype(np.uint32) << 16).view(np.float32)
    assert_same_numbers(decode(formats.get("bfloat16"), codes), expected)


def test_float16_is_ieee() -> None:
    codes = np.arange(1 << 16).astype(np.uint16)
    assert_same_numbers(decode(formats.get("float16"), codes), codes.view(np.float16).astype(np.float32))


def test_signed_float8_is_sign_exponent_and_three_bits_less_the_smallest_power() -> None:
    expected = [(1 + k % 8 / 8) * 2.0 ** (k // 8 - 15) - 2.0**-15 for k in range(128)]
    np.testing.assert_array_equal(
        grid("float8", True), np.array([*expected, *(-x for x in expected)], np.float32)
    )


def test_nonnegative_float8_is_exponent_and_three_bits_less_the_smallest_power() -> None:
    expected = [(1 + k % 8 / 8) * 2.0 ** (k // 8 - 31) - 2.0**-31 for k in range(256)]
    np.testing.assert_array_equal(grid("float8", False), np.array(expected, np.float32))


def test_signed_float4_has_eight_magnitudes() -> None:
    expected = np.array([0, 1, 2, 4, 6, 10, 14, 22], np.float32) / 16
    np.testing.assert_array_equal(grid("float4", True), np.array([*expected, *-expected]))


def test_nonnegative_float4_has_no_zero() -> None:
    expected = [(1 + k % 4 / 4) * 2.0 ** (k // 4 - 3) - 15 / 128 for k in range(16)]
    np.testing.assert_array_equal(grid("float4", False), np.array(expected, np.float32))
    assert 208 < max(expected) / min(expected) < 210


@both_signs
@every_scaled
def test_the_largest_code_is_that_of_the_scale(name: str, signed: bool) -> None:
    """The largest magnitude of a block becomes it, 2^-20 above it so that noise never leads past it."""
    factor, top = formats.get(name, signed).scale_factor, magnitudes(name, signed)[-1]
    assert factor * top == pytest.approx(1 + 2.0**-20, abs=2.0**-24)


@every_scaled
def test_an_element_rounded_up_moves_no_further_than_the_largest(name: str) -> None:
    """The smallest momentum over the root of the smallest second moment, beside those of the largest.

    Neighbours of a large element that are rounded up from nothing then keep within its step.
    """
    momentum = smallest(name, True) / magnitudes(name, True)[-1]
    root = (smallest(name, False) / magnitudes(name, False)[-1]) ** 0.5
    assert momentum <= root


@every_scaled
def test_codes_of_zero_bits_are_new_state(name: str) -> None:
    """Memory that is zeroed, scales too, holds zeros."""
    for signed in (True, False):
        assert decode(formats.get(name, signed), 0, scale=0.0) == 0


@both_signs
@every_scaled
def test_no_code_lies_below_what_kernels_keep_normal(name: str, signed: bool) -> None:
    """2^-34, from which `subnormal_scale` is made."""
    assert smallest(name, signed) >= 2.0**-34


# There and back.


@both_signs
@every_stored
@pytest.mark.parametrize("random", [0, 1, 0x5A5A5A5A, 0x7FFFFFFF, 0xFFFFFFFF], ids=hex)
def test_every_code_comes_back(name: str, signed: bool, random: int) -> None:
    """Whatever the random bits: a number that a format holds is not rounded."""
    format = formats.get(name, signed)
    codes, values = codes_of(format), grid(name, signed)
    kept = ~np.isnan(values) & (signed | ~np.signbit(values))
    again = encode(format, values[kept], np.uint32(random))
    np.testing.assert_array_equal(again[values[kept] != 0], codes[kept & (values != 0)])
    np.testing.assert_array_equal(decode(format, again), values[kept])


@every_unscaled
@both_signs
def test_every_code_comes_back_through_a_kernel(name: str, signed: bool) -> None:
    values = grid(name, signed)
    values = values[np.isfinite(values) & (signed | ~np.signbit(values))]
    driver = Driver(swap(signed), [values], slots=name)
    stored = driver.slots[0][0]
    driver.step(values)
    written = stored.values
    np.testing.assert_array_equal(np.where(np.abs(values) < TINY, 0, values), written)
    driver.step(values)
    assert_same_numbers(driver.params[0].values, written)


@both_signs
@every_scaled
def test_every_code_is_decoded_by_a_kernel(name: str, signed: bool) -> None:
    driver = Driver(swap(signed), [np.zeros(256)], slots=name)
    stored = driver.slots[0][0]
    every = codes_of(stored.format)
    stored.codes, stored.scales[:] = every[np.arange(256) % every.size], [1.0, 2.0**-40]
    expected = stored.values
    driver.step(np.zeros(256))
    np.testing.assert_array_equal(driver.params[0].values, expected)


@both_signs
@every_scaled
def test_every_code_of_a_block_comes_back_through_a_kernel(name: str, signed: bool) -> None:
    """In blocks whose largest magnitude is the largest code; to the margin, which is less than a rounding."""
    every = grid(name, signed)
    values = every[np.arange(256) % every.size].reshape(2, BLOCK).copy()
    values[:, -1] = every.max()
    driver = Driver(swap(signed), [values.ravel()], slots=name)
    driver.step(values.ravel())
    moved = driver.slots[0][0].values - values.ravel()
    # Rounding that keeps the mean takes the code below in one of 2^20 * 2^-17 cases; none of 256 here.
    assert np.abs(moved).max() <= MARGIN * every.max()


@pytest.mark.parametrize("n", [1, 2, 127, 128, 129, 255, 301])
def test_packed_codes_lie_two_a_byte_the_first_below(n: int) -> None:
    """As `Format.packs` says, of every format that packs; the last of an odd number alone."""
    for name in (name for name in formats.names() if formats.get(name).packs > 1):
        driver = Driver(swap(True), [np.zeros(n)], slots=name)
        driver.step(np.random.default_rng(0).standard_normal(n))
        stored = driver.slots[0][0]
        codes, packed = stored.codes, stored.stored
        assert packed.size == (n + 1) // 2
        np.testing.assert_array_equal(packed[: n // 2], codes[: n // 2 * 2 : 2] | (codes[1::2] << 4))
        assert packed[-1] & 15 == codes[n - 1 - (n - 1) % 2]


# Kernels and NumPy are one text.

WILD = st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=300)


@both_signs
@every_stored
@given(values=WILD)
def test_a_kernel_stores_the_very_bits_that_numpy_does(name: str, signed: bool, values: list[float]) -> None:
    x = np.array(values, np.float32)
    x = x if signed else np.abs(x)
    driver = Driver(swap(signed), [np.zeros(x.size)], slots=name)
    driver.step(x)
    stored, format = driver.slots[0][0], formats.get(name, signed)
    random = (block_words if format.scaled else words)(int(driver.job._keys[0]), 0, x.size)
    normal = np.where(np.abs(x) < TINY, np.float32(0), x)
    if format.largest is not None:
        normal = np.clip(normal, -np.float32(format.largest), np.float32(format.largest))
    if format.scaled:
        codes, scales = encode_blocks(format, x, random, stored.scale_of)
        np.testing.assert_array_equal(stored.scales, scales)
    else:
        codes = encode(format, normal, random)
    expected = decode(format, codes, stored.spread if format.scaled else 1)
    np.testing.assert_array_equal(stored.codes[expected != 0], codes[expected != 0])
    np.testing.assert_array_equal(stored.values, expected)


def test_a_kernel_reads_a_gradient_in_any_plain_format() -> None:
    """Such a gradient is not rounded, for it is not stored."""
    driver = Driver(swap(True), [np.zeros(5)], slots="bfloat16")
    first = bits_of([Stored(driver.kernel.formats["g"], np.arange(5))])
    assert first == bits_of([Stored(formats.get("float32"), np.arange(5))])
