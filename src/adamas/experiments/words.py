"""Bags of words: the IMDB reviews, and a synthetic corpus that needs no download."""

from __future__ import annotations

import functools
import io
import json
import lzma
import re
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.feature_extraction.text import CountVectorizer

from adamas._tools.files import cache_folder

from . import ExperimentError, data

EACH = 12_500  # reviews of each label in each part of the IMDB reviews
VOCABULARY = 10_000  # the paper's number of words (section 6.1)

# Part of the name of cached counts and of a run's identity: to be raised when `tokens` or `count` changes.
COUNTING = 1


@dataclass(frozen=True)
class Corpus:
    """Word counts, CSR float32, (documents, words); labels int64, 1 for positive, (documents,)."""

    train: Any
    train_labels: NDArray[np.int64]
    test: Any
    test_labels: NDArray[np.int64]


@dataclass(frozen=True)
class CorpusSet:
    """How to name and how to load a corpus."""

    identity: Callable[[], str]
    load: Callable[[], Corpus]


# The reviews of Maas et al. (2011), as published, and repackaged as JSON lines (which has no address).
ARCHIVE = data.Source("imdb", "aclImdb_v1.tar.gz", "md5:7c2ac02c03563afcf9b574c7e56c153a")
LINES = {
    "train": data.Source(
        "imdb",
        "train.jsonl.xz",
        "sha256:a3c14b0913376c1fb6f51ab576803735d8418bf83f6a98495b2924adae533398",
        official=False,
    ),
    "test": data.Source(
        "imdb",
        "test.jsonl.xz",
        "sha256:e28d085ad156c81e24950543f5a4ef14c2b2514b3f2d9e4fd54860785ab7a77c",
        official=False,
    ),
}

Reviews = tuple[list[str], NDArray[np.int64]]


def read_lines(path: Path, each: int) -> Reviews:
    """Texts and labels from xz-compressed JSON lines: `each` positive reviews, then as many negative ones.

    Raises:
        ExperimentError: cut short, or not of this form.
    """
    try:
        with lzma.open(path, "rt", encoding="utf-8") as file:
            reviews = [json.loads(line) for line in file]
        texts = [str(review["text"]) for review in reviews]
        labels = np.array([review["label"] for review in reviews], np.int64)
    except (OSError, EOFError, lzma.LZMAError, ValueError, TypeError, KeyError) as error:
        raise ExperimentError(
            f"{path} is not whole xz-compressed JSON lines of reviews: {error}. Replace it"
        ) from error
    _check(path, labels, each)
    return texts, labels


def read_archive(path: Path, each: int) -> dict[str, Reviews]:
    """Texts and labels by part from the published archive, in the order of `read_lines`; nothing is unpacked.

    Raises:
        ExperimentError: cut short, or not of this form.
    """
    found: dict[str, list[tuple[int, int, str]]] = {"train": [], "test": []}
    pattern = re.compile(r"aclImdb/(train|test)/(pos|neg)/(\d+)_\d+\.txt")
    try:
        with tarfile.open(path, "r|gz") as archive:
            for member in archive:
                match = pattern.fullmatch(member.name)
                file = archive.extractfile(member) if match else None
                if match and file:
                    text = file.read().decode("utf-8")
                    found[match[1]].append((1 - int(match[2] == "pos"), int(match[3]), text))
    except (OSError, EOFError, tarfile.TarError, zlib.error, UnicodeDecodeError) as error:
        raise ExperimentError(f"{path} is not the whole archive of reviews: {error}. Replace it") from error
    reviews = {}
    for part, entries in found.items():
        entries.sort()
        labels = np.array([1 - negative for negative, _, _ in entries], np.int64)
        _check(path, labels, each)
        reviews[part] = [text for _, _, text in entries], labels
    return reviews


def _check(path: Path, labels: NDArray[np.int64], each: int) -> None:
    if not np.array_equal(labels, np.repeat([1, 0], each)):
        raise ExperimentError(
            f"{path} holds {len(labels):,} reviews, {int((labels == 1).sum()):,} of them positive: expected "
            f"{each:,} positive, then {each:,} negative. Replace it"
        )


def tokens(text: str) -> list[str]:
    """The words of a review: lower case, letters and digits, apostrophes inside; line-break tags are none."""
    return re.findall(r"[^\W_]+(?:'[^\W_]+)*", text.lower().replace("<br />", " "))


