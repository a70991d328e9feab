"""Whole training iterations, forward and backward included, beside torch's default and fused Adam.

The optimizer's share of them differs: most of a small perceptron's, little of a transformer's.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

import adamas.torch

from ..gpt2 import GPT2, step_loss
from ..measure import Call
from ..pairs import Bench, Contender, Pair, compare
from ..workloads import Shape

WORKLOADS = ("rl-mlp", "mnist-mlp", "gpt2-mini")
Make = Callable[[list[torch.nn.Parameter]], torch.optim.Optimizer]


def run(workloads: Sequence[str], rounds: int, peers: bool) -> Bench:
    """Measure every workload beside torch's default and fused Adam."""
    pairs = []
    for name in workloads:
        if name not in _TRAINED:
            raise ValueError(f"a training loop is there for {', '.join(_TRAINED)}, not for {name!r}")
        mine = _loop("adamas", name, lambda params: adamas.torch.Adam(params))
        pairs += [Pair(name, mine, _loop("torch default", name, lambda params: torch.optim.Adam(params)))]
        fused = _loop("torch fused", name, lambda params: torch.optim.Adam(params, fused=True))
        pairs += [Pair(name, mine, fused)]
    return compare("A training iteration", pairs, rounds)


def _loop(name: str, workload: str, make: Make) -> Contender:
    def build(shapes: Sequence[Shape]) -> Call:
        trained, batch = _TRAINED[workload]
        model, loss = trained(shapes, batch)
        optimizer = make(list(model.parameters()))

        def iteration() -> None:
            optimizer.zero_grad()
            loss().backward()
            optimizer.step()

        return iteration

    return Contender(name, build)


Trained = tuple[torch.nn.Module, Callable[[], Tensor]]


def _perceptron(shapes: Sequence[Shape], batch: int) -> Trained:
    """Build a multilayer perceptron, whose widths follow from its shapes, and its loss."""
    layers: list[torch.nn.Module] = []
    for rows, columns in shapes[::2]:
        layers += [torch.nn.Linear(columns, rows), torch.nn.ReLU()]
    model = torch.nn.Sequential(*layers[:-1])
    x, y = torch.randn(batch, shapes[0][1]), torch.randint(shapes[-1][0], (batch,))
    return model, lambda: cross_entropy(model(x), y)


def _transformer(shapes: Sequence[Shape], batch: int) -> Trained:
    """Build a GPT-2 of these shapes, and its loss on sequences that fill its context."""
    model = GPT2(shapes)
    codes = torch.randint(shapes[0][0], (batch, shapes[1][0] + 1))
    return model, lambda: step_loss(model, codes)


_TRAINED: dict[str, tuple[Callable[[Sequence[Shape], int], Trained], int]] = {
    "rl-mlp": (_perceptron, 64),
    "mnist-mlp": (_perceptron, 128),
    "gpt2-mini": (_transformer, 8),
}
