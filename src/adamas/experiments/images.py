"""Image sets as float32 vectors in [0, 1]."""

from __future__ import annotations

import functools
import gzip
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn import datasets

from . import ExperimentError, cifar, data


@dataclass(frozen=True)
class Images:
    """Training and test set: pixels float32 in [0, 1], (examples, pixels); labels int64 0..9, (examples,)."""

    train: NDArray[np.float32]
    train_labels: NDArray[np.int64]
    test: NDArray[np.float32]
    test_labels: NDArray[np.int64]


@dataclass(frozen=True)
class ImageSet:
    """How to name and how to load an image set.

    Args:
        identity: names the data exactly, without reading it.
        load: gets and checks it.
        shape: channels, rows and columns, in whose order the pixels are.
    """

    identity: Callable[[], str]
    load: Callable[[], Images]
    shape: tuple[int, int, int]


MNIST = {
    (part, kind): data.Source("mnist", f"{part}-{kind}-ubyte.gz", f"sha256:{checksum}")
    for part, kind, checksum in [
        ("train", "images-idx3", "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"),
        ("train", "labels-idx1", "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"),
        ("t10k", "images-idx3", "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"),
        ("t10k", "labels-idx1", "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"),
    ]
}


def read_idx(path: Path, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """A gzip-compressed IDX file of bytes, of exactly this shape (the format LeCun's MNIST page describes).

    Raises:
        ExperimentError: not gzip, cut short, or of another shape.
    """
    # Two zero bytes, 8 for unsigned bytes, the number of dimensions, then each as a big-endian int32.
    header = bytes([0, 0, 8, len(shape)]) + np.array(shape, ">i4").tobytes()
    try:
        content = gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise ExperimentError(f"{path} is not a whole gzip file: {error}. Replace it") from error
    size = len(header) + int(np.prod(shape))
    if content[: len(header)] != header or len(content) != size:
        raise ExperimentError(
            f"{path} is not an IDX file of bytes of shape {shape}: expected {size:,} bytes, the first "
            f"{header.hex()}, found {len(content):,}, the first {content[: len(header)].hex()}. Replace it"
        )
    return np.frombuffer(content, np.uint8, offset=len(header)).reshape(shape)


@functools.cache
def load_mnist() -> Images:
    """MNIST, checked."""

    def part(name: str, count: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        images = read_idx(data.get(MNIST[name, "images-idx3"]), (count, 28, 28))
        labels = read_idx(data.get(MNIST[name, "labels-idx1"]), (count,))
        return images.reshape(count, -1).astype(np.float32) / np.float32(255), labels.astype(np.int64)

    return Images(*part("train", 60_000), *part("t10k", 10_000))


@functools.cache
def load_digits() -> Images:
    """The handwritten digits that come with scikit-learn, 8 by 8 pixels."""
    pixels, labels = datasets.load_digits(return_X_y=True)
    pixels = (pixels / 16).astype(np.float32)
    labels = labels.astype(np.int64)
    train = 1_437  # four fifths, in the order given
    return Images(pixels[:train], labels[:train], pixels[train:], labels[train:])


PATCH = 16  # rows and columns of a patch of a photograph


@functools.cache
def load_photos() -> Images:
    """Patches of the two photographs that come with scikit-learn, by photograph and quadrant: 8 classes.

    No two overlap; one in five, drawn once and for all, is for testing.
    """
    patches, labels = [], []
    for place, photo in enumerate(datasets.load_sample_images().images):
        rows, columns = (size // PATCH for size in photo.shape[:2])
        whole = photo[: rows * PATCH, : columns * PATCH].reshape(rows, PATCH, columns, PATCH, 3)
        patches.append(whole.transpose(0, 2, 4, 1, 3).reshape(rows * columns, -1))
        below = np.arange(rows)[:, None] >= rows / 2
        right = np.arange(columns) >= columns / 2
        labels.append((4 * place + 2 * below + right).ravel())
    order = np.random.Generator(np.random.PCG64(0)).permutation(sum(map(len, patches)))
    pixels = np.concatenate(patches)[order].astype(np.float32) / np.float32(255)
    classes = np.concatenate(labels)[order]
    test = len(order) // 5
    return Images(pixels[test:], classes[test:], pixels[:test], classes[:test])


def load_cifar() -> Images:
    """CIFAR-10, checked. It is large, so that whoever uses it keeps it, and only in the form used."""
    (train, train_labels), (test, test_labels) = cifar.load()

    def scaled(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        return pixels.astype(np.float32) / np.float32(255)

    return Images(scaled(train), train_labels, scaled(test), test_labels)


SETS = {
    "mnist": ImageSet(lambda: f"mnist {data.fingerprint(list(MNIST.values()))}", load_mnist, (1, 28, 28)),
    "cifar10": ImageSet(cifar.identity, load_cifar, cifar.SHAPE),
    "digits": ImageSet(lambda: "scikit-learn digits, 1437 + 360", load_digits, (1, 8, 8)),
    "photos": ImageSet(lambda: "scikit-learn photographs, patches 1", load_photos, (3, PATCH, PATCH)),
}


def find(name: str) -> ImageSet:
    """The image set of that name.

    Raises:
        ExperimentError: there is none; the message lists those that exist.
    """
    if name not in SETS:
        raise ExperimentError(f"unknown image set {name!r}; known: {', '.join(sorted(SETS))}")
    return SETS[name]
