import io
import itertools
import json
import lzma
import tarfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adamas.experiments import ExperimentError, datasets
from adamas.experiments.datasets import _download, imdb, zipf

TEXTS = ["Good, good film.<br /><br />It's good", "a fine film", "Bad film", "bad BAD, a don't"]
LABELS = [1, 1, 0, 0]


def write_lines(path: Path, texts: list[str], labels: list[int]) -> Path:
    lines = [json.dumps({"text": text, "label": label}) for text, label in zip(texts, labels, strict=True)]
    path.write_bytes(lzma.compress("\n".join(lines).encode()))
    return path


def write_archive(path: Path, texts: list[str], labels: list[int]) -> Path:
    """As published: both parts alike, other files among them, in no useful order."""
    with tarfile.open(path, "w:gz") as archive:
        for part in ("test", "train"):
            files = {f"aclImdb/{part}/unsup/0_0.txt": "unlabelled", f"aclImdb/{part}/urls_pos.txt": "url"}
            numbers = {1: itertools.count(), 0: itertools.count()}
            for text, label in zip(texts, labels, strict=True):
                files[f"aclImdb/{part}/{['neg', 'pos'][label]}/{next(numbers[label])}_7.txt"] = text
            for name, text in reversed(files.items()):
                member = tarfile.TarInfo(name)
                member.size = len(text.encode())
                archive.addfile(member, io.BytesIO(text.encode()))
    return path


def test_words_are_lower_case_and_keep_inner_apostrophes() -> None:
    assert imdb.tokens(TEXTS[0]) == ["good", "good", "film", "it's", "good"]
    assert imdb.tokens("'Tis 2nd-rate -- naïve_café'") == ["tis", "2nd", "rate", "naïve", "café"]


word = st.sampled_from("abcdefgh")
documents = st.lists(st.lists(word, max_size=8).map(" ".join), min_size=1, max_size=6)


@given(documents.filter(lambda texts: any(texts)), documents, st.integers(1, 9))
def test_counts_are_those_of_the_most_frequent_training_words(
    train: list[str], test: list[str], size: int
) -> None:
    total = Counter(" ".join(train).split())
    kept = sorted(total, key=lambda each: (-total[each], each))[:size]
    for texts, counts in zip((train, test), imdb.count(train, test, size), strict=True):
        expected = [[text.split().count(each) for each in kept] for text in texts]
        np.testing.assert_array_equal(counts.toarray(), expected)
        assert counts.dtype == np.float32


def test_lines_and_archive_give_the_same_reviews(tmp_path: Path) -> None:
    texts, labels = imdb.read_lines(write_lines(tmp_path / "train.jsonl.xz", TEXTS, LABELS), 2)
    assert (texts, labels.tolist()) == (TEXTS, LABELS)
    archived = imdb.read_archive(write_archive(tmp_path / "all.tar.gz", TEXTS, LABELS), 2)
    for part in ("train", "test"):
        assert (archived[part][0], archived[part][1].tolist()) == (TEXTS, LABELS)


@pytest.mark.parametrize("share", [0, 0.1, 0.5, 0.9])
def test_a_cut_file_is_refused_by_name(tmp_path: Path, share: float) -> None:
    lines = write_lines(tmp_path / "train.jsonl.xz", TEXTS, LABELS)
    archive = write_archive(tmp_path / "all.tar.gz", TEXTS * 50, LABELS * 50)
    for path in (lines, archive):
        path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(ExperimentError, match=f"{lines} .*Replace it"):
        imdb.read_lines(lines, 2)
    with pytest.raises(ExperimentError, match=f"{archive} .*Replace it"):
        imdb.read_archive(archive, 100)


def test_missing_or_unsorted_reviews_are_refused_by_name(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "train.jsonl.xz", TEXTS, LABELS[::-1])
    with pytest.raises(ExperimentError, match=r"4 reviews, 2 of them positive: expected 2 positive, then 2"):
        imdb.read_lines(path, 2)
    archive = write_archive(tmp_path / "all.tar.gz", TEXTS, LABELS)
    with pytest.raises(ExperimentError, match=f"{archive} holds 4 reviews"):
        imdb.read_archive(archive, 3)


@pytest.mark.parametrize("line", [b"{}", b"[]", b"no json", b"\xff", b'{"text": "x", "label": "y"}'])
def test_other_lines_are_refused_by_name(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "train.jsonl.xz"
    path.write_bytes(lzma.compress(line))
    with pytest.raises(ExperimentError, match=f"{path} is not whole"):
        imdb.read_lines(path, 1)


@pytest.fixture
def small_imdb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An ADAMAS_DATA folder with four reviews a part in the repackaged form, and an empty cache."""
    folder = tmp_path / "imdb"
    folder.mkdir()
    for part in ("train", "test"):
        write_lines(folder / f"{part}.jsonl.xz", TEXTS, LABELS)
    monkeypatch.setenv(_download.VARIABLE, str(tmp_path))
    monkeypatch.setenv("ADAMAS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(_download, "get", lambda source: tmp_path / source.set / source.name)
    monkeypatch.setattr(imdb, "EACH", 2)
    imdb.load_words.cache_clear()
    yield tmp_path
    imdb.load_words.cache_clear()


def same(one: datasets.Corpus, other: datasets.Corpus) -> bool:
    return (
        np.array_equal(one.train.toarray(), other.train.toarray())
        and np.array_equal(one.test.toarray(), other.test.toarray())
        and np.array_equal(one.train_labels, other.train_labels)
        and np.array_equal(one.test_labels, other.test_labels)
    )


def test_counts_are_cached_and_come_back_the_same(small_imdb: Path) -> None:
    first = datasets.words("imdb").load()
    imdb.load_words.cache_clear()
    for path in (small_imdb / "imdb").iterdir():
        path.write_bytes(b"not read again")
    assert same(datasets.words("imdb").load(), first)


def test_a_corrupt_cache_is_named(small_imdb: Path) -> None:
    datasets.words("imdb").load()
    imdb.load_words.cache_clear()
    (cached,) = (small_imdb / "cache" / "imdb").iterdir()
    cached.write_bytes(cached.read_bytes()[:-30])
    with pytest.raises(ExperimentError, match=f"{cached} are corrupt.*Delete the file"):
        datasets.words("imdb").load()


def test_the_identity_tells_the_two_forms_apart(small_imdb: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repackaged = datasets.words("imdb").identity()
    monkeypatch.delenv(_download.VARIABLE)
    assert datasets.words("imdb").identity() != repackaged


def test_the_synthetic_corpus_is_zipfian_and_the_same_each_time() -> None:
    corpus = datasets.words("zipf").load()
    zipf.load.cache_clear()
    assert same(datasets.words("zipf").load(), corpus)
    frequency = corpus.train.sum(axis=0)
    assert frequency[0] / frequency[9] == pytest.approx(10, rel=0.3)
    assert corpus.train_labels.mean() == pytest.approx(0.5, abs=0.05)


@pytest.mark.realdata
def test_imdb_is_whole() -> None:
    corpus = datasets.words("imdb").load()
    for counts, labels in ((corpus.train, corpus.train_labels), (corpus.test, corpus.test_labels)):
        assert counts.shape == (25_000, 10_000)
        assert np.bincount(labels).tolist() == [12_500, 12_500]
    totals = corpus.train.sum(axis=0)
    assert np.all(np.diff(totals) <= 0)
    assert totals[0] == 336_756  # "the"
