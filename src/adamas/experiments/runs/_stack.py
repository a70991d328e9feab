"""The parameters of runs that are trained together, and their gradients from one pass over a mini-batch."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeVar

import torch

from ..problems import EvaluatesStacks, Problem, StackedProblem

T = TypeVar("T")


class Members(Protocol):
    """The parameters of one run or of many."""

    def parameters(self, k: int) -> list[torch.Tensor]:
        """Return the parameters of a member, for its optimizer."""
        ...

    def point(self, k: int) -> None:
        """Let the problem's own parameters be those of a member, in the same memory."""
        ...

    def evaluations(self) -> list[Mapping[str, float]]:
        """Return the problem's measures at each member's parameters."""
        ...

    def gradients(self, batch: torch.Tensor, noise: torch.Generator) -> torch.Tensor:
        """Leave the gradients of each member with its parameters; return the costs, (members,)."""
        ...

    def keep(self, members: Sequence[int]) -> None:
        """Go on with these members alone, which are numbered anew."""
        ...


class Single:
    """The parameters of the problem itself: one member."""

    def __init__(self, problem: Problem) -> None:
        self._problem = problem

    def parameters(self, k: int) -> list[torch.Tensor]:
        return list(self._problem.parameters)

    def point(self, k: int) -> None:
        pass

    def evaluations(self) -> list[Mapping[str, float]]:
        return [self._problem.evaluate()]

    def gradients(self, batch: torch.Tensor, noise: torch.Generator) -> torch.Tensor:
        for p in self._problem.parameters:
            p.grad = None
        cost = self._problem.cost(batch, noise)
        cost.backward()
        return cost.detach()[None]

    def keep(self, members: Sequence[int]) -> None:
        pass


class Stack:
    """Many members side by side: a tensor of all members for each parameter of the problem.

    What a member's optimizer steps on are views of these tensors.
    """

    def __init__(self, problem: StackedProblem, members: int) -> None:
        self._problem = problem
        self._stack = [
            p.detach().expand(members, *p.shape).clone().requires_grad_() for p in problem.parameters
        ]
        self._members = [[each.requires_grad_() for each in self._views(k)] for k in range(members)]

    def _views(self, k: int) -> list[torch.Tensor]:
        return [each.detach()[k] for each in self._stack]

    def parameters(self, k: int) -> list[torch.Tensor]:
        return self._members[k]

    def point(self, k: int) -> None:
        for own, p in zip(self._problem.parameters, self._members[k], strict=True):
            own.data = p.data

    def evaluations(self) -> list[Mapping[str, float]]:
        if isinstance(self._problem, EvaluatesStacks):
            return self._problem.evaluations([each.detach() for each in self._stack])
        return [self._evaluate(k) for k in range(len(self._members))]

    def _evaluate(self, k: int) -> Mapping[str, float]:
        self.point(k)
        return self._problem.evaluate()

    def gradients(self, batch: torch.Tensor, noise: torch.Generator) -> torch.Tensor:
        costs = self._problem.costs(self._stack, batch, noise)
        found = torch.autograd.grad(costs.sum(), self._stack)
        for member, gradients in zip(
            self._members, zip(*(g.unbind() for g in found), strict=True), strict=True
        ):
            for p, gradient in zip(member, gradients, strict=True):
                p.grad = gradient
        return costs.detach()

    def keep(self, members: Sequence[int]) -> None:
        self._stack = [each.detach()[list(members)].requires_grad_() for each in self._stack]
        self._members = [self._members[k] for k in members]
        for k, member in enumerate(self._members):
            for p, moved in zip(member, self._views(k), strict=True):
                p.data = moved


class Turns:
    """Many members that share the problem: at each mini-batch one after another has its parameters there."""

    def __init__(self, problem: Problem, members: int) -> None:
        self._problem, self._own = problem, list(problem.parameters)
        self._members = [[p.detach().clone().requires_grad_() for p in self._own] for _ in range(members)]

    def parameters(self, k: int) -> list[torch.Tensor]:
        return self._members[k]

    def point(self, k: int) -> None:
        for own, p in zip(self._own, self._members[k], strict=True):
            own.data = p.data

    def evaluations(self) -> list[Mapping[str, float]]:
        return [self._evaluate(k) for k in range(len(self._members))]

    def _evaluate(self, k: int) -> Mapping[str, float]:
        self.point(k)
        return self._problem.evaluate()

    def gradients(self, batch: torch.Tensor, noise: torch.Generator) -> torch.Tensor:
        before = noise.get_state()
        return torch.cat(
            [self._gradient(k, batch, noise.set_state(before)) for k in range(len(self._members))]
        )

    def _gradient(self, k: int, batch: torch.Tensor, noise: torch.Generator) -> torch.Tensor:
        self.point(k)
        cost = self._problem.cost(batch, noise)
        found = torch.autograd.grad(cost, self._own)
        for p, gradient in zip(self._members[k], found, strict=True):
            p.grad = gradient
        return cost.detach()[None]

    def keep(self, members: Sequence[int]) -> None:
        self._members = [self._members[k] for k in members]


def on(problem: T, device: str) -> T:
    """Return the problem with its tensors and networks on a device; on the CPU it is the same one."""
    return problem if device == "cpu" else _moved(problem, device)


def _moved(value: Any, device: str) -> Any:
    if isinstance(value, torch.nn.Module):
        return value.to(device)
    if isinstance(value, torch.Tensor):
        return value.detach().to(device).requires_grad_(value.requires_grad)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = [each.name for each in dataclasses.fields(value)]
        return dataclasses.replace(value, **{name: _moved(getattr(value, name), device) for name in fields})
    return value


def name_of(device: str) -> str:
    """Return the name of a device for records: that of the GPU, else the device's own."""
    return torch.cuda.get_device_name(device) if device.startswith("cuda") else device
