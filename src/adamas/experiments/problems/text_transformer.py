"""A small decoder-only transformer that predicts the next character of a text."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from .. import ExperimentError, datasets
from ._network import Examples, Network, network

IN_TURN = True
HELD_OUT = 2**15  # characters at the end of the text, unless another number is asked for


class Transformer(nn.Module):
    """Embeddings of characters and positions, pre-norm layers with a causal mask, and a head.

    Args:
        context: characters in a window.
        width: of the embeddings; a layer's network has four times as many units.
        layers, heads: the number of layers, and of heads in each.
    """

    def __init__(self, context: int, width: int, layers: int, heads: int) -> None:
        super().__init__()
        self.characters = nn.Embedding(len(datasets.CHARACTERS), width)
        self.places = nn.Embedding(context, width)
        # Not nn.TransformerEncoder, which starts all layers with the same weights.
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                width, heads, 4 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
            )
            for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, len(datasets.CHARACTERS))
        self.later = nn.Transformer.generate_square_subsequent_mask(context)

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        """Map codes (windows, context) to logits of the next character, (windows, context, characters)."""
        hidden = self.characters(windows) + self.places.weight
        for layer in self.layers:
            hidden = layer(hidden, src_mask=self.later, is_causal=True)
        logits: torch.Tensor = self.head(self.norm(hidden))
        return logits


def identity(
    data: str, characters: int, context: int, width: int, layers: int, heads: int, held_out: int = HELD_OUT
) -> str:
    """Return the text's name and checksum; `data` names a text."""
    return datasets.text(data).identity()


def prepare(
    data: str, characters: int, context: int, width: int, layers: int, heads: int, held_out: int = HELD_OUT
) -> None:
    """Get, check and encodes the text."""
    datasets.text(data).load()


def build(
    seed: int,
    data: str,
    characters: int,
    context: int,
    width: int,
    layers: int,
    heads: int,
    held_out: int = HELD_OUT,
) -> Network:
    """Build on the first `characters` of the text, in windows of `context` that do not overlap.

    The last `held_out` characters are the test.

    Raises:
        ExperimentError: the text is shorter than that and the held-out end together.
    """
    text = datasets.text(data).load()
    if characters + 1 + held_out > len(text):
        raise ExperimentError(
            f"text {data!r} has {len(text):,} characters, {held_out:,} of them held out: got {characters:,}"
        )
    return network(
        lambda: Transformer(context, width, layers, heads),
        seed,
        _windows(text[: characters + 1], context),
        _windows(text[-held_out:], context),
    )


def _windows(text: NDArray[np.uint8], context: int) -> Examples:
    """Return each window, and as targets the text one character on."""
    codes = torch.from_numpy(text.astype(np.int64))
    count = (len(codes) - 1) // context
    inputs, targets = codes[: count * context], codes[1 : count * context + 1]
    return Examples(inputs.view(count, context), targets.view(count, context))
