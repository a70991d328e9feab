import gzip
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_sample_images

from adamas.experiments import ExperimentError, datasets
from adamas.experiments.datasets import mnist


def idx(shape: tuple[int, ...]) -> bytes:
    """An IDX file of bytes that count up."""
    header = b"\0\0\x08" + bytes([len(shape)]) + b"".join(size.to_bytes(4, "big") for size in shape)
    return header + bytes(i % 256 for i in range(math.prod(shape)))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(shape=st.lists(st.integers(1, 5), min_size=1, max_size=3).map(tuple))
def test_idx_files_come_back_in_their_shape(tmp_path: Path, shape: tuple[int, ...]) -> None:
    path = tmp_path / "images.gz"
    path.write_bytes(gzip.compress(idx(shape)))
    expected = np.arange(math.prod(shape), dtype=np.uint8).reshape(shape)
    np.testing.assert_array_equal(mnist.read_idx(path, shape), expected)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_file_cut_anywhere_is_refused_by_name(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "images.gz"
    whole = gzip.compress(idx((3, 4)))
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    with pytest.raises(ExperimentError, match=f"{path} .*Replace it"):
        mnist.read_idx(path, (3, 4))


@pytest.mark.parametrize(
    "content", [idx((4, 3)), idx((3, 4)) + b"?", b"\0\0\x0d" + idx((3, 4))[3:], b"", b"no image"]
)
def test_another_shape_or_type_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "images.gz"
    path.write_bytes(gzip.compress(content))
    with pytest.raises(ExperimentError, match=rf"{path} is not an IDX file.*\(3, 4\).*Replace it"):
        mnist.read_idx(path, (3, 4))


def check(found: datasets.Images, train: int, test: int, pixels: int) -> None:
    assert found.train.shape == (train, pixels)
    assert found.test.shape == (test, pixels)
    for part in (found.train, found.test):
        assert part.dtype == np.float32
        assert (part.min(), part.max()) == (0, 1)
    for labels, count in ((found.train_labels, train), (found.test_labels, test)):
        assert (labels.dtype, labels.shape) == (np.int64, (count,))
        assert np.unique(labels).tolist() == list(range(10))


def test_digits() -> None:
    check(datasets.images("digits").load(), 1437, 360, 64)


def test_photos_are_patches_of_every_quadrant_and_no_two_are_the_same() -> None:
    found = datasets.images("photos").load()
    assert (found.train.shape, found.test.shape) == ((1664, 768), (416, 768))
    every = np.concatenate([found.train, found.test])
    assert every.dtype == np.float32
    assert (every.min(), every.max()) == (0, 1)
    # Two plain bits of sky may be alike; that these are few says that patches do not overlap.
    assert len(np.unique(every, axis=0)) > 2_070
    labels = np.concatenate([found.train_labels, found.test_labels])
    assert labels.dtype == np.int64
    assert np.bincount(labels).tolist() == [260] * 8


def test_a_patch_is_a_square_of_its_photograph() -> None:
    found = datasets.images("photos").load()
    (photo, _) = load_sample_images().images
    corner = (photo[:16, :16].transpose(2, 0, 1) / np.float32(255)).reshape(-1).astype(np.float32)
    every, labels = (
        np.concatenate(each)
        for each in zip((found.train, found.train_labels), (found.test, found.test_labels), strict=True)
    )
    (place,) = np.flatnonzero((every == corner).all(axis=1))
    assert labels[place] == 0


def test_a_set_has_the_pixels_of_its_shape() -> None:
    for name in ("digits", "photos"):
        found = datasets.images(name)
        assert math.prod(found.shape) == found.load().train.shape[1]


@pytest.mark.realdata
def test_mnist_is_whole() -> None:
    found = datasets.images("mnist").load()
    check(found, 60_000, 10_000, 784)
    assert found.train.mean(dtype=float) == pytest.approx(0.13066, abs=1e-5)
    assert found.train.std(dtype=float) == pytest.approx(0.30811, abs=1e-5)
    expected = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert np.bincount(found.test_labels).tolist() == expected


def test_an_unknown_set_lists_those_there_are() -> None:
    with pytest.raises(
        ExperimentError, match="unknown image set 'cats'; known: cifar10, digits, mnist, photos"
    ):
        datasets.images("cats")
