"""Texts as sequences of characters: the IMDB reviews, and a synthetic text that needs no download."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from adamas._tools.files import cache_folder

from . import ExperimentError, data, words

# All others, two in ten thousand of the reviews' characters, are read as "?". A code is a place in here.
VOCABULARY = "\n" + "".join(map(chr, range(ord(" "), ord("~") + 1)))

# Part of the name of cached codes and of a run's identity: to be raised when `encode` or an order changes.
ENCODING = 1


@dataclass(frozen=True)
class TextSet:
    """How to name and how to load a text, as codes (characters,)."""

    identity: Callable[[], str]
    load: Callable[[], NDArray[np.uint8]]


def encode(text: str) -> NDArray[np.uint8]:
    """The codes of a text's characters; line-break tags are read as the ends of lines they mean."""
    table = np.full(256, VOCABULARY.index("?"), np.uint8)
    table[np.frombuffer(VOCABULARY.encode(), np.uint8)] = np.arange(len(VOCABULARY))
    plain = text.replace("<br />", "\n").encode("ascii", "replace")
    codes: NDArray[np.uint8] = table[np.frombuffer(plain, np.uint8)]
    return codes


def _imdb_identity() -> str:
    return f"imdb text {data.fingerprint(words.imdb_sources())} encoding {ENCODING}"


@functools.cache
def load_imdb() -> NDArray[np.uint8]:
    """The training reviews, a positive and a negative one in turn, a line end after each.

    They are encoded once for each user.
    """
    name = f"text-{ENCODING}-{data.fingerprint(words.imdb_sources())}.bin"
    cached = cache_folder() / "imdb" / name
    if not cached.exists():
        reviews, _ = words.read_imdb()["train"]
        turns = zip(reviews[: words.EACH], reviews[words.EACH :], strict=True)
        data.keep(cached, encode("\n".join(chain.from_iterable(turns)) + "\n").tobytes())
    codes = np.fromfile(cached, np.uint8)
    if codes.size == 0 or codes.max() >= len(VOCABULARY):
        raise ExperimentError(f"the cached text {cached} is corrupt. Delete the file")
    return codes


# The synthetic text: words of letters at random, as frequent as Zipf's law says, in lines.
BABBLE_WORDS = 200
BABBLE_LENGTH = 25_000  # words
BABBLE_LINE = 8  # words, the mean


@functools.cache
def load_babble() -> NDArray[np.uint8]:
    """The synthetic text, always the same."""
    random = np.random.Generator(np.random.PCG64(0))
    letters = list("etaoinshrdlu")
    known = ["".join(random.choice(letters, size)) for size in random.integers(1, 8, BABBLE_WORDS)]
    frequency = 1 / np.arange(1, BABBLE_WORDS + 1)
    said = random.choice(known, BABBLE_LENGTH, p=frequency / frequency.sum())
    after = np.where(random.random(BABBLE_LENGTH) < 1 / BABBLE_LINE, ".\n", " ")
    return encode("".join(chain.from_iterable(zip(said, after, strict=True))))


SETS = {
    "imdb": TextSet(_imdb_identity, load_imdb),
    "babble": TextSet(lambda: "synthetic text 1", load_babble),
}


def find(name: str) -> TextSet:
    """The text of that name.

    Raises:
        ExperimentError: there is none; the message lists those that exist.
    """
    if name not in SETS:
        raise ExperimentError(f"unknown text {name!r}; known: {', '.join(sorted(SETS))}")
    return SETS[name]
