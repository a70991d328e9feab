"""Measures of a run's optimizer, beside the problem's own measures of its parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from adamas.torch import Optimizer

from ..problems import Problem

Metric = Callable[[Optimizer, Problem], Mapping[str, float]]


def average(optimizer: Optimizer, problem: Problem) -> Mapping[str, float]:
    """Return the problem's measures at the average of the iterates (section 7.2), as "average_...".

    The run's `phase` must switch the average on.
    """
    with optimizer.averaged_parameters():
        return {f"average_{name}": value for name, value in problem.evaluate().items()}


@torch.no_grad()
def vanished(optimizer: Optimizer, problem: Problem) -> Mapping[str, float]:
    """Return how far the second moments have vanished (section 6.3).

    "vanished" is the share of parameters with √v̂ < ε, where ε decides the stepsize; "median_root_v" is the
    median of √v̂ over all parameters, in the unit of a gradient.

    For Adam without options of its own; both are 0 before the first step.
    """
    roots, below = [], 0
    for group in optimizer.param_groups:
        rule: Any = optimizer.rule_of(group)
        for p in group["params"]:
            if optimizer.state.get(p):
                state = optimizer.state[p]
                roots.append((state["v"] / (1 - rule.beta2 ** float(state["step"]))).sqrt().flatten())
                below += int((roots[-1] < rule.eps).sum())
    if not roots:
        return {"vanished": 0.0, "median_root_v": 0.0}
    every = torch.cat(roots)
    return {"vanished": below / every.numel(), "median_root_v": every.median().item()}


def memory(optimizer: Optimizer, problem: Problem) -> Mapping[str, float]:
    """Return "memory", the bytes of the tensors in the optimizer's state."""
    parameters = (p for group in optimizer.param_groups for p in group["params"])
    states = (value for p in parameters for value in optimizer.state.get(p, {}).values())
    return {"memory": float(sum(value.nbytes for value in states if isinstance(value, torch.Tensor)))}


@torch.no_grad()
def penalty(optimizer: Optimizer, problem: Problem) -> Mapping[str, float]:
    """Return "penalty", the L2 term (l2 / 2) |θ|² of the objective."""
    groups = optimizer.param_groups
    terms = (group["weight_decay"] / 2 * (p.double() ** 2).sum() for group in groups for p in group["params"])
    return {"penalty": float(sum(terms))}


METRICS: Mapping[str, Metric] = {
    "average": average,
    "memory": memory,
    "penalty": penalty,
    "vanished": vanished,
}
