"""ZCA whitening: decorrelated pixels of equal variance, as near to the original images as possible."""

from __future__ import annotations

import functools
import hashlib
import io
import zipfile
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from adamas._tools.files import cache_folder

from .. import ExperimentError, datasets
from .._cache import keep

# Added to every variance, as a share of the mean variance: directions with less than this are mostly noise
# and stay small.
FLOOR = 0.1

# Part of the names of cached matrices and of identities: bump when the code below changes results.
VERSION = 1

_ROWS = 10_000  # images whose float64 copy is in memory at once

Transform = tuple[NDArray[np.float32], NDArray[np.float32]]
"""The mean (pixels,) to be subtracted and the symmetric matrix (pixels, pixels) to be multiplied by."""


def zca(pixels: NDArray[np.float32]) -> Transform:
    """Return the whitening transform of images (images, pixels): C⁻¹ᐟ² for their regularized covariance C."""
    mean = pixels.mean(axis=0, dtype=np.float64)
    covariance = np.zeros((len(mean), len(mean)))
    for start in range(0, len(pixels), _ROWS):
        centred = pixels[start : start + _ROWS] - mean
        covariance += centred.T @ centred / len(pixels)
    variances, directions = np.linalg.eigh(covariance)
    scales = (variances.clip(min=0) + FLOOR * variances.mean()) ** -0.5
    matrix = (directions * scales) @ directions.T
    return mean.astype(np.float32), matrix.astype(np.float32)


def identity(name: str, count: int) -> str:
    """Name the result of `load` with the same arguments."""
    return f"{datasets.images(name).identity()}, first {count}, whitening {VERSION}"


@functools.cache
def load(name: str, count: int) -> datasets.Images:
    """Load and whiten the first `count` training images of a set, at most all, and its test images.

    The transform is that of the training images, computed once for each user.
    """
    loaded = datasets.images(name).load()
    train = loaded.train[:count]
    digest = hashlib.sha256(identity(name, count).encode()).hexdigest()[:16]
    cached = cache_folder() / "whitening" / f"{name}-{digest}.npz"
    if not cached.exists():
        _write(cached, zca(train))
    transform = _read(cached)
    train_labels = loaded.train_labels[:count]
    return datasets.Images(
        _apply(transform, train), train_labels, _apply(transform, loaded.test), loaded.test_labels
    )


def _apply(transform: Transform, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    mean, matrix = transform
    return np.asarray((pixels - mean) @ matrix, np.float32)


def _write(path: Path, transform: Transform) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, mean=transform[0], matrix=transform[1])
    keep(path, buffer.getvalue())


def _read(path: Path) -> Transform:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return arrays["mean"], arrays["matrix"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ExperimentError(
            f"the cached whitening matrix {path} is corrupt: {error}. Delete the file"
        ) from error
