"""What must never happen to a number in any format: NaN that becomes one, a zero divisor, a lost largest."""

from __future__ import annotations

import numpy as np
import pytest
from code_support import (
    MARGIN,
    UNSCALED,
    both_signs,
    decode,
    every_scaled,
    every_stored,
    every_unscaled,
    limit_of,
    magnitudes,
    numbers,
    smallest,
    spacing,
)
from format_support import TINY, Driver, encode, swap, words
from hypothesis import given
from hypothesis import strategies as st

from adamas import formats
from adamas.formats import BLOCK


@both_signs
@every_stored
@pytest.mark.parametrize("special", [np.nan, np.inf, -np.inf], ids=str)
@pytest.mark.parametrize("place", [0, 127, 128, 255, 299])
def test_nan_stays_and_infinity_saturates(name: str, signed: bool, special: float, place: int) -> None:
    """NaN may take its block with it, and no other; infinity becomes the largest, and takes nothing."""
    x = np.linspace(0.5, 1.5, 300).astype(np.float32)
    x[place] = special if signed else abs(special)
    driver = Driver(swap(signed), [np.zeros(300)], slots=name)
    driver.step(x)
    stored = driver.slots[0][0]
    block = np.arange(300) // BLOCK == place // BLOCK
    others = ~block if stored.format.scaled else np.arange(300) != place
    scale = stored.spread.copy() if stored.format.scaled else 1.0
    driver.step(np.zeros(300))
    read = driver.params[0].values
    off = np.abs(read[others] - x[others])
    limit = spacing(stored.format, np.where(others, x, 1), np.nan_to_num(scale))
    assert (off <= 1.001 * limit[others]).all()
    if np.isnan(special):
        assert np.isnan(read[place])
        return
    assert not np.isnan(read).any()
    assert np.isfinite(read[np.arange(300) != place]).all()
    assert read[place] == pytest.approx(np.sign(x[place]) * limit_of(name, signed), rel=MARGIN)


@every_unscaled
@given(payload=st.integers(1, 0x7FFFFF), sign=st.booleans(), random=st.integers(0, 2**32 - 1))
def test_no_nan_is_carried_into_a_number(name: str, payload: int, sign: bool, random: int) -> None:
    x = np.array([payload | 0x7F800000 | sign << 31], np.uint32).view(np.float32)
    format = formats.get(name)
    assert np.isnan(decode(format, encode(format, x, np.array([random], np.uint32))))[0]


@every_unscaled
@given(random=st.integers(0, 2**32 - 1), sign=st.sampled_from([1, -1]))
def test_infinity_stays_and_the_largest_goes_no_further(name: str, random: int, sign: int) -> None:
    format, word = formats.get(name), np.array([random], np.uint32)
    infinite = encode(format, np.array([sign * np.inf], np.float32), word)
    assert decode(format, infinite)[0] == sign * np.inf
    largest = magnitudes(name, True)[-1]
    kept = encode(format, np.array([sign * largest], np.float32), word)
    assert decode(format, kept)[0] == sign * largest


@both_signs
@pytest.mark.parametrize("name", [x for x in UNSCALED if formats.get(x).largest is not None])
def test_a_format_with_an_end_saturates_there(name: str, signed: bool) -> None:
    """Its largest number is what it says; any beyond is that, and comes back from it."""
    largest = formats.get(name, signed).largest
    assert largest == magnitudes(name, signed)[-1]
    x = np.array([largest, largest * 1.5, 1e30, np.finfo(np.float32).max, np.inf], np.float32)
    x = np.concatenate([x, -x]) if signed else x
    driver = Driver(swap(signed), [np.zeros(x.size)], slots=name)
    driver.step(x)
    np.testing.assert_array_equal(driver.slots[0][0].values, np.sign(x) * largest)


@both_signs
@every_stored
def test_zero_stays_zero_where_a_format_has_one(name: str, signed: bool) -> None:
    """And, where there is a code for it, the zero that it is; else it becomes the smallest number."""
    format = formats.get(name, signed)
    random = words(key=1, ordinal=2, n=1000)
    lowest = float(np.abs(numbers(name, signed)).min())
    codes = encode(format, np.zeros(1000, np.float32), random)
    np.testing.assert_array_equal(codes, 0)
    np.testing.assert_array_equal(decode(format, codes), np.float32(lowest))
    if signed and not format.scaled:
        negative = decode(format, encode(format, np.full(1000, -0.0, np.float32), random))
        np.testing.assert_array_equal(negative, 0)
        assert np.signbit(negative).all()


