"""The IMDB reviews (Maas et al. 2011), as bags of words and as one text of characters."""

from __future__ import annotations

import functools
import io
import json
import lzma
import re
import tarfile
import zipfile
import zlib
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.feature_extraction.text import CountVectorizer

from adamas._tools.files import cache_folder

from .. import ExperimentError
from .._cache import keep
from . import CHARACTERS, Corpus, CorpusSet, TextSet, _download, encode

EACH = 12_500  # reviews of each label in each part of the IMDB reviews
VOCABULARY = 10_000  # the paper's number of words (section 6.1)

# Versions of the preprocessing, part of the names of cached files and of the identities: bump COUNTING when
# `tokens` or `count` changes, ENCODING when `encode` or the order of the reviews does.
COUNTING = 1
ENCODING = 1


ADDRESS = "https://ai.stanford.edu/~amaas/data/sentiment/"
# The reviews as published, and repackaged as JSON lines, which have no address.
ARCHIVE = _download.Source("imdb", "aclImdb_v1.tar.gz", "md5:7c2ac02c03563afcf9b574c7e56c153a", ADDRESS)
LINES = {
    "train": _download.Source(
        "imdb",
        "train.jsonl.xz",
        "sha256:a3c14b0913376c1fb6f51ab576803735d8418bf83f6a98495b2924adae533398",
    ),
    "test": _download.Source(
        "imdb",
        "test.jsonl.xz",
        "sha256:e28d085ad156c81e24950543f5a4ef14c2b2514b3f2d9e4fd54860785ab7a77c",
    ),
}

Reviews = tuple[list[str], NDArray[np.int64]]


def read_lines(path: Path, each: int) -> Reviews:
    """Read texts and labels from xz-compressed JSON lines: `each` positive reviews, then as many negative.

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
    """Read texts and labels by part from the archive, in the order of `read_lines`; nothing is unpacked.

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
    """Split a review into words: lower case, letters, digits, inner apostrophes; no line-break tags."""
    return re.findall(r"[^\W_]+(?:'[^\W_]+)*", text.lower().replace("<br />", " "))


def count(train: Iterable[str], test: Iterable[str], size: int) -> tuple[Any, Any]:
    """Count the `size` most frequent words of the training texts, by frequency, then by alphabet."""
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


def sources_here() -> list[_download.Source]:
    """Return the repackaged files where ADAMAS_DATA has one of them, else the published archive."""
    folder = _download.given_folder()
    lines = list(LINES.values())
    if folder and any((folder / source.set / source.name).exists() for source in lines):
        return lines
    return [ARCHIVE]


def words_identity() -> str:
    """Name the files and the way of counting."""
    return f"imdb {_download.fingerprint(sources_here())} counting {COUNTING}"


def read() -> dict[str, Reviews]:
    """Read and check the reviews, by part: "train" and "test"."""
    sources = sources_here()
    paths = [_download.get(source) for source in sources]
    if sources == [ARCHIVE]:
        return read_archive(paths[0], EACH)
    return {part: read_lines(path, EACH) for part, path in zip(LINES, paths, strict=True)}


@functools.cache
def load_words() -> Corpus:
    """Load the word counts, which are computed once for each user."""
    sources = sources_here()
    for source in sources:
        _download.get(source)
    cached = cache_folder() / "imdb" / f"counts-{COUNTING}-{_download.fingerprint(sources)}.npz"
    if cached.exists():
        return _read_counts(cached)
    parts = read()
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
    keep(path, buffer.getvalue())


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


def text_identity() -> str:
    """Name the files and the encoding."""
    return f"imdb text {_download.fingerprint(sources_here())} encoding {ENCODING}"


@functools.cache
def load_text() -> NDArray[np.uint8]:
    """Load the training reviews, positive and negative ones alternating, a line end after each.

    They are encoded once for each user.
    """
    name = f"text-{ENCODING}-{_download.fingerprint(sources_here())}.bin"
    cached = cache_folder() / "imdb" / name
    if not cached.exists():
        reviews, _ = read()["train"]
        turns = zip(reviews[:EACH], reviews[EACH:], strict=True)
        keep(cached, encode("\n".join(chain.from_iterable(turns)) + "\n").tobytes())
    codes = np.fromfile(cached, np.uint8)
    if codes.size == 0 or codes.max() >= len(CHARACTERS):
        raise ExperimentError(f"the cached text {cached} is corrupt. Delete the file")
    return codes


WORDS = CorpusSet(words_identity, load_words)
TEXT = TextSet(text_identity, load_text)
