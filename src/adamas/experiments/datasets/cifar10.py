"""CIFAR-10 (Krizhevsky 2009): its pickled batches as published, read without running any of their code."""

from __future__ import annotations

import io
import pickle
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import ExperimentError
from . import Images, ImageSet, _download

SHAPE = 3, 32, 32  # channels (red, green, blue), rows, columns
BATCH = 10_000  # images in a published batch
ALL = 50_000  # images of the published training set
TEST = 1_000  # of the first test images are used: those that every form has, and quick to evaluate

Batch = tuple[NDArray[np.uint8], NDArray[np.int64]]
"""Pixels (images, 3072), by channel, row and column; labels 0..9, (images,)."""

ADDRESS = "https://www.cs.toronto.edu/~kriz/"
ARCHIVE = _download.Source(
    "cifar10", "cifar-10-python.tar.gz", "md5:c58f30108f718f92721af3b95e74349a", ADDRESS
)
# The archive's members. On their own they have no address.
BATCHES = [
    _download.Source("cifar10", name, f"md5:{checksum}")
    for name, checksum in [
        ("data_batch_1", "c99cafc152244af753f735de768cd75f"),
        ("data_batch_2", "d4bba439e000b95fd0a9bffe97cbabec"),
        ("data_batch_3", "54ebc095f3ab1f0389bbae665268c751"),
        ("data_batch_4", "634d18415352ddfa80567beed471001a"),
        ("data_batch_5", "482c414d41f54cd18b22e5b47cb7c3cb"),
        ("test_batch", "40351d587109b95175f43aff81a1287e"),
    ]
]
# The first training batch and the beginning of the test batch, without the names of the image files.
EXCERPT = [
    _download.Source("cifar10", name, f"sha256:{checksum}")
    for name, checksum in [
        ("data_batch_1", "809454c645931070f431fe22cee2ad522195e7c6738cb92d5271fb4b1fe31693"),
        ("test_batch_first1000", "1c1c0e537291ff68b7d8247464bd5d4cc48dc6d563c2945fe62cfc679c6ecb92"),
    ]
]


class _Pixels:
    """A stand-in for an array while a pickle is read, so that the file never calls NumPy itself."""

    array: NDArray[np.uint8]

    def __setstate__(self, state: Any) -> None:
        _, shape, kind, by_column, content = state
        if not (isinstance(kind, _Kind) and kind.code == b"u1" and by_column is False):
            raise pickle.UnpicklingError("the pixels are not bytes by row")
        self.array = np.frombuffer(content, np.uint8).reshape(shape)


class _Kind:
    """A stand-in for an array's element type."""

    def __init__(self, code: Any, *options: Any) -> None:
        self.code = code

    def __setstate__(self, state: Any) -> None:
        """Ignore the state: for a type of one byte it carries no information."""


class _Stand:
    """A stand-in for a function or a type of NumPy, which refuses to have its state set.

    A pickle may set the state of anything it names: a plain function or class would stay changed afterwards.
    """

    __slots__ = ("_make",)

    def __init__(self, make: Callable[..., _Pixels | _Kind]) -> None:
        self._make = make

    def __call__(self, *arguments: Any) -> _Pixels | _Kind:
        return self._make(*arguments)

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError("it sets the state of what it names")


class _Unpickler(pickle.Unpickler):
    """An unpickler that knows only the three names of a pickled array, each as a harmless stand-in."""

    def __init__(self, content: bytes) -> None:
        super().__init__(io.BytesIO(content), encoding="bytes")
        self.names = {
            ("numpy.core.multiarray", "_reconstruct"): _Stand(lambda kind, shape, code: _Pixels()),
            ("numpy", "ndarray"): _Stand(_Pixels),
            ("numpy", "dtype"): _Stand(_Kind),
        }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.names:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return self.names[module, name]


def read_batch(path: Path, content: bytes, count: int) -> Batch:
    """Read a batch of `count` images; `path` is for the message.

    Raises:
        ExperimentError: cut short, not of this form, or a pickle that asks for more than an array needs.
    """
    try:
        batch = _Unpickler(content).load()
        pixels, labels = batch[b"data"].array, np.array(batch[b"labels"], np.int64)
    # Bytes that are not a pickle can make it raise almost anything.
    except Exception as error:
        raise ExperimentError(
            f"{path} is not a whole batch of CIFAR-10 images: {error!r}. Replace it"
        ) from error
    if pixels.shape != (count, 3072) or labels.shape != (count,) or not np.isin(labels, range(10)).all():
        raise ExperimentError(
            f"{path} holds pixels {pixels.shape} and labels {labels.shape}: expected {count:,} images of "
            f"3,072 values with labels 0 to 9. Replace it"
        )
    return pixels, labels


def read_archive(path: Path) -> dict[str, bytes]:
    """Return the batches in the published archive by name; nothing is unpacked to the disk.

    Raises:
        ExperimentError: cut short, or a batch is missing.
    """
    names = {f"cifar-10-batches-py/{source.name}": source.name for source in BATCHES}
    found = {}
    try:
        with tarfile.open(path, "r:gz") as archive:
            for member in archive:
                file = archive.extractfile(member) if member.name in names else None
                if file:
                    found[names[member.name]] = file.read()
    except (OSError, EOFError, tarfile.TarError, zlib.error) as error:
        raise ExperimentError(f"{path} is not the whole archive of CIFAR-10: {error}. Replace it") from error
    missing = set(names.values()) - found.keys()
    if missing:
        raise ExperimentError(f"{path} lacks {', '.join(sorted(missing))}. Replace it")
    return found


def sources() -> list[_download.Source]:
    """Return the six batches or the excerpt where ADAMAS_DATA has their test images, else the archive."""
    folder = _download.given_folder()
    for form in (BATCHES, EXCERPT):
        if folder and (folder / form[-1].set / form[-1].name).exists():
            return form
    return [ARCHIVE]


def identity() -> str:
    """Name the form of the files by their checksums."""
    return f"cifar10 {_download.fingerprint(sources())}, {TEST} test images"


def train_count(identity: str) -> int:
    """Return how many training images the data of this identity has: 50,000, or a batch in the excerpt."""
    return BATCH if _download.fingerprint(EXCERPT) in identity else ALL


def read() -> tuple[Batch, Batch]:
    """Read and check the training images that there are, and the first 1,000 test images."""
    chosen = sources()
    paths = [_download.get(source) for source in chosen]
    if chosen == [ARCHIVE]:
        batches = read_archive(paths[0])
        chosen, paths = BATCHES, [paths[0] / source.name for source in BATCHES]
    else:
        batches = {path.name: path.read_bytes() for path in paths}
    sizes = [*[BATCH] * (len(chosen) - 1), TEST if chosen == EXCERPT else BATCH]
    parts = [read_batch(path, batches[path.name], size) for path, size in zip(paths, sizes, strict=True)]
    *train, (test, test_labels) = parts
    pixels, labels = (np.concatenate(each) for each in zip(*train, strict=True))
    return (pixels, labels), (test[:TEST], test_labels[:TEST])


def load() -> Images:
    """Load the images. They are large: who uses them keeps them, and only in the form used."""
    (train, train_labels), (test, test_labels) = read()

    def scaled(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        return pixels.astype(np.float32) / np.float32(255)

    return Images(scaled(train), train_labels, scaled(test), test_labels)


IMAGES = ImageSet(identity, load, SHAPE)