@both_signs
@every_stored
@pytest.mark.parametrize("n", [1, 129, 300])
def test_zeros_stay_zeros_through_a_kernel(name: str, signed: bool, n: int) -> None:
    """A block of nothing else has a scale of zero, or codes of zero."""
    driver = Driver(swap(signed), [np.zeros(n)], slots=name)
    for _ in range(2):
        driver.step(np.zeros(n))
        np.testing.assert_array_equal(driver.slots[0][0].values, 0)


@every_stored
@given(x=st.floats(TINY, 1.0, width=32), random=st.integers(0, 2**32 - 1))
def test_a_positive_second_moment_never_becomes_zero(name: str, x: float, random: int) -> None:
    """It is divided by."""
    format = formats.get(name, False)
    assert decode(format, encode(format, np.array([x], np.float32), np.array([random], np.uint32)))[0] > 0


@both_signs
@every_scaled
@given(exponent=st.integers(-120, 127), seed=st.integers(0, 1000), n=st.integers(1, BLOCK))
def test_the_largest_of_a_block_survives(name: str, signed: bool, exponent: int, seed: int, n: int) -> None:
    random = np.random.default_rng(seed)
    x = (random.uniform(-1 if signed else 0, 1, n) * 2.0**exponent).astype(np.float32)
    driver = Driver(swap(signed), [np.zeros(n)], slots=name)
    driver.step(x)
    top = np.abs(x).argmax()
    value = abs(float(driver.slots[0][0].values[top]))
    # A code below only where the draw is among the 2^-16 smallest.
    assert value == pytest.approx(min(abs(float(x[top])), limit_of(name, signed)), rel=MARGIN)


@both_signs
@every_scaled
def test_a_block_does_not_see_the_next(name: str, signed: bool) -> None:
    """A huge neighbour in another block changes nothing; in its own it takes the precision with it."""
    x = np.linspace(0.1, 1, 3 * BLOCK).astype(np.float32)
    plain = Driver(swap(signed), [x], slots=name)
    plain.step(x)
    x[BLOCK] = 1e30
    other = Driver(swap(signed), [x], slots=name)
    other.step(x)
    a, b = plain.slots[0][0], other.slots[0][0]
    for block in (slice(0, BLOCK), slice(2 * BLOCK, None)):
        np.testing.assert_array_equal(a.codes[block], b.codes[block])


@both_signs
@every_scaled
def test_the_extremes_of_float32_in_one_format(name: str, signed: bool) -> None:
    """Blocks of only zeros, of the smallest normal numbers, and of the largest.

    Where a format has no zero, of the smallest below which its smallest code is normal.
    """
    least = 4 if 0 in numbers(name, signed) else 1.01 / smallest(name, signed) * magnitudes(name, signed)[-1]
    x = np.repeat(np.array([0.0, TINY * least, 0.999 * np.finfo(np.float32).max], np.float32), BLOCK)
    driver = Driver(swap(signed), [x], slots=name)
    driver.step(x)
    expected = np.minimum(x, limit_of(name, signed))
    np.testing.assert_allclose(driver.slots[0][0].values, expected, rtol=MARGIN)
    assert (driver.slots[0][0].scales[1:] >= TINY).all()


@both_signs
@every_scaled
def test_the_largest_number_of_float32_is_stored(name: str, signed: bool) -> None:
    """Its scale, and its value read back, must not be infinite; it saturates, or loses the last 2^-18."""
    largest = float(np.finfo(np.float32).max)
    x = np.full(BLOCK, 1e38, np.float32)
    x[3] = largest
    driver = Driver(swap(signed), [x], slots=name)
    driver.step(x)
    values = driver.slots[0][0].values
    assert np.isfinite(values).all()
    assert values[3] == pytest.approx(min(largest, limit_of(name, signed)), rel=2.0**-17)


@both_signs
@every_scaled
@pytest.mark.parametrize("n", [1, 5, 127, 129, 200])
def test_what_fills_up_a_block_does_not_change_its_scale(name: str, signed: bool, n: int) -> None:
    """A block that is not whole has the scale of its largest element, not of memory behind it."""
    x = np.random.default_rng(n).uniform(0.5, 1, n).astype(np.float32)
    driver = Driver(swap(signed), [np.zeros(n)], slots=name)
    driver.step(x)
    stored = driver.slots[0][0]
    for k in range(stored.scales.size):
        largest = x[k * BLOCK : (k + 1) * BLOCK].max()
        assert stored.scales[k] == np.float32(largest * np.float32(stored.format.scale_factor))
    assert smallest(name, signed) > 0
