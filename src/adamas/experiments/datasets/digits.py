"""The handwritten digits that come with scikit-learn: 1,797 images of 8 by 8 pixels."""

from __future__ import annotations

import functools

import numpy as np
from sklearn import datasets

from . import Images, ImageSet

TRAIN = 1_437  # four fifths, in the order given


@functools.cache
def load() -> Images:
    """Load the images; their 17 shades become multiples of 1/16."""
    pixels, labels = datasets.load_digits(return_X_y=True)
    pixels = (pixels / 16).astype(np.float32)
    labels = labels.astype(np.int64)
    return Images(pixels[:TRAIN], labels[:TRAIN], pixels[TRAIN:], labels[TRAIN:])


IMAGES = ImageSet(lambda: "scikit-learn digits, 1437 + 360", load, (1, 8, 8))
