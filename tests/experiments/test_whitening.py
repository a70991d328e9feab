from pathlib import Path

import numpy as np
import pytest

from adamas.experiments import ExperimentError, datasets
from adamas.experiments.problems import _whitening as whitening


def pixels(count: int = 400) -> np.ndarray:
    """Images of 6 pixels that depend on each other."""
    random = np.random.default_rng(0)
    mixed: np.ndarray = random.normal(size=(count, 6)) @ random.normal(size=(6, 6)) + 3
    return mixed.astype(np.float32)


def covariance(x: np.ndarray) -> np.ndarray:
    return np.asarray(np.cov(x.astype(float), rowvar=False, bias=True))


def test_without_a_floor_whitened_pixels_are_uncorrelated_and_of_variance_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(whitening, "FLOOR", 0.0)
    mean, matrix = whitening.zca(pixels())
    white = (pixels() - mean) @ matrix
    np.testing.assert_allclose(white.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(covariance(white), np.eye(6), atol=1e-3)
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-6)


def test_the_floor_is_added_to_every_variance() -> None:
    matrix = whitening.zca(pixels())[1].astype(float)
    found = covariance(pixels())
    expected = found + whitening.FLOOR * found.trace() / 6 * np.eye(6)
    np.testing.assert_allclose(matrix @ expected @ matrix, np.eye(6), atol=1e-3)


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = whitening.zca(pixels())
    monkeypatch.setattr(whitening, "_ROWS", 77)
    for one, other in zip(whole, whitening.zca(pixels()), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_constant_pixels_stay_finite() -> None:
    x = pixels()
    x[:, 2] = 0.25
    mean, matrix = whitening.zca(x)
    assert np.isfinite((x - mean) @ matrix).all()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of the matrices that are kept."""
    monkeypatch.setenv("ADAMAS_CACHE", str(tmp_path))
    return tmp_path / "whitening"


def test_the_test_images_are_whitened_as_the_training_images_are(folder: Path) -> None:
    loaded = whitening.load.__wrapped__("digits", 100)
    plain = datasets.images("digits").load()
    mean, matrix = whitening.zca(plain.train[:100])
    np.testing.assert_array_equal(loaded.train, (plain.train[:100] - mean) @ matrix)
    np.testing.assert_array_equal(loaded.test, (plain.test - mean) @ matrix)
    assert loaded.train_labels.tolist() == plain.train_labels[:100].tolist()
    assert loaded.train.dtype == loaded.test.dtype == np.float32


def test_the_matrix_is_kept_for_each_set_and_count(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = whitening.load.__wrapped__("digits", 100)
    whitening.load.__wrapped__("digits", 200)
    assert len(list(folder.iterdir())) == 2
    monkeypatch.delattr(whitening, "zca")
    np.testing.assert_array_equal(whitening.load.__wrapped__("digits", 100).train, one.train)


@pytest.mark.parametrize("content", [b"", b"no matrix"])
def test_a_corrupt_matrix_is_named(folder: Path, content: bytes) -> None:
    whitening.load.__wrapped__("digits", 100)
    (kept,) = folder.iterdir()
    for wrong in (content, kept.read_bytes()[:-100]):
        kept.write_bytes(wrong)
        with pytest.raises(ExperimentError, match=f"{kept} is corrupt.*Delete the file"):
            whitening.load.__wrapped__("digits", 100)
