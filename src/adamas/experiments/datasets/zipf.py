"""A synthetic corpus: word frequencies by Zipf's law, and for each word a leaning to one of the labels."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from . import Corpus, CorpusSet

DOCUMENTS = {"train": 4_000, "test": 1_000}
VOCABULARY = 2_000
LENGTH = 80
LEANING = 0.4  # standard deviation of a word's log-odds


@functools.cache
def load() -> Corpus:
    """Draw the corpus, always the same one."""
    random = np.random.Generator(np.random.PCG64(0))
    frequency = 1 / np.arange(1, VOCABULARY + 1)
    leaning = random.normal(0, LEANING, VOCABULARY)

    def part(documents: int) -> tuple[Any, NDArray[np.int64]]:
        labels = random.integers(0, 2, documents)
        chances = frequency * np.exp((labels[:, None] - 0.5) * leaning)
        counts = random.multinomial(LENGTH, chances / chances.sum(axis=1, keepdims=True))
        return sparse.csr_array(counts.astype(np.float32)), labels.astype(np.int64)

    return Corpus(*part(DOCUMENTS["train"]), *part(DOCUMENTS["test"]))


WORDS = CorpusSet(lambda: "synthetic Zipf corpus 1", load)
