"""Logistic regression on bags of words with dropout noise on the features (Kingma & Ba 2014, section 6.1)."""

from __future__ import annotations

from .. import datasets
from ._softmax import SoftmaxRegression, Sparse, softmax_regression

STACKED = True
ON_HOST = True  # SciPy multiplies the features


def identity(data: str, dropout: float) -> str:
    """Return the corpus' name and checksum; `data` names a corpus."""
    return datasets.words(data).identity()


def prepare(data: str, dropout: float) -> None:
    """Get, check and counts the reviews."""
    datasets.words(data).load()


def build(seed: int, data: str, dropout: float) -> SoftmaxRegression[Sparse]:
    """Build on word counts; mini-batches see each with probability 1 - dropout, scaled to keep the mean.

    All weights are zero at the start.
    """
    loaded = datasets.words(data).load()
    return softmax_regression(
        (Sparse(loaded.train), loaded.train_labels),
        (Sparse(loaded.test), loaded.test_labels),
        (loaded.train.shape[1], 2),
        lambda features, noise: features.dropped(dropout, noise),
    )
