"""Llama, a decoder of published sizes up to hundreds of billions of parameters: its shapes, and the model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention, silu

from .workloads import Shape

__all__ = ["PUBLISHED", "Llama", "LlamaSize", "dtype_named", "sized"]

# A size this near to a published one is that one.
_NEAR = 0.05


@dataclass(frozen=True)
class LlamaSize:
    """The sizes of a Llama.

    Attributes:
        name: as published.
        layers, width, heads: of the decoder.
        shared_heads: those of keys and values.
        inner: the width of the networks.
        vocabulary: tokens; the last layer has weights of its own.
    """

    name: str
    layers: int
    width: int
    heads: int
    shared_heads: int
    inner: int
    vocabulary: int

    def shapes(self) -> dict[str, Shape]:
        """The shapes of the parameters by name."""
        with torch.device("meta"):
            one = Llama(replace(self, layers=1))
        found: dict[str, Shape] = {}
        named = {name: tuple(p.shape) for name, p in one.named_parameters()}
        for name, shape in named.items():
            if not name.startswith("layers."):
                found[name] = shape
                continue
            for k in range(self.layers):
                found[name.replace("layers.0.", f"layers.{k}.")] = shape
        return found

    def elements(self) -> int:
        """The number of parameters."""
        return sum(math.prod(shape) for shape in self.shapes().values())


# Touvron et al. 2023 (Llama 2), table 1 and its released configurations; Llama team 2024 (Llama 3), table 3.
PUBLISHED = (
    LlamaSize("Llama 2 7B", 32, 4096, 32, 32, 11008, 32000),
    LlamaSize("Llama 2 70B", 80, 8192, 64, 8, 28672, 32000),
    LlamaSize("Llama 3 405B", 126, 16384, 128, 8, 53248, 128256),
)


def dtype_named(name: str) -> torch.dtype:
    """The floating-point type of torch with this name.

    Raises:
        ValueError: there is none.
    """
    dtype = getattr(torch, name, None)
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise ValueError(f"--dtype must be one of torch's floating-point types, got {name!r}")
    return dtype


def sized(parameters: float) -> LlamaSize:
    """Return the published size of about so many parameters, or the nearest one with more or fewer layers.

    Raises:
        ValueError: one layer is too much already.
    """
    if not parameters > 0:
        raise ValueError(f"the number of parameters must be positive, got {parameters:g}")
    nearest = min(PUBLISHED, key=lambda size: abs(math.log(size.elements() / parameters)))
    if abs(nearest.elements() / parameters - 1) <= _NEAR:
        return nearest
    one, two = (replace(nearest, layers=n).elements() for n in (1, 2))
    layers = round((parameters - one) / (two - one)) + 1
    if layers < 1:
        raise ValueError(
            f"{parameters:g} parameters are fewer than one layer of {nearest.name} and its embeddings have, "
            f"{one:.3g}; use `adamas.torch.memory` with the shapes of a model"
        )
    return replace(nearest, name=f"{nearest.name} with {layers} layers", layers=layers)


class _Layer(nn.Module):
    """Attention with keys and values that heads share, and a gated network, each after a norm."""

    def __init__(self, size: LlamaSize) -> None:
        super().__init__()
        self.heads, self.shared_heads = size.heads, size.shared_heads
        keys = size.width // size.heads * size.shared_heads
        self.norm1 = nn.RMSNorm(size.width)
        self.queries = nn.Linear(size.width, size.width, bias=False)
        self.keys = nn.Linear(size.width, keys, bias=False)
        self.values = nn.Linear(size.width, keys, bias=False)
        self.projection = nn.Linear(size.width, size.width, bias=False)
        self.norm2 = nn.RMSNorm(size.width)
        self.gate = nn.Linear(size.width, size.inner, bias=False)
        self.up = nn.Linear(size.width, size.inner, bias=False)
        self.down = nn.Linear(size.inner, size.width, bias=False)

    def forward(self, hidden: Tensor) -> Tensor:
        batch, tokens, width = hidden.shape
        normed = self.norm1(hidden)
        queries, keys, values = (
            layer(normed).view(batch, tokens, heads, -1).transpose(1, 2)
            for layer, heads in zip(
                (self.queries, self.keys, self.values),
                (self.heads, self.shared_heads, self.shared_heads),
                strict=True,
            )
        )
        keys, values = (x.repeat_interleave(self.heads // self.shared_heads, 1) for x in (keys, values))
        attended = scaled_dot_product_attention(queries, keys, values, is_causal=True)
        hidden = hidden + self.projection(attended.transpose(1, 2).reshape(batch, tokens, width))
        normed = self.norm2(hidden)
        output: Tensor = hidden + self.down(silu(self.gate(normed)) * self.up(normed))
        return output


class Llama(nn.Module):
    """The model, but for its positions, which have no parameters."""

    def __init__(self, size: LlamaSize) -> None:
        super().__init__()
        self.tokens = nn.Embedding(size.vocabulary, size.width)
        self.layers: Sequence[nn.Module] = nn.ModuleList(_Layer(size) for _ in range(size.layers))  # type: ignore[assignment]
        self.norm = nn.RMSNorm(size.width)
        self.output = nn.Linear(size.width, size.vocabulary, bias=False)

    def forward(self, codes: Tensor) -> Tensor:
        """Map codes (batch, tokens) to logits of the next token."""
        hidden = self.tokens(codes)
        for layer in self.layers:
            hidden = layer(hidden)
        logits: Tensor = self.output(self.norm(hidden))
        return logits
