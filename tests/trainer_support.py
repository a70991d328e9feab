"""What the tests of trainers share: their import, a problem to train, and how far losses may be apart."""

from __future__ import annotations

import functools
import importlib
import os
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import pytest
import torch
from torch import Tensor, nn
from torch_support import Make, bits

import adamas.torch

Losses = list[float]

# By `make test-integrations`: then what is missing fails, and is not skipped.
ALL = os.environ.get("ADAMAS_TRAINERS") == "all"

# What a step of ours does beside the rule, one at a time and together.
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "float8": {"state_format": "float8"},
    "clip": {"clip_norm": 0.5},
    "average": {"average": 0.99},
    "together": {"state_format": "float8", "clip_norm": 0.5, "average": 0.99, "skip_nonfinite": True},
}
every_option = pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)

WIDTH, CLASSES = 64, 10  # a matrix of WIDTH × WIDTH is large enough for the scales of float8


def trainer(name: str) -> Any:
    """A trainer's package; without it the tests of the file are skipped, or fail where all are asked for."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module(name) if ALL else pytest.importorskip(name)


def missing(reason: str) -> NoReturn:
    """Skip a test that lacks something else, or fail it where all are asked for."""
    (pytest.fail if ALL else pytest.skip)(reason)


def network() -> nn.Sequential:
    """The same small classifier at each call."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.Tanh(), nn.Linear(WIDTH, CLASSES))


def examples(n: int) -> tuple[Tensor, Tensor]:
    """Inputs, and classes that a linear map of them gives."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(n, WIDTH, generator=generator)
    return x, (x @ torch.randn(WIDTH, CLASSES, generator=generator)).argmax(1)


def assert_same_state(opt: Any, other: Any) -> None:
    """Equal to the bit, averages too, which no loss shows."""
    assert bits(opt.state_dict()["state"]) == bits(other.state_dict()["state"])


def distance(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """The largest difference between losses, relative to the loss."""
    return max(abs(a - b) / abs(b) for a, b in zip(ours, theirs, strict=True))


def assert_as_torch(run: Callable[[Make], Losses], name: str = "AdamW") -> Losses:
    """Ours are as near to torch's losses as torch's own implementations are to each other.

    Args:
        run: trains with an optimizer of that class and returns the losses.
    """
    torchs = getattr(torch.optim, name)
    ours, loop = run(getattr(adamas.torch, name)), run(functools.partial(torchs, foreach=False))
    others = [run(functools.partial(torchs, **{how: True})) for how in ("foreach", "fused")]
    spread = max(distance(losses, loop) for losses in others)
    # Theirs may agree by chance.
    assert distance(ours, loop) <= 4 * spread + 16 * torch.finfo(torch.float32).eps
    assert ours[-1] != ours[0]
    return ours


def tiny_gpt2() -> Any:
    """A GPT-2 of one layer with random weights, the same at each call."""
    transformers = trainer("transformers")
    config = transformers.GPT2Config(
        vocab_size=WIDTH, n_positions=16, n_embd=WIDTH, n_layer=1, n_head=2, bos_token_id=0, eos_token_id=0
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return transformers.GPT2LMHeadModel(config)


def sentences(n: int) -> list[dict[str, Tensor]]:
    """Random tokens, each word followed by the next one half of the time."""
    tokens = torch.randint(WIDTH, (n, 16), generator=torch.Generator().manual_seed(1))
    tokens[:, 1::2] = (tokens[:, ::2] + 1) % WIDTH
    return [{"input_ids": row, "labels": row} for row in tokens]
