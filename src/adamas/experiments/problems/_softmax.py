"""Multinomial logistic regression: the negative log-likelihood of a linear softmax classifier."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, Self, TypeVar

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from ._measures import mean_losses, stacked_measures

CHUNK = 1_000


class Features(Protocol):
    """Examples by features, float32, in any storage."""

    def rows(self, batch: torch.Tensor | slice) -> Self:
        """Return the examples `batch`."""
        ...

    def times(self, weight: torch.Tensor) -> torch.Tensor:
        """Return the product with `weight` (features, classes); its gradient goes to `weight` alone.

        With a stack of them, (members, features, classes), return (members, examples, classes).
        """
        ...


F = TypeVar("F", bound=Features)


@dataclass(frozen=True)
class Dense:
    """Features as a matrix (examples, features)."""

    x: torch.Tensor

    def rows(self, batch: torch.Tensor | slice) -> Dense:
        return Dense(self.x[batch])

    def times(self, weight: torch.Tensor) -> torch.Tensor:
        if weight.dim() == 2:
            return self.x @ weight
        return torch.bmm(self.x.expand(len(weight), *self.x.shape), weight)


@dataclass(frozen=True)
class Sparse:
    """Features as a SciPy CSR array: several times as fast here as torch's own sparse products and bags."""

    x: Any

    def rows(self, batch: torch.Tensor | slice) -> Sparse:
        return Sparse(self.x[batch if isinstance(batch, slice) else batch.numpy()])

    def times(self, weight: torch.Tensor) -> torch.Tensor:
        product: torch.Tensor = _SparseProduct.apply(self.x, weight)  # type: ignore[no-untyped-call]
        return product

    def dropped(self, rate: float, noise: torch.Generator) -> Sparse:
        """Zero each feature with probability `rate` and scale the others by 1/(1 - rate)."""
        keep = torch.rand(self.x.data.size, generator=noise) >= rate
        x = self.x.copy()
        x.data *= keep.numpy() * np.float32(1 / (1 - rate))
        return Sparse(x)


class _SparseProduct(torch.autograd.Function):
    """The product x @ weight for a CSR array x, differentiated in `weight`."""

    @staticmethod
    def forward(ctx: Any, x: Any, weight: torch.Tensor) -> torch.Tensor:
        ctx.x = x
        stack = weight.detach().numpy()
        return torch.from_numpy(x @ stack if stack.ndim == 2 else np.stack([x @ each for each in stack]))

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[None, torch.Tensor]:
        (stack,), x = (each.numpy() for each in gradients), ctx.x.T
        return None, torch.from_numpy(
            x @ stack if stack.ndim == 2 else np.stack([x @ each for each in stack])
        )


def clean(features: F, noise: torch.Generator) -> F:
    """Return the features without noise."""
    return features


@dataclass(frozen=True)
class SoftmaxRegression(Generic[F]):
    """The problem: the negated mean of log softmax(x W + b) at the labels; W = 0, b = 0 at the start.

    The cost is convex, so starting at zero favours no optimizer. The L2 term is not part of it: it
    is coupled weight decay in the optimizer.

    Args:
        train, test: features, (examples, features).
        train_labels, test_labels: int64, (examples,), 0 to classes - 1.
        weight: (features, classes); bias: (classes,).
        corrupt: applies the noise to the features of a mini-batch.
    """

    train: F
    train_labels: torch.Tensor
    test: F
    test_labels: torch.Tensor
    weight: torch.Tensor
    bias: torch.Tensor
    corrupt: Callable[[F, torch.Generator], F] = clean

    @property
    def parameters(self) -> tuple[torch.Tensor, torch.Tensor]:
        return self.weight, self.bias

    @property
    def examples(self) -> int:
        return len(self.train_labels)

    def cost(self, batch: torch.Tensor, noise: torch.Generator) -> torch.Tensor:
        features = self.corrupt(self.train.rows(batch), noise)
        return cross_entropy(features.times(self.weight) + self.bias, self.train_labels[batch])

    def costs(
        self, stack: Sequence[torch.Tensor], batch: torch.Tensor, noise: torch.Generator
    ) -> torch.Tensor:
        features, (weight, bias) = self.corrupt(self.train.rows(batch), noise), stack
        return mean_losses(features.times(weight) + bias.unsqueeze(1), self.train_labels[batch])

    def evaluate(self) -> Mapping[str, float]:
        (found,) = self.evaluations([self.weight[None], self.bias[None]])
        return found

    @torch.no_grad()
    def evaluations(self, stack: Sequence[torch.Tensor]) -> list[Mapping[str, float]]:
        """Return the measures of each member of a stack; the examples are read once for all."""
        weight, bias = stack

        def outputs(features: F) -> Callable[[slice], torch.Tensor]:
            return lambda some: features.rows(some).times(weight) + bias.unsqueeze(1)

        parts = outputs(self.train), self.train_labels, outputs(self.test), self.test_labels
        return stacked_measures(*parts, CHUNK)


def softmax_regression(
    train: tuple[F, np.ndarray],
    test: tuple[F, np.ndarray],
    shape: tuple[int, int],
    corrupt: Callable[[F, torch.Generator], F] = clean,
) -> SoftmaxRegression[F]:
    """Return the problem on these (features, labels), `shape` being (features, classes)."""
    return SoftmaxRegression(
        train[0],
        torch.from_numpy(train[1]),
        test[0],
        torch.from_numpy(test[1]),
        torch.zeros(shape, requires_grad=True),
        torch.zeros(shape[1], requires_grad=True),
        corrupt,
    )
