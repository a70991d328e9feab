"""The random bits of blocks: what NumPy computes, and about as good as true random numbers.

An element's bits in one step and in others, those of any two places, and of both arrays of one product, are
as independent as 2^15 blocks can show. Thresholds are for thousands of comparisons at once.
"""

import numpy as np
import pytest
from format_support import BLOCK, Driver, block_words, key, swap

from adamas import formats
from adamas.backends.numba import compile_rule
from adamas.rules import Adam

BLOCKS = 1 << 15


@pytest.fixture(scope="module")
def drawn() -> np.ndarray:
    """The bits of both arrays, (2 * BLOCK, BLOCKS): of the first tensor in as many steps of one seed."""
    first = np.stack([block_words(key(3, t), 0, BLOCK) for t in range(1, BLOCKS + 1)], axis=1)
    return np.concatenate([first, first << np.uint32(12)])


def test_upper_bits_of_two_places_coincide_as_rarely_as_by_chance(drawn: np.ndarray) -> None:
    """The upper four of any two places, and of both arrays at any two places: 32,640 pairs."""
    upper = (drawn >> np.uint32(28)).astype(np.uint8)
    together = np.zeros((2 * BLOCK, 2 * BLOCK))
    for value in range(16):
        is_it = (upper == value).astype(np.float32)
        together += is_it @ is_it.T
    pairs = together[np.triu_indices(2 * BLOCK, 1)] / BLOCKS
    noise = np.sqrt(1 / 16 * 15 / 16 / BLOCKS)
    assert abs(pairs.std() / noise - 1) < 0.05
    assert np.abs(pairs - 1 / 16).max() < 6 * noise


def test_no_two_places_are_correlated(drawn: np.ndarray) -> None:
    noise = drawn / 2.0**32 - 0.5
    noise /= noise.std(axis=1, keepdims=True)
    pairs = (noise @ noise.T / BLOCKS)[np.triu_indices(2 * BLOCK, 1)] * np.sqrt(BLOCKS)
    assert abs(pairs.std() - 1) < 0.05
    assert np.abs(pairs).max() < 6


@pytest.mark.parametrize("array", [0, 1])
def test_the_noise_of_a_block_adds_up_as_by_chance(array: int, drawn: np.ndarray) -> None:
    """Neither lattices nor shared bits: their sum has the variance and the tails of a normal number."""
    total = (drawn[array * BLOCK : (array + 1) * BLOCK] / 2.0**32 - 0.5).sum(axis=0)
    assert total.var() * 12 / BLOCK == pytest.approx(1, abs=0.05)
    assert (total**4).mean() / total.var() ** 2 == pytest.approx(3, abs=0.2)
    assert abs(total.mean()) < 5 * np.sqrt(BLOCK / 12 / BLOCKS)


@pytest.mark.parametrize("array", [0, 1])
def test_every_place_draws_evenly(array: int, drawn: np.ndarray) -> None:
    for place in drawn[array * BLOCK : (array + 1) * BLOCK]:
        counts = np.bincount(place >> np.uint32(28), minlength=16)
        assert np.abs(counts - BLOCKS / 16).max() < 6 * np.sqrt(BLOCKS / 16)


@pytest.mark.parametrize("signed", [True, False])
def test_kernels_draw_these_bits(signed: bool) -> None:
    """Between two codes it is the bits that decide: a value half-way, in each of 1000 places."""
    format, n = formats.get("float8", signed), 1000
    values = np.full(n, 1.0625, np.float32) * np.resize([1.0, 1.9], n).astype(np.float32)
    driver = Driver(swap(signed), [np.zeros(n)], slots="float8")
    driver.step(values)
    stored = driver.slots[0][0]
    bits = block_words(key(0, 1), 0, n)
    assert format.encode is not None
    inverse = (np.float32(1) / stored.scales)[stored.scale_of]
    np.testing.assert_array_equal(stored.codes, format.encode(values, inverse, bits))
    assert len(set(stored.codes.tolist())) > 2


def test_two_arrays_share_a_product_and_more_have_their_own() -> None:
    text = compile_rule(Adam(), "float32", slots={"m": "float8", "v": "float8"}).path.read_text("utf-8")
    assert "draw(bits, multiplier_of(block_key, 0)))" in text
    assert "lower_bits(draw(bits, multiplier_of(block_key, 0)))" in text
    text = compile_rule(Adam(), "bfloat16", slots={"m": "float8", "v": "float8"}).path.read_text("utf-8")
    assert "encode_p(p, draw(bits, multiplier_of(block_key, 1)))" in text