def count(train: Iterable[str], test: Iterable[str], size: int) -> tuple[Any, Any]:
    """Counts of the `size` most frequent words of the training texts: by frequency, then by alphabet."""
    every = _vectorizer()
    counts = sparse.csr_array(every.fit_transform(train))
    kept = np.argsort(-counts.sum(axis=0), kind="stable")[:size]
    frequent = _vectorizer(vocabulary=every.get_feature_names_out()[kept])
    return _sorted(counts[:, kept]), _sorted(sparse.csr_array(frequent.transform(test)))


def _vectorizer(vocabulary: Any = None) -> Any:
    vectorizer: Any = CountVectorizer  # its annotations, where inferred, are wrong
    return vectorizer(analyzer=tokens, dtype=np.float32, vocabulary=vocabulary)


def _sorted(counts: Any) -> Any:
    counts.sort_indices()
    return counts


def imdb_sources() -> list[data.Source]:
    """The repackaged files where ADAMAS_DATA has one of them, else the published archive."""
    folder = data.given_folder()
    lines = list(LINES.values())
    if folder and any((folder / source.set / source.name).exists() for source in lines):
        return lines
    return [ARCHIVE]


def _imdb_identity() -> str:
    return f"imdb {data.fingerprint(imdb_sources())} counting {COUNTING}"


def read_imdb() -> dict[str, Reviews]:
    """The IMDB reviews, checked, by part: "train" and "test"."""
    sources = imdb_sources()
    paths = [data.get(source) for source in sources]
    if sources == [ARCHIVE]:
        return read_archive(paths[0], EACH)
    return {part: read_lines(path, EACH) for part, path in zip(LINES, paths, strict=True)}


@functools.cache
def load_imdb() -> Corpus:
    """The IMDB reviews, counted once for each user."""
    sources = imdb_sources()
    for source in sources:
        data.get(source)
    cached = cache_folder() / "imdb" / f"counts-{COUNTING}-{data.fingerprint(sources)}.npz"
    if cached.exists():
        return _read_counts(cached)
    parts = read_imdb()
    train, test = count(parts["train"][0], parts["test"][0], VOCABULARY)
    corpus = Corpus(train, parts["train"][1], test, parts["test"][1])
    _write_counts(cached, corpus)
    return corpus


def _write_counts(path: Path, corpus: Corpus) -> None:
    arrays = {"train_labels": corpus.train_labels, "test_labels": corpus.test_labels}
    for part, counts in (("train", corpus.train), ("test", corpus.test)):
        arrays |= {f"{part}_{name}": getattr(counts, name) for name in ("data", "indices", "indptr", "shape")}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    data.keep(path, buffer.getvalue())


def _read_counts(path: Path) -> Corpus:
    def part(name: str) -> Any:
        parts = tuple(arrays[f"{name}_{field}"] for field in ("data", "indices", "indptr"))
        return sparse.csr_array(parts, shape=tuple(arrays[f"{name}_shape"]))

    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return Corpus(part("train"), arrays["train_labels"], part("test"), arrays["test_labels"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ExperimentError(
            f"the cached word counts {path} are corrupt: {error}. Delete the file"
        ) from error


# The synthetic corpus: word frequencies by Zipf's law, and for each word a leaning to one of the labels.
ZIPF_DOCUMENTS = {"train": 4_000, "test": 1_000}
ZIPF_WORDS = 2_000
ZIPF_LENGTH = 80
ZIPF_LEANING = 0.4  # standard deviation of a word's log-odds


@functools.cache
def load_zipf() -> Corpus:
    """The synthetic corpus, always the same."""
    random = np.random.Generator(np.random.PCG64(0))
    frequency = 1 / np.arange(1, ZIPF_WORDS + 1)
    leaning = random.normal(0, ZIPF_LEANING, ZIPF_WORDS)

    def part(documents: int) -> tuple[Any, NDArray[np.int64]]:
        labels = random.integers(0, 2, documents)
        chances = frequency * np.exp((labels[:, None] - 0.5) * leaning)
        counts = random.multinomial(ZIPF_LENGTH, chances / chances.sum(axis=1, keepdims=True))
        return sparse.csr_array(counts.astype(np.float32)), labels.astype(np.int64)

    return Corpus(*part(ZIPF_DOCUMENTS["train"]), *part(ZIPF_DOCUMENTS["test"]))


SETS = {
    "imdb": CorpusSet(_imdb_identity, load_imdb),
    "zipf": CorpusSet(lambda: "synthetic Zipf corpus 1", load_zipf),
}


def find(name: str) -> CorpusSet:
    """The corpus of that name.

    Raises:
        ExperimentError: there is none; the message lists those that exist.
    """
    if name not in SETS:
        raise ExperimentError(f"unknown corpus {name!r}; known: {', '.join(sorted(SETS))}")
    return SETS[name]
