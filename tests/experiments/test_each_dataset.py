"""Each data set: a new file in `datasets` is tested by being there."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adamas._tools import modules
from adamas.experiments import ExperimentError, datasets
from adamas.experiments.datasets import CHARACTERS, _download

FORMS = {"IMAGES": datasets.images, "WORDS": datasets.words, "TEXT": datasets.text}
NAMES = modules.names(datasets.__name__)
SETS = [
    (name, form) for name in NAMES for form in FORMS if hasattr(modules.load(datasets.__name__, name), form)
]
each_set = pytest.mark.parametrize(("name", "form"), SETS)


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """No download: a set that needs one is skipped, with that as the reason."""

    def skip(source: _download.Source) -> Path:
        pytest.skip(f"needs {source.set}/{source.name} in the folder of {_download.VARIABLE}")

    monkeypatch.setattr(_download, "_download", skip)


def test_every_module_holds_a_set() -> None:
    assert {name for name, _ in SETS} == set(NAMES)


@each_set
def test_it_is_named_without_being_read(name: str, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_download, "get", None)
    found = FORMS[form](name)
    assert found.identity() == found.identity()
    others = [FORMS[other](each).identity() for each, other in SETS if (each, other) != (name, form)]
    assert found.identity() not in others


def check_labels(labels: Any, count: int, classes: int) -> None:
    assert (labels.dtype, labels.shape) == (np.int64, (count,))
    assert 0 <= labels.min() <= labels.max() < classes


def check_images(found: datasets.Images, shape: tuple[int, int, int]) -> None:
    for pixels, labels in ((found.train, found.train_labels), (found.test, found.test_labels)):
        assert pixels.dtype == np.float32
        assert pixels.shape[1] == math.prod(shape)
        assert 0 <= pixels.min() < pixels.max() <= 1
        check_labels(labels, len(pixels), 10)


def check_words(found: datasets.Corpus) -> None:
    assert found.train.shape[1] == found.test.shape[1]
    for counts, labels in ((found.train, found.train_labels), (found.test, found.test_labels)):
        assert counts.dtype == np.float32
        assert counts.min() >= 0
        check_labels(labels, counts.shape[0], 2)


def arrays(loaded: Any) -> list[Any]:
    """All there is in a loaded set, dense."""
    parts = [loaded] if isinstance(loaded, np.ndarray) else list(vars(loaded).values())
    return [part if isinstance(part, np.ndarray) else part.toarray() for part in parts]


@each_set
@pytest.mark.usefixtures("offline")
def test_it_is_loaded_in_its_form_and_the_same_every_time(name: str, form: str) -> None:
    found = FORMS[form](name)
    loaded = found.load()
    if form == "IMAGES":
        check_images(loaded, found.shape)
    elif form == "WORDS":
        check_words(loaded)
    else:
        assert (loaded.dtype, loaded.ndim) == (np.uint8, 1)
        assert loaded.max() < len(CHARACTERS)
    if name not in ("cifar10", "mnist", "imdb"):  # whose files have checksums, and take long
        load = getattr(found.load, "__wrapped__", found.load)
        for one, other in zip(arrays(load()), arrays(loaded), strict=True):
            np.testing.assert_array_equal(one, other)


def test_a_constant_of_a_form_s_name_is_no_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modules.load(datasets.__name__, "babble"), "WORDS", 200, raising=False)
    with pytest.raises(ExperimentError, match="unknown corpus 'babble'; known: imdb, zipf"):
        datasets.words("babble")


@pytest.mark.parametrize("form", FORMS)
def test_an_unknown_name_lists_those_of_the_form(form: str) -> None:
    known = ", ".join(name for name, other in SETS if other == form)
    with pytest.raises(ExperimentError, match=f"unknown .* 'none'; known: {known}$"):
        FORMS[form]("none")
    others = {name for name, _ in SETS} - set(known.split(", "))
    for name in others:
        with pytest.raises(ExperimentError, match=f"unknown .* '{name}'"):
            FORMS[form](name)
