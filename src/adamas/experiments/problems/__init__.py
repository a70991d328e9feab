"""Problems to train. Each public module here is one, and has three functions.

Each takes the problem's options as keywords (strings and numbers, from `Run.options`):

- `identity(**options) -> str`: name the data exactly, without reading it; part of a run's configuration.
- `prepare(**options) -> None`: get, check and preprocess the data, once, before any run starts.
- `build(seed, **options) -> Problem`: build the problem at its starting point, drawn from `seed` if random.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, cast, runtime_checkable

import numpy as np
import torch

from adamas._tools import modules

from .. import ExperimentError

Option = str | int | float


class Problem(Protocol):
    """A cost to be minimized by mini-batches. All tensors are on the CPU."""

    @property
    def parameters(self) -> Sequence[torch.Tensor]:
        """The leaf tensors to optimize, at the start; the same whenever `build` gets the same seed."""
        ...

    @property
    def examples(self) -> int:
        """The number of training examples."""
        ...

    def cost(self, batch: torch.Tensor, noise: torch.Generator) -> torch.Tensor:
        """Return the mean cost of the examples `batch` (int64, shape (n,)), a scalar to differentiate.

        All randomness comes from `noise`, and how much of it is drawn depends on no parameter.
        """
        ...

    def evaluate(self) -> Mapping[str, float]:
        """Return measures over fixed examples, without noise, by name."""
        ...


class StackedProblem(Problem, Protocol):
    """A problem whose cost can be had at many parameters at once; its module says STACKED = True."""

    def costs(
        self, stack: Sequence[torch.Tensor], batch: torch.Tensor, noise: torch.Generator
    ) -> torch.Tensor:
        """Return the cost of each member of a stack, (members,), on the same examples and noise.

        Args:
            stack: like `parameters`, with a leading dimension for the members.
            batch, noise: see `cost`.

        The bits of a member's cost and gradient must not depend on the other members.
        """
        ...


@runtime_checkable
class EvaluatesStacks(Protocol):
    """A problem that can be evaluated at many parameters at once."""

    def evaluations(self, stack: Sequence[torch.Tensor]) -> list[Mapping[str, float]]:
        """Return what `Problem.evaluate` returns at each member's parameters."""
        ...


class ProblemModule(Protocol):
    """The contents of a problem's module."""

    def identity(self, **options: Option) -> str: ...
    def prepare(self, **options: Option) -> None: ...
    def build(self, seed: int, **options: Option) -> Problem: ...


def fields(name: str, options: Mapping[str, Option]) -> tuple[tuple[tuple[str, Option], ...], str]:
    """Return the `options` and the `data` of a run on a problem: sorted pairs, and its identity."""
    return tuple(sorted(options.items())), load(name).identity(**options)


def start(
    name: str, options: tuple[tuple[str, Option], ...], seed: int
) -> tuple[Problem, torch.Generator, torch.Generator]:
    """Return the problem at its starting point, and the generators for the order of examples and the noise.

    The seed decides all three, so that every method meets the same.
    """
    seeds = [int(each) for each in np.random.SeedSequence(seed).generate_state(3)]
    order, noise = (torch.Generator().manual_seed(each) for each in seeds[:2])
    return load(name).build(seeds[2], **dict(options)), order, noise


def is_stacked(name: str) -> bool:
    """Return whether problems of that name are `StackedProblem`s."""
    return bool(getattr(load(name), "STACKED", False))


def is_in_turn(name: str) -> bool:
    """Return whether runs of that problem share its data and a job, but not their products.

    Its module says IN_TURN = True: its runs are so short that jobs of their own would cost more.
    """
    return bool(getattr(load(name), "IN_TURN", False))


def on_host(name: str) -> bool:
    """Return whether problems of that name stay on the CPU."""
    return bool(getattr(load(name), "ON_HOST", False))


def load(name: str) -> ProblemModule:
    """Return the problem of that name, a module of this package."""
    return cast(ProblemModule, modules.load(__name__, name, ExperimentError))
