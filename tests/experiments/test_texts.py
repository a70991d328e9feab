from pathlib import Path

import numpy as np
import pytest

from adamas.experiments import ExperimentError, datasets
from adamas.experiments.datasets import CHARACTERS, babble, encode, imdb

REVIEWS = ["good<br />1", "good 2", "bad é", "bad 4"]


def decode(codes: np.ndarray) -> str:
    return "".join(CHARACTERS[code] for code in codes)


def test_the_known_characters_come_back_and_others_are_question_marks() -> None:
    assert len(set(CHARACTERS)) == len(CHARACTERS) == 96
    assert decode(encode(CHARACTERS)) == CHARACTERS
    assert decode(encode("é\t\x96<br />")) == "???\n"


def test_the_synthetic_text_is_the_same_each_time() -> None:
    text = datasets.text("babble").load()
    babble.load.cache_clear()
    assert np.array_equal(datasets.text("babble").load(), text)
    assert "?" not in decode(text)
    assert text.dtype == np.uint8


@pytest.fixture
def small_imdb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four reviews, and the folder of what is cached of them."""
    labels = np.array([1, 1, 0, 0])
    monkeypatch.setattr(imdb, "read", lambda: {"train": (REVIEWS, labels)})
    monkeypatch.setattr(imdb, "EACH", 2)
    monkeypatch.setenv("ADAMAS_CACHE", str(tmp_path))
    return tmp_path / "imdb"


def test_reviews_alternate_and_are_cached(small_imdb: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = imdb.load_text.__wrapped__()
    assert decode(text) == "good\n1\nbad ?\ngood 2\nbad 4\n"
    monkeypatch.delattr(imdb, "read")
    assert np.array_equal(imdb.load_text.__wrapped__(), text)


@pytest.mark.parametrize("content", [b"", b"\0\1\xff"])
def test_a_corrupt_cache_is_named(small_imdb: Path, content: bytes) -> None:
    imdb.load_text.__wrapped__()
    (cached,) = small_imdb.iterdir()
    cached.write_bytes(content)
    with pytest.raises(ExperimentError, match=f"{cached} is corrupt. Delete the file"):
        imdb.load_text.__wrapped__()


def test_an_unknown_text_lists_those_there_are() -> None:
    with pytest.raises(ExperimentError, match="unknown text 'Iliad'; known: babble, imdb"):
        datasets.text("Iliad")


@pytest.mark.realdata
def test_the_reviews_are_whole() -> None:
    text = datasets.text("imdb").load()
    assert len(text) == 32_642_391
    assert decode(text[:20]) == "Bromwell High is a c"
