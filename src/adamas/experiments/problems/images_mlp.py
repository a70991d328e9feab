"""A network with two hidden layers of rectified linear units on pixels (Kingma & Ba 2014, section 6.2)."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.functional import relu

from .. import datasets
from ._network import Affine, Examples, Network, dropped_units, network

STACKED = True


class Mlp(nn.Module):
    """Two hidden layers. Dropout zeroes their units, not pixels: the paper does not specify it.

    Args:
        pixels: inputs.
        width: units in each hidden layer.
        dropout: the probability that a hidden unit is zeroed.
    """

    def __init__(self, pixels: int, width: int, dropout: float) -> None:
        super().__init__()
        self.first, self.second = Affine(pixels, width), Affine(width, width)
        self.last = Affine(width, 10)
        self.dropout = dropout

    def forward(self, pixels: torch.Tensor, noise: torch.Generator | None = None) -> torch.Tensor:
        """Map (n, pixels) to (n, 10), before the softmax."""
        hidden = dropped_units(relu(self.first(pixels)), self.dropout, noise)
        outputs: torch.Tensor = self.last(dropped_units(relu(self.second(hidden)), self.dropout, noise))
        return outputs


def identity(data: str, width: int, dropout: float = 0.0, count: int = 0) -> str:
    """Return the images' name and checksum; `data` names an image set."""
    return datasets.images(data).identity()


def prepare(data: str, width: int, dropout: float = 0.0, count: int = 0) -> None:
    """Get and check the files."""
    datasets.images(data).load()


def build(seed: int, data: str, width: int, dropout: float = 0.0, count: int = 0) -> Network:
    """Build with `width` units in each hidden layer (1,000 in the paper) and torch's default initialization.

    Training is on the first `count` images; 0 means all of them.
    """
    loaded = datasets.images(data).load()
    rows = slice(count or None)
    return network(
        lambda: Mlp(loaded.train.shape[1], width, dropout),
        seed,
        Examples(torch.from_numpy(loaded.train[rows]), torch.from_numpy(loaded.train_labels[rows])),
        Examples(torch.from_numpy(loaded.test), torch.from_numpy(loaded.test_labels)),
        noisy=dropout > 0,
    )
