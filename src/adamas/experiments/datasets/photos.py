"""Patches of the two photographs that come with scikit-learn, by photograph and quadrant: 8 classes."""

from __future__ import annotations

import functools

import numpy as np
from sklearn import datasets

from . import Images, ImageSet

PATCH = 16  # rows and columns of a patch of a photograph


@functools.cache
def load() -> Images:
    """Cut the patches. No two overlap; one in five, drawn once and for all, is for testing."""
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


IMAGES = ImageSet(lambda: "scikit-learn photographs, patches 1", load, (3, PATCH, PATCH))
