"""Data sets. Each public module is one and holds it in the forms it has, found by the module's name.

- `IMAGES`, an `ImageSet`: labelled images as vectors;
- `WORDS`, a `CorpusSet`: labelled documents as word counts;
- `TEXT`, a `TextSet`: one text as character codes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from adamas._tools import modules

from .. import ExperimentError

__all__ = [
    "CHARACTERS",
    "Corpus",
    "CorpusSet",
    "ImageSet",
    "Images",
    "TextSet",
    "encode",
    "images",
    "text",
    "words",
]

CHARACTERS = "\n" + "".join(map(chr, range(ord(" "), ord("~") + 1)))
"""The characters of a text; the code of each is its index. All others are read as "?"."""


@dataclass(frozen=True)
class Images:
    """Training and test images: float32 in [0, 1], (examples, pixels); labels int64 0..9, (examples,)."""

    train: NDArray[np.float32]
    train_labels: NDArray[np.int64]
    test: NDArray[np.float32]
    test_labels: NDArray[np.int64]


@dataclass(frozen=True)
class ImageSet:
    """The name and the loader of a set of images.

    Args:
        identity: names the data exactly, without reading them.
        load: gets and checks them.
        shape: channels, rows and columns, the order of the pixels.
    """

    identity: Callable[[], str]
    load: Callable[[], Images]
    shape: tuple[int, int, int]


@dataclass(frozen=True)
class Corpus:
    """Word counts, CSR float32, (documents, words); labels int64, 1 for positive, (documents,)."""

    train: Any
    train_labels: NDArray[np.int64]
    test: Any
    test_labels: NDArray[np.int64]


@dataclass(frozen=True)
class CorpusSet:
    """The name and the loader of a corpus, as in `ImageSet`."""

    identity: Callable[[], str]
    load: Callable[[], Corpus]


@dataclass(frozen=True)
class TextSet:
    """The name and the loader of a text, as in `ImageSet`; it is loaded as codes, uint8 (characters,)."""

    identity: Callable[[], str]
    load: Callable[[], NDArray[np.uint8]]


S = TypeVar("S")


def images(name: str) -> ImageSet:
    """Return the image set of that name.

    Raises:
        ExperimentError: there is none; the message lists those that exist.
    """
    return _find(name, "IMAGES", ImageSet, "image set")


def words(name: str) -> CorpusSet:
    """Return the corpus of that name; raises as `images` does."""
    return _find(name, "WORDS", CorpusSet, "corpus")


def text(name: str) -> TextSet:
    """Return the text of that name; raises as `images` does."""
    return _find(name, "TEXT", TextSet, "text")


def encode(text: str) -> NDArray[np.uint8]:
    """Return the codes of a text's characters; line-break tags become the line ends they stand for."""
    table = np.full(256, CHARACTERS.index("?"), np.uint8)
    table[np.frombuffer(CHARACTERS.encode(), np.uint8)] = np.arange(len(CHARACTERS))
    plain = text.replace("<br />", "\n").encode("ascii", "replace")
    codes: NDArray[np.uint8] = table[np.frombuffer(plain, np.uint8)]
    return codes


def _find(name: str, form: str, kind: type[S], label: str) -> S:
    found = _in_form(name, form, kind) if name in modules.names(__name__) else None
    if found is None:
        known = [each for each in modules.names(__name__) if _in_form(each, form, kind)]
        raise ExperimentError(f"unknown {label} {name!r}; known: {', '.join(known)}")
    return found


def _in_form(name: str, form: str, kind: type[S]) -> S | None:
    found = getattr(modules.load(__name__, name), form, None)
    return found if isinstance(found, kind) else None
