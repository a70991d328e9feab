"""A shard draws the random bits of the elements it has: together, shards are the same bits as the whole."""

from __future__ import annotations

import numpy as np
import pytest
from code_support import STORED
from format_support import Driver
from rule_cases import gradients, parameters

from adamas import formats
from adamas.backends import Runs
from adamas.rules import Adam

ROWS, ROW = 12, 384
N = ROWS * ROW
IN_BLOCKS = [name for name in STORED if formats.get(name).scaled]


def whole(p: str, state: str, length: int | None) -> Driver:
    return run(p, state, np.arange(N), None, length)


def run(p: str, state: str, elements: np.ndarray, runs: Runs | None, length: int | None) -> Driver:
    lengths = None if length is None else [length]
    driver = Driver(Adam(lr=0.1), [parameters(N)[elements]], p, state, lengths=lengths, runs=[runs])
    for g in gradients(3, N):
        driver.step(0.01 * g[elements])
    return driver


def rows(first: int, last: int) -> tuple[np.ndarray, Runs, int]:
    return np.arange(first * ROW, last * ROW), Runs((last - first) * ROW, [first * ROW]), ROW


def columns(first: int, last: int) -> tuple[np.ndarray, Runs, int]:
    firsts = [row * ROW + first for row in range(ROWS)]
    elements = np.concatenate([np.arange(start, start + last - first) for start in firsts])
    return elements, Runs(last - first, firsts), last - first


SPLITS = {
    "rows": [rows(0, 5), rows(5, 12)],
    "columns": [columns(0, 128), columns(128, 384)],
}


@pytest.mark.parametrize("split", SPLITS.values(), ids=SPLITS)
@pytest.mark.parametrize(
    ("p", "state"),
    [*(("float32", state) for state in STORED), ("bfloat16", "bfloat16"), ("bfloat16", "float8")],
)
def test_shards_are_the_same_bits_as_the_whole(p: str, state: str, split: list[tuple]) -> None:
    try:
        together = whole(p, state, ROW)
    except ValueError:
        pytest.skip(f"Adam keeps no state in {state}")
    for elements, runs, length in split:
        part = run(p, state, elements, runs, length)
        for mine, of_all in zip(part.arrays, together.arrays, strict=True):
            np.testing.assert_array_equal(mine.codes, of_all.codes[elements])
            if mine.format.scaled:
                np.testing.assert_array_equal(mine.spread, of_all.spread[elements])


@pytest.mark.parametrize("state", ["bfloat16"])
def test_elements_split_anywhere_where_nothing_has_blocks(state: str) -> None:
    together = whole("bfloat16", state, None)
    for first, last in [(0, 1), (1, 778), (778, N)]:
        elements = np.arange(first, last)
        part = run("bfloat16", state, elements, Runs(last - first, [first]), None)
        for mine, of_all in zip(part.arrays, together.arrays, strict=True):
            np.testing.assert_array_equal(mine.codes, of_all.codes[elements])
