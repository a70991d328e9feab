"""A network for classification: the negative log-likelihood of a softmax over its outputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch.func import functional_call
from torch.nn.functional import cross_entropy, linear, softplus

from ._measures import Answers, mean_losses, measures, stacked_measures

CHUNK = 250  # examples evaluated at once, for the memory

M = TypeVar("M")


@dataclass(frozen=True)
class Examples:
    """Inputs, and the class of each output, int64, (examples,) or (examples, outputs)."""

    inputs: torch.Tensor
    targets: torch.Tensor

    def rows(self, chosen: torch.Tensor | slice) -> Examples:
        """Return the chosen examples."""
        return Examples(self.inputs[chosen], self.targets[chosen])


@dataclass(frozen=True)
class Network:
    """The problem: the negated mean of log softmax of the network's outputs at the targets.

    Args:
        module: from inputs to outputs (examples, classes) or (examples, outputs, classes).
        train, test: the examples.
        noisy: whether the module takes a second argument, the generator of the noise it is trained with.
    """

    module: torch.nn.Module
    train: Examples
    test: Examples
    noisy: bool = False

    @property
    def parameters(self) -> list[torch.Tensor]:
        return list(self.module.parameters())

    @property
    def examples(self) -> int:
        return len(self.train.targets)

    def cost(self, batch: torch.Tensor, noise: torch.Generator) -> torch.Tensor:
        return cross_entropy(*self._answers(self.train.rows(batch), *([noise] if self.noisy else [])))

    def costs(
        self, stack: Sequence[torch.Tensor], batch: torch.Tensor, noise: torch.Generator
    ) -> torch.Tensor:
        """Return the costs of a stack of networks: of layers that take one, as `Affine` does."""
        examples = self.train.rows(batch)
        arguments = (examples.inputs, *([noise] if self.noisy else []))
        return mean_losses(functional_call(self.module, self._named(stack), arguments), examples.targets)

    def _named(self, stack: Sequence[torch.Tensor]) -> dict[str, torch.Tensor]:
        return dict(zip((name for name, _ in self.module.named_parameters()), stack, strict=True))

    @torch.no_grad()
    def evaluations(self, stack: Sequence[torch.Tensor]) -> list[Mapping[str, float]]:
        """Return what `evaluate` measures of each of a stack of networks."""
        named, count = self._named(stack), len(self.test.targets)

        def outputs(examples: Examples) -> Callable[[slice], torch.Tensor]:
            return lambda some: functional_call(self.module, named, (examples.inputs[some],))

        first = self.train.rows(slice(count))
        parts = outputs(first), first.targets, outputs(self.test), self.test.targets
        return stacked_measures(*parts, CHUNK)

    def evaluate(self) -> Mapping[str, float]:
        """Return `measures` on as many of the first training examples as there are test examples."""
        first = self.train.rows(slice(len(self.test.targets)))
        return measures(self._answers_in_chunks(first), self._answers_in_chunks(self.test))

    def _answers(self, examples: Examples, *noise: torch.Generator) -> Answers:
        return self.module(examples.inputs, *noise).flatten(0, -2), examples.targets.flatten()

    @torch.no_grad()
    def _answers_in_chunks(self, examples: Examples) -> Answers:
        chunks = torch.arange(len(examples.targets)).split(CHUNK)
        outputs, targets = zip(*(self._answers(examples.rows(chunk)) for chunk in chunks), strict=True)
        return torch.cat(outputs), torch.cat(targets)


class Affine(torch.nn.Linear):
    """A linear layer whose parameters may have a leading dimension: a layer for each member of a stack."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (n, inputs), or (members, n, inputs), to (n, outputs), or (members, n, outputs)."""
        if self.weight.dim() == 2:
            return linear(x, self.weight, self.bias)
        # Not `matmul`, which makes one product of all where x is shared: slower, and its bits are no promise.
        x = x.expand(len(self.weight), *x.shape[-2:])
        return torch.baddbmm(self.bias.unsqueeze(1), x, self.weight.mT)


def by_member(function: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    """Return the results of a function for each member of a stack, as a stack.

    What takes exponentials needs it. torch computes the last elements of a tensor, fewer than two vectors, by
    scalar code, of which an exponential may differ in its last bit: so a whole stack in one call would give
    other bits to what is last in its member but not in the stack.
    """
    return torch.stack([function(member) for member in x.unbind()])


class Softplus(torch.nn.Softplus):
    """A softplus layer that also takes a stack."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (n, units), or (members, n, units), to the same shape."""
        return by_member(softplus, x) if x.dim() == 3 else super().forward(x)


def seeded(make: Callable[[], M], seed: int) -> M:
    """Return the result of `make`, whose random start depends on `seed` alone."""
    with torch.random.fork_rng(devices=[]):  # torch's initializers draw from the global generator
        torch.manual_seed(seed)
        return make()


def network(
    make: Callable[[], torch.nn.Module], seed: int, train: Examples, test: Examples, noisy: bool = False
) -> Network:
    """Return the problem with the network of `make`, whose random start depends on `seed` alone."""
    return Network(seeded(make, seed), train, test, noisy)


def dropped(x: torch.Tensor, rate: float, noise: torch.Generator | None) -> torch.Tensor:
    """Zero each element with probability `rate`, scale the others by 1/(1 - rate); without noise keep all."""
    if noise is None or rate == 0:
        return x
    return x * (torch.rand(x.shape, generator=noise).to(x.device) >= rate) / (1 - rate)


def dropped_units(x: torch.Tensor, rate: float, noise: torch.Generator | None) -> torch.Tensor:
    """Return `dropped` of units (n, units), or (members, n, units), the same ones in every member."""
    if noise is None or rate == 0:
        return x
    kept = torch.rand(x.shape[-2:], generator=noise).to(x.device) >= rate
    return x * (kept / (1 - rate))
