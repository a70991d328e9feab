"""Sparse gradients: exact steps beside torch's SparseAdam, another algorithm, and its dense fused step.

A step is of 10,000 rows, drawn anew each time; an exact one includes bringing them up to date, as the forward
pass does. Training is under way: in the first thousand steps what a row has missed takes more than one sum.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

import adamas.torch

from ..measure import Call
from ..pairs import Bench, Contender, Pair, UnavailableError, compare
from ..workloads import Shape

WORKLOADS = ("rows-100k", "rows-1m")
_INDICES, _DRAWS = 10_000, 512
# The steps that have been taken, and those that are taken before the first that is measured: rows then lag.
_TAKEN, _BEFORE = 1_000, 300
# A dense step of more elements than this is not measured: it takes seconds, and no doubt.
_DENSE = 100_000_000


def run(workloads: Sequence[str], rounds: int, peers: bool) -> Bench:
    """Measure every workload, each tensor a table of rows; no other library takes exact steps."""
    pairs = []
    for name in workloads:
        mine = Contender("adamas AdamW, exact", _exact)
        lazy = Contender("adamas SparseAdam, lazy", _lazy(adamas.torch.SparseAdam))
        theirs = Contender("torch SparseAdam, lazy", _lazy(torch.optim.SparseAdam))
        pairs += [Pair(name, mine, theirs), Pair(name, mine, Contender("torch AdamW, dense, fused", _dense))]
        pairs += [Pair(name, lazy, theirs)]
    return compare("A step of 10,000 rows", pairs, rounds)


class _Tables(nn.Module):
    """Tables with sparse gradients, of rows that are drawn anew at each step."""

    def __init__(self, shapes: Sequence[Shape]) -> None:
        super().__init__()
        self.tables = nn.ModuleList([nn.Embedding(1, 1, sparse=True) for _ in shapes])
        for table, shape in zip(self.tables, shapes, strict=True):
            table.weight = nn.Parameter(torch.zeros(shape))
        self.weights = list(self.parameters())
        self._draws = itertools.cycle(list(zip(*map(_draws, shapes), strict=True)))

    def draw(self) -> list[Tensor]:
        """Set the gradients of a step; return the rows of each table that they have."""
        drawn = next(self._draws)
        for weight, (_, g) in zip(self.weights, drawn, strict=True):
            weight.grad = g
        return [rows for rows, _ in drawn]


def _draws(shape: Shape) -> list[tuple[Tensor, Tensor]]:
    """Rows, and a gradient of them, for one step after another."""
    random, count = torch.Generator().manual_seed(0), min(_INDICES, shape[0])
    values = torch.randn((count, *shape[1:]), generator=random) * 0.01
    rows = [torch.randint(0, shape[0], (1, count), generator=random) for _ in range(_DRAWS)]
    return [(x[0], torch.sparse_coo_tensor(x, values, shape, check_invariants=False)) for x in rows]


def _exact(shapes: Sequence[Shape]) -> Call:
    model = _Tables(shapes)
    optimizer = adamas.torch.AdamW(model.weights)
    optimizer.track(model)

    def step() -> None:
        rows = model.draw()
        for mine, weight in zip(rows, model.weights, strict=True):
            optimizer._lagging[weight].catch_up(mine.numpy())
        optimizer.step()

    step()
    for state in optimizer.state.values():
        state["step"].fill_(_TAKEN)
    for _ in range(_BEFORE):
        step()
    return step


def _lazy(optimizer: Callable[..., Any]) -> Callable[[Sequence[Shape]], Call]:
    def build(shapes: Sequence[Shape]) -> Call:
        model = _Tables(shapes)
        made = optimizer(model.weights)

        def step() -> None:
            model.draw()
            made.step()

        return step

    return build


def _dense(shapes: Sequence[Shape]) -> Call:
    if sum(torch.Size(shape).numel() for shape in shapes) > _DENSE:
        raise UnavailableError("a dense step of so many rows takes seconds")
    weights = [nn.Parameter(torch.zeros(shape)) for shape in shapes]
    for weight in weights:
        weight.grad = torch.zeros_like(weight)
    made = torch.optim.AdamW(weights, fused=True)
    return lambda: made.step()
