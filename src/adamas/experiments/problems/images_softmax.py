"""Multinomial logistic regression on pixels (Kingma & Ba 2014, section 6.1)."""

from __future__ import annotations

import torch

from .. import images
from ._softmax import Dense, SoftmaxRegression, softmax_regression


def identity(data: str) -> str:
    """The images' name and checksum; `data` is a key of `images.SETS`."""
    return images.find(data).identity()


def prepare(data: str) -> None:
    """Gets and checks the files."""
    images.find(data).load()


def build(seed: int, data: str) -> SoftmaxRegression[Dense]:
    """One weight a pixel and class, zero at the start; pixels are in [0, 1]."""
    loaded = images.find(data).load()
    return softmax_regression(
        (Dense(torch.from_numpy(loaded.train)), loaded.train_labels),
        (Dense(torch.from_numpy(loaded.test)), loaded.test_labels),
        (loaded.train.shape[1], 10),
    )
