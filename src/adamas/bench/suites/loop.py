"""Whole training iterations, forward and backward included, beside torch's default Adam."""

from collections.abc import Callable, Sequence

import torch
from torch.nn.functional import cross_entropy

import adamas.torch

from ..measure import Call
from ..pairs import Bench, Contender, Pair, compare
from ..workloads import Shape

# Multilayer perceptrons: the widths follow from their shapes.
WORKLOADS = ("rl-mlp", "mnist-mlp")
_BATCH = {"rl-mlp": 64, "mnist-mlp": 128}


def run(workloads: Sequence[str], rounds: int, peers: bool) -> Bench:
    """Measure every workload beside torch's default and fused Adam."""
    pairs = []
    for name in workloads:
        if name not in _BATCH:
            raise ValueError(f"a training loop is there for {', '.join(_BATCH)}, not for {name!r}")
        batch = _BATCH[name]
        mine = _loop("adamas", batch, lambda params: adamas.torch.Adam(params))
        pairs += [Pair(name, mine, _loop("torch default", batch, lambda params: torch.optim.Adam(params)))]
        fused = _loop("torch fused", batch, lambda params: torch.optim.Adam(params, fused=True))
        pairs += [Pair(name, mine, fused)]
    return compare("A training iteration", pairs, rounds)


def _loop(
    name: str, batch: int, make: Callable[[list[torch.nn.Parameter]], torch.optim.Optimizer]
) -> Contender:
    def build(shapes: Sequence[Shape]) -> Call:
        layers: list[torch.nn.Module] = []
        for rows, columns in shapes[::2]:
            layers += [torch.nn.Linear(columns, rows), torch.nn.ReLU()]
        model = torch.nn.Sequential(*layers[:-1])
        optimizer = make(list(model.parameters()))
        x, y = torch.randn(batch, shapes[0][1]), torch.randint(shapes[-1][0], (batch,))

        def iteration() -> None:
            optimizer.zero_grad()
            cross_entropy(model(x), y).backward()
            optimizer.step()

        return iteration

    return Contender(name, build)
