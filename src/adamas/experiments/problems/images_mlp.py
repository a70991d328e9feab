"""A network with two hidden layers of rectified linear units on pixels (Kingma & Ba 2014, section 6.2)."""

from __future__ import annotations

import torch
from torch import nn

from .. import images
from ._network import Examples, Network, network


def identity(data: str, width: int) -> str:
    """The images' name and checksum; `data` is a key of `images.SETS`."""
    return images.find(data).identity()


def prepare(data: str, width: int) -> None:
    """Gets and checks the files."""
    images.find(data).load()


def build(seed: int, data: str, width: int) -> Network:
    """`width` units in each hidden layer (1,000 in the paper), started as torch starts linear layers."""
    loaded = images.find(data).load()
    pixels = loaded.train.shape[1]

    def make() -> nn.Module:
        first, second, last = nn.Linear(pixels, width), nn.Linear(width, width), nn.Linear(width, 10)
        return nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), last)

    return network(
        make,
        seed,
        Examples(torch.from_numpy(loaded.train), torch.from_numpy(loaded.train_labels)),
        Examples(torch.from_numpy(loaded.test), torch.from_numpy(loaded.test_labels)),
    )
