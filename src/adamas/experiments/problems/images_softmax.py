"""Multinomial logistic regression on pixels (Kingma & Ba 2014, section 6.1)."""

from __future__ import annotations

import torch

from .. import datasets
from ._softmax import Dense, SoftmaxRegression, softmax_regression

STACKED = True


def identity(data: str, count: int = 0) -> str:
    """Return the images' name and checksum; `data` names an image set."""
    return datasets.images(data).identity()


def prepare(data: str, count: int = 0) -> None:
    """Get and check the files."""
    datasets.images(data).load()


def build(seed: int, data: str, count: int = 0) -> SoftmaxRegression[Dense]:
    """Build with one weight for each pixel and class, zero at the start; pixels are in [0, 1].

    Training is on the first `count` images; 0 means all of them.
    """
    loaded = datasets.images(data).load()
    rows = slice(count or None)
    return softmax_regression(
        (Dense(torch.from_numpy(loaded.train[rows])), loaded.train_labels[rows]),
        (Dense(torch.from_numpy(loaded.test)), loaded.test_labels),
        (loaded.train.shape[1], 10),
    )
