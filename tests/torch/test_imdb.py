"""Real training: a bag of words on the IMDB reviews, with sparse gradients tracked, and with dense ones."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from adamas.experiments.datasets import Corpus, words
from adamas.torch import AdamW

pytestmark = pytest.mark.realdata

BATCH, STEPS = 64, 240


@pytest.fixture(scope="module")
def reviews() -> Corpus:
    return words("imdb").load()


class Bag(nn.Module):
    """The sum of the vectors of a review's words, each weighed by the root of its count, to a logit."""

    def __init__(self, size: int, seed: int, sparse: bool) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.words = nn.EmbeddingBag(size, 16, mode="sum", sparse=sparse)
        self.out = nn.Linear(16, 1)
        nn.init.normal_(self.words.weight, std=0.05)

    def forward(self, words: Tensor, offsets: Tensor, weights: Tensor) -> Tensor:
        return self.out(self.words(words, offsets, per_sample_weights=weights)).squeeze(1)


def curve(reviews: Corpus, seed: int, sparse: bool) -> np.ndarray:
    """The mean loss of every twenty steps, then that of a part of the test reviews."""
    model = Bag(reviews.train.shape[1], seed, sparse)
    opt = AdamW(model.parameters(), lr=5e-3, weight_decay=0.01)
    if sparse:
        opt.track(model)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(opt, STEPS)
    order = np.random.default_rng(seed).permutation(reviews.train.shape[0])
    losses = []
    for t in range(STEPS):
        opt.zero_grad()
        loss = loss_of(model, reviews.train, reviews.train_labels, order[t * BATCH : (t + 1) * BATCH])
        loss.backward()
        opt.step()
        schedule.step()
        losses.append(loss.item())
    with torch.no_grad():
        held_out = loss_of(model, reviews.test, reviews.test_labels, np.arange(0, 25_000, 10))
    return np.append(np.reshape(losses, (-1, 20)).mean(1), held_out.item())


def loss_of(model: Bag, counts: object, labels: np.ndarray, chosen: np.ndarray) -> Tensor:
    rows = counts[chosen]  # type: ignore[index]
    batch = (
        torch.from_numpy(rows.indices.astype(np.int64)),
        torch.from_numpy(rows.indptr[:-1].astype(np.int64)),
    )
    logits = model(*batch, torch.from_numpy(rows.data).sqrt() * 0.1)
    return F.binary_cross_entropy_with_logits(logits, torch.from_numpy(labels[chosen]).float())


@pytest.mark.slow
def test_the_curves_lie_within_the_spread_of_dense_gradients(reviews: Corpus) -> None:
    trained = functools.partial(curve, reviews)
    dense = np.stack([trained(seed, sparse=False) for seed in range(4)])
    sparse = np.stack([trained(seed, sparse=True) for seed in range(4)])
    assert dense[:, -1].max() < 0.45  # it has learned: it began at log 2
    assert (sparse >= dense.min(0) - 1e-4).all()
    assert (sparse <= dense.max(0) + 1e-4).all()
    # Seed by seed they are the same but for rounding, much nearer than seeds are to each other.
    assert np.abs(sparse - dense).max() < 0.02 * dense.std(0).mean()
