"""A synthetic text: words of random letters, as frequent as Zipf's law says, in lines."""

from __future__ import annotations

import functools
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from . import TextSet, encode

VOCABULARY = 200
LENGTH = 25_000  # words
LINE = 8  # words, the mean


@functools.cache
def load() -> NDArray[np.uint8]:
    """Draw the text, always the same one."""
    random = np.random.Generator(np.random.PCG64(0))
    letters = list("etaoinshrdlu")
    known = ["".join(random.choice(letters, size)) for size in random.integers(1, 8, VOCABULARY)]
    frequency = 1 / np.arange(1, VOCABULARY + 1)
    said = random.choice(known, LENGTH, p=frequency / frequency.sum())
    after = np.where(random.random(LENGTH) < 1 / LINE, ".\n", " ")
    return encode("".join(chain.from_iterable(zip(said, after, strict=True))))


TEXT = TextSet(lambda: "synthetic text 1", load)
