"""Lazy steps by rows: torch.optim.SparseAdam's numbers and checkpoints, and those of other optimizers."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from sparse_support import apart
from torch import nn

import adamas.torch as at
from adamas import formats


def bags(dtype: torch.dtype) -> list[nn.EmbeddingBag]:
    torch.manual_seed(0)
    first = nn.EmbeddingBag(60, 5, sparse=True, dtype=dtype, mode="sum")
    return [first, copy.deepcopy(first)]


def train(both: list[nn.EmbeddingBag], opts: list[Any], steps: int, seed: int = 0) -> None:
    random = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        index = torch.randint(0, 60, (7,), generator=random)
        weights = torch.randn(4, 5, generator=random, dtype=torch.float64)
        for bag, opt in zip(both, opts, strict=True):
            opt.zero_grad()
            (bag(index, torch.tensor([0, 2, 2, 5])) * weights.to(bag.weight.dtype)).sum().backward()
            opt.step()


OPTIONS: list[dict[str, Any]] = [
    {},
    {"maximize": True},
    {"betas": (0.5, 0.9), "eps": 1e-3},
    {"lr": torch.tensor(0.01, dtype=torch.float64)},
]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_the_numbers_of_torch_and_its_checkpoints(dtype: torch.dtype, options: dict[str, Any]) -> None:
    both = bags(dtype)
    opts = [
        at.SparseAdam(both[0].parameters(), **options),
        torch.optim.SparseAdam(both[1].parameters(), **options),
    ]
    train(both, opts, 20)
    mine, theirs = opts[0].torch_state_dict(), copy.deepcopy(opts[1].state_dict())
    opts[1].load_state_dict(mine)
    opts[0].load_state_dict(theirs)
    train(both, opts, 20, seed=1)
    assert apart(both[0].weight.detach(), both[1].weight.detach()) < (
        1e-13 if dtype == torch.float64 else 1e-6
    )
    for key, value in opts[1].state_dict()["state"][0].items():
        assert apart(torch.as_tensor(opts[0].state_dict()["state"][0][key]), torch.as_tensor(value)) < 1e-6


def test_rows_without_a_gradient_stay() -> None:
    both = bags(torch.float32)
    opt = at.AdamW(both[0].parameters(), lr=0.1, weight_decay=0.5, semantics="lazy")
    train(both[:1], [opt], 1)
    before = both[0].weight.detach().clone()
    both[0](torch.tensor([3]), torch.tensor([0])).sum().backward()
    opt.step()
    moved = (both[0].weight != before).any(1)
    assert moved.sum() <= 8
    assert moved[3]


@pytest.mark.parametrize("semantics", ["exact", "lazy"])
def test_a_model_that_has_dense_gradients_too(semantics: str) -> None:
    model = nn.Sequential(nn.Embedding(20, 4, sparse=True), nn.Linear(4, 3))
    opt = at.AdamW(model.parameters(), semantics=semantics)
    if semantics == "exact":
        opt.track(model)
    for sparse in (True, True, False, True):
        model[0].sparse = sparse
        opt.zero_grad()
        model(torch.tensor([1, 2, 2])).square().sum().backward()
        opt.step()
        assert opt.backend == "numba and rows"


def test_rows_that_share_a_scale_are_told() -> None:
    table = nn.Embedding(2000, 8, sparse=True)
    opt = at.SparseAdam(table.parameters(), state_format="float8")
    table(torch.tensor([1])).sum().backward()
    with pytest.raises(ValueError, match="several rows share a scale"):
        opt.step()


STATE_FORMATS = [
    name for name in formats.names() if name not in ("float16", "float64")
]  # refused for squares


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("format", STATE_FORMATS)
def test_rows_draw_the_bits_of_their_elements(format: str, dtype: torch.dtype) -> None:
    """A step by rows of all rows has the bits of the step of the whole, in every format of state."""
    torch.manual_seed(0)
    table = nn.Embedding(70, 256, sparse=True, dtype=dtype)
    tables = [table, copy.deepcopy(table)]
    tables[1].sparse = False
    opts = [
        at.Adam(each.parameters(), semantics="lazy", seed=5, state_format=format, lr=0.01) for each in tables
    ]
    for _ in range(5):
        index = torch.randperm(70)
        for each, opt in zip(tables, opts, strict=True):
            opt.zero_grad()
            each(index).square().sum().backward()
            opt.step()
    assert [opt.backend for opt in opts] == ["rows", "numba"]
    assert torch.equal(tables[0].weight, tables[1].weight)
    states = [opt.state_dict()["state"][0] for opt in opts]
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[1])


def test_constructor_and_refusals() -> None:
    table = nn.Embedding(5, 2, sparse=True)
    with pytest.raises(ValueError, match="semantics must be 'exact' or 'lazy'"):
        at.Adam(table.parameters(), semantics="other")
    with pytest.raises(ValueError, match="Invalid learning rate"):
        at.SparseAdam(table.parameters(), lr=-1.0)
    exact = at.SparseAdam(table.parameters(), semantics="exact")
    table(torch.tensor([1])).sum().backward()
    with pytest.raises(RuntimeError, match=r"opt\.track"):
        exact.step()
    averaged = at.SparseAdam(table.parameters(), average=0.9)
    with pytest.raises(ValueError, match="the average of a row follows it"):
        averaged.step()
