"""Sparse gradients: exact steps beside torch's SparseAdam, another algorithm, and its dense fused step.

A step is of 10,000 rows, drawn anew each time; an exact one includes bringing them up to date, as the forward
pass does. Training is under way: in the first thousand steps what a row has missed takes more than one sum.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

import adamas.torch

from ..measure import Call
from ..pairs import Bench, Contender, Pair, UnavailableError, compare
from ..workloads import Shape

WORKLOADS = ("rows-100k", "rows-1m")
_INDICES, _DRAWS, _STEPS_BEFORE = 10_000, 512, 1_200
# A dense step of more rows than this is not measured: it takes seconds, and no doubt.
_DENSE = 2_000_000


def run(workloads: Sequence[str], rounds: int, peers: bool) -> Bench:
    """Measure every workload; no other library takes exact steps."""
    pairs = []
    for name in workloads:
        mine = Contender("adamas AdamW, exact", _exact)
        lazy = Contender("adamas SparseAdam, lazy", _lazy(adamas.torch.SparseAdam))
        theirs = Contender("torch SparseAdam, lazy", _lazy(torch.optim.SparseAdam))
        pairs += [Pair(name, mine, theirs), Pair(name, mine, Contender("torch AdamW, dense, fused", _dense))]
        pairs += [Pair(name, lazy, theirs)]
    return compare("A step of 10,000 rows", pairs, rounds)


def _table(shapes: Sequence[Shape], sparse: bool) -> nn.Embedding:
    if len(shapes) != 1 or len(shapes[0]) != 2:
        raise ValueError("a table of rows is one matrix: rows-100k, rows-1m or rows-10m")
    return nn.Embedding(*shapes[0], sparse=sparse, _weight=torch.zeros(shapes[0]))


def _draws(shape: Shape) -> Iterator[tuple[Tensor, Tensor]]:
    """Rows, and a gradient of them, for one step after another."""
    random = torch.Generator().manual_seed(0)
    values = torch.randn((_INDICES, shape[1]), generator=random) * 0.01
    rows = [torch.randint(0, shape[0], (1, _INDICES), generator=random) for _ in range(_DRAWS)]
    return itertools.cycle(
        (each[0], torch.sparse_coo_tensor(each, values, shape, check_invariants=False)) for each in rows
    )


def _exact(shapes: Sequence[Shape]) -> Call:
    table = _table(shapes, sparse=True)
    optimizer = adamas.torch.AdamW(table.parameters())
    optimizer.track(table)
    draws, weight = _draws(shapes[0]), table.weight

    def step() -> None:
        rows, weight.grad = next(draws)
        for lagging in optimizer._lagging.values():
            lagging.catch_up(rows.numpy())
        optimizer.step()

    for _ in range(_STEPS_BEFORE):
        step()
    return step


def _lazy(optimizer: Callable[..., Any]) -> Callable[[Sequence[Shape]], Call]:
    def build(shapes: Sequence[Shape]) -> Call:
        table = _table(shapes, sparse=True)
        made, draws, weight = optimizer(table.parameters()), _draws(shapes[0]), table.weight

        def step() -> None:
            _, weight.grad = next(draws)
            made.step()

        return step

    return build


def _dense(shapes: Sequence[Shape]) -> Call:
    if shapes[0][0] > _DENSE:
        raise UnavailableError(f"a dense step of {shapes[0][0]:,} rows")
    weight = _table(shapes, sparse=False).weight
    weight.grad = torch.zeros_like(weight)
    made = torch.optim.AdamW([weight], fused=True)
    return lambda: made.step()
