"""The parameter shapes of models people train, by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

__all__ = ["WORKLOADS", "Shape", "gpt2"]

Shape = tuple[int, ...]


def _mlp(*widths: int) -> list[Shape]:
    return [shape for a, b in pairwise(widths) for shape in ((b, a), (b,))]


def _resnet18() -> list[Shape]:
    shapes: list[Shape] = [(64, 3, 7, 7), (64,), (64,)]
    before = 64
    for width in (64, 128, 256, 512):
        shapes += [(width, before, 3, 3), (width,), (width,), (width, width, 3, 3), (width,), (width,)]
        if before != width:
            shapes += [(width, before, 1, 1), (width,), (width,)]
        shapes += 2 * [(width, width, 3, 3), (width,), (width,)]
        before = width
    return [*shapes, (1000, 512), (1000,)]


def _resnet101() -> list[Shape]:
    """Bottlenecks of three convolutions (He et al. 2016, table 1); a stage's first also has a shortcut."""
    shapes: list[Shape] = [(64, 3, 7, 7), (64,), (64,)]
    before = 64
    for width, blocks in ((64, 3), (128, 4), (256, 23), (512, 3)):
        wide = 4 * width
        for block in range(blocks):
            shapes += [(width, before, 1, 1), (width,), (width,), (width, width, 3, 3), (width,), (width,)]
            shapes += [(wide, width, 1, 1), (wide,), (wide,)]
            if block == 0:
                shapes += [(wide, before, 1, 1), (wide,), (wide,)]
            before = wide
    return [*shapes, (1000, 2048), (1000,)]


def _llama(layers: int, d: int, inner: int, vocabulary: int) -> list[Shape]:
    layer: list[Shape] = [(d,), (d,), *4 * [(d, d)], (inner, d), (inner, d), (d, inner)]
    return [(vocabulary, d), *layers * layer, (d,), (vocabulary, d)]


def gpt2(layers: int, d: int, vocabulary: int = 50257, context: int = 1024) -> list[Shape]:
    """Return the shapes of a GPT-2 of so many layers of width `d`."""
    norm: list[Shape] = [(d,), (d,)]
    attention: list[Shape] = [(3 * d, d), (3 * d,), (d, d), (d,)]
    mlp: list[Shape] = [(4 * d, d), (4 * d,), (d, 4 * d), (d,)]
    return [(vocabulary, d), (context, d), *layers * [*norm, *attention, *norm, *mlp], *norm]


# Smallest first. Functions, so that only requested shapes are built.
WORKLOADS: dict[str, Callable[[], Sequence[Shape]]] = {
    "rl-mlp": lambda: _mlp(8, 64, 64, 2),
    "one-100k": lambda: [(100_000,)],
    "many-small": lambda: [(100,)] * 1000,
    "mnist-mlp": lambda: _mlp(784, 1000, 1000, 10),
    "gpt2-mini": lambda: gpt2(4, 256, 1024, 128),
    "resnet18": _resnet18,
    "resnet101": _resnet101,
    "one-81m": lambda: [(9000, 9000)],
    "rows-100k": lambda: [(100_000, 64)],
    "rows-1m": lambda: [(1_000_000, 64)],
    "rows-10m": lambda: [(10_000_000, 16)],
    "gpt2-small": lambda: gpt2(12, 768),
    "gpt2-xl": lambda: gpt2(48, 1600),
    "llama-7b": lambda: _llama(32, 4096, 11008, 32000),
}
