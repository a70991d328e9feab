"""A convolutional network on whitened images, with dropout noise (Kingma & Ba 2014, section 6.3)."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn
from torch.nn.functional import max_pool2d, relu

from .. import datasets
from . import _whitening
from ._network import Examples, Network, dropped, network

CLASSES = 10
STAGES = 3


class Cnn(nn.Module):
    """Three stages of 5×5 convolutions and 3×3 max-pooling of stride 2, a layer of ReLUs, and the classes.

    Section 6.3 leaves open: the convolutions' zero padding, here 2 on each side (without any, images of 32×32
    are used up before the third stage); the pooling's, here 1; ReLUs in each stage. These come after the
    pooling, with which they commute, on a quarter of the values.

    Args:
        shape: of an image: channels, rows, columns.
        channels: of the first two stages (64 in the paper's c64-c64-c128-1000); the third has twice as many.
        units: in the fully connected layer (1,000 in the paper).
        dropout_input, dropout_units: the probabilities that an input value or one of these units is zeroed.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        channels: int,
        units: int,
        dropout_input: float,
        dropout_units: float,
    ) -> None:
        super().__init__()
        sizes = [shape[0], channels, channels, 2 * channels]
        self.stages = nn.ModuleList(
            nn.Conv2d(before, after, kernel_size=5, padding=2) for before, after in pairwise(sizes)
        )
        rows, columns = (-(-size // 2**STAGES) for size in shape[1:])
        self.units = nn.Linear(sizes[-1] * rows * columns, units)
        self.classes = nn.Linear(units, CLASSES)
        self.dropout_input, self.dropout_units = dropout_input, dropout_units

    def forward(self, pixels: torch.Tensor, noise: torch.Generator | None = None) -> torch.Tensor:
        """Map (n, channels, rows, columns) to (n, classes), before the softmax."""
        hidden = dropped(pixels, self.dropout_input, noise)
        # In this layout convolutions on the CPU take three quarters of the time.
        hidden = hidden.contiguous(memory_format=torch.channels_last)
        for stage in self.stages:
            hidden = relu(max_pool2d(stage(hidden), kernel_size=3, stride=2, padding=1))
        hidden = relu(self.units(hidden.flatten(start_dim=1)))
        outputs: torch.Tensor = self.classes(dropped(hidden, self.dropout_units, noise))
        return outputs


def identity(
    data: str, count: int, channels: int, units: int, dropout_input: float, dropout_units: float
) -> str:
    """Return the whitened images' name and checksum; `data` names an image set."""
    return _whitening.identity(data, count)


def prepare(
    data: str, count: int, channels: int, units: int, dropout_input: float, dropout_units: float
) -> None:
    """Get and check the files, and compute the whitening transform."""
    _whitening.load(data, count)


def build(
    seed: int, data: str, count: int, channels: int, units: int, dropout_input: float, dropout_units: float
) -> Network:
    """Build on the first `count` training images, at most all, with torch's default initialization."""
    loaded = _whitening.load(data, count)
    shape = datasets.images(data).shape

    def examples(pixels: torch.Tensor, labels: torch.Tensor) -> Examples:
        return Examples(pixels.view(-1, *shape), labels)

    return network(
        lambda: Cnn(shape, channels, units, dropout_input, dropout_units),
        seed,
        examples(torch.from_numpy(loaded.train), torch.from_numpy(loaded.train_labels)),
        examples(torch.from_numpy(loaded.test), torch.from_numpy(loaded.test_labels)),
        noisy=True,
    )
