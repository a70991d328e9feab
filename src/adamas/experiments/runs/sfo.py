"""The Sum-of-Functions Optimizer on a problem, whose mini-batches, fixed once, are the subfunctions."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from .. import problems
from ..problems import Option, Problem
from ..solvers.sfo import SFO
from . import Alone, Outcome, recorded_fields

# Bump when this module or `solvers` changes results, or stale records are reused. Version 1 is left out of
# configurations, so that records older than this constant are found.
VERSION = 2


@dataclass(frozen=True)
class SumOfFunctions(Alone):
    """Training by SFO on one thread: everything it depends on.

    Subfunction i is the cost of mini-batch i, times its share of the examples over that of an average
    mini-batch, plus (l2 / 2) |θ|²; noise, where the problem has any, is drawn anew at each evaluation. An
    epoch is as many evaluations as there are mini-batches, be they of all mini-batches or of a few.

    Each record has "cost", the mean cost over the examples evaluated since the record before, as they were
    optimized, with noise and without the L2 term, as `Training` has it (None at epoch 0); the measures of the
    problem's `evaluate`; "penalty", the L2 term; "memory", the bytes of the optimizer's state; "active", the
    share of the mini-batches that SFO has in use.

    Args:
        problem, options, data, l2, batch, epochs: see `Training`.
        seed: decides the mini-batches, the noise, the starting point and which mini-batch SFO takes next. The
            mini-batches are those of the first epoch of the `Training` with this seed, and the starting point
            is the same.
        curvature: SFO's very first curvature; 0 for the one of our first step (see `SFO`).
    """

    problem: str
    options: tuple[tuple[str, Option], ...]
    data: str
    l2: float
    batch: int
    epochs: int
    seed: int
    curvature: float = 0.0

    def configuration(self) -> dict[str, Any]:
        version = {"version": VERSION} if VERSION > 1 else {}
        return {"kind": "sums", **version, **recorded_fields(self)}

    def defaults(self) -> dict[str, Any]:
        return {}

    def prepare(self) -> None:
        problems.load(self.problem).prepare(**dict(self.options))

    def describe(self) -> str:
        options = ", ".join(f"{name} {value}" for name, value in self.options)
        first = f", first curvature {self.curvature:g}" if self.curvature else ""
        return f"SFO, {self.problem} ({options}), mini-batches of {self.batch}{first}, seed {self.seed}"

    def execute(self) -> Outcome:
        """Train.

        Raises:
            ExperimentError: no such problem, or its data cannot be had.
        """
        start = time.perf_counter()
        problem, order, noise = problems.start(self.problem, self.options, self.seed)
        batches = torch.randperm(problem.examples, generator=order).split(self.batch)
        subfunctions = Subfunctions(problem, batches, noise, self.l2)
        # One thread, as `Training` in a worker, so that their clocks can be compared.
        with threadpool_limits(1), np.errstate(over="ignore", invalid="ignore"):
            optimizer = SFO(
                subfunctions.evaluate,
                subfunctions.start(),
                len(batches),
                curvature=self.curvature,
                seed=self.seed,
            )
            epochs, clock = [_measures(subfunctions, optimizer, epoch=0)], [0.0]
            finite = True
            while finite and len(epochs) <= self.epochs:
                began = time.perf_counter()
                finite = _pass(optimizer, len(batches))
                clock.append(clock[-1] + time.perf_counter() - began)
                epochs.append(_measures(subfunctions, optimizer, epoch=len(epochs)))
                finite = finite and None not in epochs[-1].values()
        status: Literal["done", "diverged"] = "done" if finite else "diverged"
        return Outcome(status, tuple(epochs), tuple(clock), time.perf_counter() - start)


class Subfunctions:
    """The mini-batches of a problem as functions of one vector; keeps the mean of the costs evaluated."""

    def __init__(
        self, problem: Problem, batches: Sequence[torch.Tensor], noise: torch.Generator, l2: float
    ) -> None:
        self.problem, self.batches, self.noise, self.l2 = problem, batches, noise, l2
        self.total, self.examples = 0.0, 0

    def start(self) -> NDArray[np.floating]:
        """Return the parameters as one vector."""
        vector: NDArray[np.floating] = parameters_to_vector(self._parameters()).detach().numpy().copy()
        return vector

    def evaluate(self, x: NDArray[np.floating], index: int) -> tuple[float, NDArray[np.floating]]:
        """Return a subfunction's value and gradient."""
        parameters, examples = self._parameters(), self.batches[index]
        self.set(x)
        cost = self.problem.cost(examples, self.noise)
        gradients = torch.autograd.grad(cost, parameters)
        self.total += cost.item() * len(examples)
        self.examples += len(examples)
        share = len(examples) * len(self.batches) / self.problem.examples
        gradient: NDArray[np.floating] = parameters_to_vector(gradients).numpy()
        return share * cost.item() + self.penalty(x), np.float32(share) * gradient + np.float32(self.l2) * x

    def penalty(self, x: NDArray[np.floating]) -> float:
        """Return the L2 term."""
        return self.l2 / 2 * float((x.astype(np.float64) ** 2).sum())

    def mean_cost(self) -> float | None:
        """Return the mean cost of the examples evaluated since the last call, None if there are none."""
        mean = self.total / self.examples if self.examples else None
        self.total, self.examples = 0.0, 0
        return mean

    @torch.no_grad()
    def set(self, x: NDArray[np.floating]) -> None:
        """Set the parameters."""
        vector_to_parameters(torch.from_numpy(x), self._parameters())

    def _parameters(self) -> Sequence[torch.Tensor]:
        return self.problem.parameters


def _pass(optimizer: SFO, steps: int) -> bool:
    """Take the steps; return whether everything stayed finite."""
    try:
        for _ in range(steps):
            optimizer.step()
    except (FloatingPointError, np.linalg.LinAlgError):
        return False
    return True


def _measures(subfunctions: Subfunctions, optimizer: SFO, epoch: int) -> dict[str, float | None]:
    subfunctions.set(optimizer.x)  # elsewhere than the last evaluation, where that step was taken back
    measured = {
        "epoch": float(epoch),
        "cost": subfunctions.mean_cost(),
        **subfunctions.problem.evaluate(),
        "penalty": subfunctions.penalty(optimizer.x),
        "memory": float(optimizer.nbytes),
        "active": optimizer.active / len(subfunctions.batches),
    }
    return {
        name: None if value is None or not math.isfinite(value) else value for name, value in measured.items()
    }
