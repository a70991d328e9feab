"""Rounding of every format: to the codes beside a value, to the nearest in conversions, and in the mean."""

from __future__ import annotations

import numpy as np
import pytest
from code_support import (
    SCALED,
    STORED,
    both_signs,
    decode,
    every_scaled,
    every_stored,
    magnitudes,
    numbers,
    smallest,
    spacing,
)
from format_support import EPS, encode, words
from hypothesis import given
from hypothesis import strategies as st

from adamas import formats
from adamas.backends.numba.emit import emit_conversion
from adamas.formats import Format

# The random bits of conversions: just below one half.
NEAREST = np.uint32(0x7FFFFFFF)


def top_of(name: str, signed: bool) -> float:
    """The largest value that scaled codes are made of."""
    return float(magnitudes(name, signed)[-1]) if name in SCALED else 60000.0


def floor_of(name: str, signed: bool) -> float:
    """The smallest positive value of which the mean is kept: a divisor must not become zero."""
    return 0.0 if signed or not formats.get(name, signed).encode else smallest(name, signed)


# Nearest, where nothing is random.


def around(points: np.ndarray) -> np.ndarray:
    """Each point with the float32 numbers on both sides."""
    points = points.astype(np.float32)
    below, above = np.nextafter(points, np.float32(-9)), np.nextafter(points, np.float32(9))
    return np.concatenate([below, points, above])


@both_signs
@every_scaled
def test_a_conversion_takes_the_nearest_of_all_codes(name: str, signed: bool) -> None:
    """Around every code, around the middle of every two, and at random in every octave and below."""
    format, random = formats.get(name, signed), np.random.default_rng(0)
    codes, top = numbers(name, signed), top_of(name, signed)
    scattered = random.uniform(-top, top, 4000) * 2.0 ** -random.integers(0, 40, 4000)
    x = np.concatenate([around(codes), around((codes[1:] + codes[:-1]) / 2), scattered.astype(np.float32)])
    x = x[np.abs(x) <= top] if signed else x[(x >= codes[0]) & (x >= smallest(name, signed)) & (x <= top)]
    chosen = decode(format, encode(format, x, NEAREST)).astype(np.float64)
    actual, nearest = np.abs(chosen - x), np.abs(x.astype(np.float64)[:, None] - codes).min(axis=1)
    # The sum with the offset, sixteen smallest codes at most, is rounded.
    assert (actual <= nearest + EPS * (np.abs(x) + 16 * smallest(name, signed))).all()


def test_conversions_use_the_bits_of_the_nearest() -> None:
    text = emit_conversion(formats.get("float32"), formats.get(SCALED[0]), "")
    assert f"0x{int(NEAREST):X}" in text.upper().replace("0X", "0x")


@both_signs
@every_stored
@given(share=st.floats(0, 1, width=32), octave=st.integers(0, 40), random=st.integers(0, 2**32 - 1))
def test_a_value_becomes_one_of_the_two_codes_beside_it(
    name: str, signed: bool, share: float, octave: int, random: int
) -> None:
    """Positive ones below the smallest code of a second moment become that."""
    format = formats.get(name, signed)
    x = np.array([share * top_of(name, signed) * 2.0**-octave], np.float32)
    value = float(decode(format, encode(format, x, np.array([random], np.uint32)))[0])
    codes = numbers(name, signed)
    below, above = codes[codes <= x[0]].max(initial=codes.min()), codes[codes >= x[0]].min()
    lowest = floor_of(name, signed)
    assert value in (below, above) or (0 < x[0] < lowest and value == lowest)


# The mean.

WORDS = 1 << 16


def bias(format: Format, x: float) -> tuple[float, float]:
    """The mean error over many random words, and its standard error, in units of the two codes' distance."""
    random = words(key=12345, ordinal=6, n=WORDS)
    values = decode(format, encode(format, np.full(WORDS, x, np.float32), random)).astype(np.float64)
    low, high = values.min(), values.max()
    if low == high:
        return float((low - np.float32(x)) / max(float(spacing(format, np.array(x))), 1e-45)), 0.0
    share = (np.float32(x) - low) / (high - low)
    # With as many random bits as are dropped, or 20, the probability is a multiple of 2^-20, 2^-12 for the
    # subnormal halves: the mean may be off by half of that.
    return float((values.mean() - np.float32(x)) / (high - low)), (share * (1 - share) / WORDS) ** 0.5


# Of unscaled formats, numbers at the ends of their ranges and in the middle.
KEEPING = {
    "bfloat16": [1.001, 3e-39, 1.1754945e-38, 1e-30, 3.3e38, 0.0086],
    "float16": [1.0003, 60001.5, 6.1e-5, 6.2e-5, 3.5e-6, 1e-7, 6.5e-8, 1.5e-5, 0.99995],
}


def values_for(name: str, signed: bool) -> list[float]:
    """Values over the whole range, of both signs where there are two; below every code, if that is kept."""
    if name in SCALED:
        top, lowest = top_of(name, signed), floor_of(name, signed)
        sizes = [top * factor * 2.0**-k for k in range(36) for factor in (0.999, 0.77)]
        sizes = [x for x in sizes if x > lowest and x > smallest(name, signed) * 2.0**-6]
    else:
        sizes = [x for x in KEEPING.get(name, [1.0003, 0.77, 0.0086]) if x > floor_of(name, signed)]
    return [x * sign for x in sizes for sign in ((1, -1) if signed else (1,))]


@both_signs
@every_stored
def test_rounding_keeps_the_mean(name: str, signed: bool) -> None:
    """To five standard errors, which none of some hundred draws exceeds, and the grain of the random bits."""
    for x in values_for(name, signed):
        mean, sigma = bias(formats.get(name, signed), x)
        assert abs(mean) <= 5 * sigma + 2.0**-12, x


def test_float16_keeps_the_mean_below_its_smallest_number() -> None:
    """Of signed values; a second moment must stay positive instead."""
    for x in (2.0**-25, 1e-8, -1e-8, 1e-9):
        mean, sigma = bias(formats.get("float16", True), x)
        assert abs(mean) <= 5 * sigma + 2.0**-12, x


@both_signs
@every_stored
def test_the_share_of_the_upper_code_is_exact(name: str, signed: bool) -> None:
    """Over every random word that is told apart: as many ups as the distance from the code below says."""
    format = formats.get(name, signed)
    random = np.arange(1 << 22, dtype=np.uint32) << np.uint32(10)  # no format drops more than 22 bits
    top = top_of(name, signed) if name in SCALED else 1.875
    for share in (0.5338136, 0.71, 0.93):
        # Few enough digits that the sum with an offset is exact.
        x = round(share * top * 2.0**20) / 2.0**20
        values = decode(format, encode(format, np.full(random.size, x, np.float32), random))
        assert len(np.unique(values)) == 2
        assert values.mean(dtype=np.float64) == pytest.approx(x, rel=2.0**-30)


def test_every_stored_format_rounds_at_random() -> None:
    """Rounding to nearest would stop a moving average where a step no longer reaches half a code."""
    assert all(formats.get(name, signed).rounds for name in STORED for signed in (True, False))
