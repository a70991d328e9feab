"""What the tests of sparse gradients share: training with them, tracked, and with dense ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

Make = Callable[[Sequence[Tensor]], Any]


class Twins:
    """An embedding whose sparse gradients are tracked, and one with dense gradients, trained alike."""

    def __init__(
        self, make: Make, rows: int = 50, columns: int = 4, dtype: torch.dtype = torch.float64, **options: Any
    ) -> None:
        torch.manual_seed(0)
        self.sparse = nn.Embedding(rows, columns, sparse=True, dtype=dtype, **options)
        self.dense = nn.Embedding(rows, columns, dtype=dtype, **options)
        self.dense.load_state_dict(self.sparse.state_dict())
        self.opts = make(list(self.sparse.parameters())), make(list(self.dense.parameters()))
        self.opts[0].track(self.sparse)
        self.random = np.random.default_rng(0)

    @property
    def both(self) -> list[tuple[nn.Embedding, Any]]:
        return list(zip((self.sparse, self.dense), self.opts, strict=True))

    def train(self, steps: int, batch: int = 3) -> None:
        """Steps with gradients of sizes over seven decades."""
        for _ in range(steps):
            index = torch.from_numpy(zipf(self.random, self.sparse.num_embeddings, batch))
            size = self.random.standard_normal((batch, self.sparse.embedding_dim))
            size *= 10.0 ** self.random.uniform(-6, 1, (batch, 1))
            for embedding, opt in self.both:
                opt.zero_grad()
                (embedding(index) * torch.from_numpy(size).to(embedding.weight.dtype)).sum().backward()
                opt.step()

    def give(self, grad: Tensor | None) -> None:
        """A step with this gradient, and with the same made dense."""
        for embedding, opt in self.both:
            dense = embedding is self.dense and grad is not None
            embedding.weight.grad = grad.to_dense() if dense and grad is not None else grad
            opt.step()

    def apart(self) -> float:
        """How far the weights and the states are apart, in units of the largest of each."""
        pairs = [(self.sparse.weight.detach(), self.dense.weight.detach())]
        states = [opt.state_dict()["state"].get(0, {}) for opt in self.opts]
        assert states[0].keys() == states[1].keys()
        pairs += [(states[0][key], states[1][key]) for key in states[0]]
        return max((apart(x, y) for x, y in pairs), default=0.0)


def apart(x: Tensor, y: Tensor) -> float:
    """How far tensors are apart, in units of the largest element."""
    largest = float(y.abs().max()) if y.numel() else 0.0
    return float((x - y).abs().max()) / largest if largest else float(x.abs().max()) if x.numel() else 0.0


def zipf(random: np.random.Generator, rows: int, count: int, power: float = 1.3) -> np.ndarray[Any, Any]:
    """Row numbers of a Zipf distribution, the most frequent first."""
    return np.minimum(random.zipf(power, count) - 1, rows - 1)
