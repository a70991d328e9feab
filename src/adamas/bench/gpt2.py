"""GPT-2 (Radford et al. 2019) with random weights: a model of known size and shapes, for training loops."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn.functional import cross_entropy, scaled_dot_product_attention

from .workloads import Shape

__all__ = ["GPT2", "step_loss"]

# The width of a head in all of its sizes.
_HEAD = 64
# Tensors of a layer.
_LAYER = 12


class _Layer(nn.Module):
    """Attention to what came before, and a network of two layers, each after a norm and beside a shortcut."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = nn.Linear(width, 3 * width)
        self.projection = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.network = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(approximate="tanh"), nn.Linear(4 * width, width)
        )

    def forward(self, hidden: Tensor) -> Tensor:
        batch, tokens, width = hidden.shape
        parts = self.attention(self.norm1(hidden)).view(batch, tokens, 3, -1, _HEAD).unbind(2)
        queries, keys, values = (part.transpose(1, 2) for part in parts)
        attended = scaled_dot_product_attention(queries, keys, values, is_causal=True)
        hidden = hidden + self.projection(attended.transpose(1, 2).reshape(batch, tokens, width))
        output: Tensor = hidden + self.network(self.norm2(hidden))
        return output


class GPT2(nn.Module):
    """The model whose parameters have the `shapes` of `workloads.gpt2`, in their order.

    Weights are made in torch's default dtype, so that a model in 16 bits never exists in 32.
    """

    def __init__(self, shapes: Sequence[Shape]) -> None:
        super().__init__()
        (vocabulary, width), (context, _) = shapes[:2]
        self.tokens = nn.Embedding(vocabulary, width)
        self.places = nn.Embedding(context, width)
        self.layers = nn.ModuleList(_Layer(width) for _ in range(len(shapes[2:-2]) // _LAYER))
        self.norm = nn.LayerNorm(width)
        for weight in self.parameters():
            if weight.dim() == 2:
                nn.init.normal_(weight, std=0.02)

    def forward(self, codes: Tensor) -> Tensor:
        """Map codes (batch, tokens) to logits of the next token, with the embeddings as the last layer."""
        hidden = self.tokens(codes) + self.places.weight[: codes.shape[1]]
        for layer in self.layers:
            hidden = layer(hidden)
        logits: Tensor = self.norm(hidden) @ self.tokens.weight.T
        return logits


def step_loss(model: nn.Module, codes: Tensor) -> Tensor:
    """Return the mean cost of predicting each token but the first from those before it."""
    return cross_entropy(model(codes[:, :-1]).flatten(0, 1), codes[:, 1:].flatten())
