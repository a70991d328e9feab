"""Optimizers to time: ours, torch's, and those of other libraries where they are installed."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Sequence
from typing import Any

import torch

import adamas.torch

from .measure import Call
from .pairs import Contender, parameters
from .workloads import Shape

__all__ = ["installed_peers", "ours", "theirs", "torch_peers"]

# Reads of p, g, m and v, and writes of p, m and v, all float32.
_FLOAT32_BYTES = 28.0

Make = Callable[[list[torch.nn.Parameter]], torch.optim.Optimizer]


def theirs(
    name: str, make: Make, dtype: torch.dtype = torch.float32, bytes: float | None = None
) -> Contender:
    """Return the `step` of an optimizer as a contender."""

    def build(shapes: Sequence[Shape]) -> Call:
        params = parameters(shapes, dtype)
        grads = [p.grad for p in params]
        optimizer = make(params)
        optimizer.step()
        if params[0].grad is not None:
            return optimizer.step

        def step() -> None:  # some libraries delete the gradients
            for p, g in zip(params, grads, strict=True):
                p.grad = g
            optimizer.step()

        return step

    return Contender(name, build, bytes)


def ours(
    name: str = "adamas", dtype: torch.dtype = torch.float32, bytes: float = _FLOAT32_BYTES, **options: Any
) -> Contender:
    """Return `adamas.torch.Adam` with these options, as a contender."""
    return theirs(name, lambda params: adamas.torch.Adam(params, **options), dtype, bytes)


def torch_peers() -> list[Contender]:
    """Return torch's own Adam in its forms."""
    return [
        theirs("torch default", lambda params: torch.optim.Adam(params)),
        theirs("torch foreach", lambda params: torch.optim.Adam(params, foreach=True)),
        theirs("torch fused", lambda params: torch.optim.Adam(params, fused=True)),
    ]


def _compiled(shapes: Sequence[Shape]) -> Call:
    optimizer = torch.optim.Adam(parameters(shapes))
    return torch.compile(optimizer.step)


# The module and its Adam; names with "8" store 8 bits.
_OTHERS: dict[str, tuple[str, Callable[[Any], Make]]] = {
    "torchao 8-bit": ("torchao.optim", lambda module: lambda params: module.Adam8bit(params)),
    "torchao fp8": ("torchao.optim", lambda module: lambda params: module.AdamFp8(params)),
    "bitsandbytes 8-bit": ("bitsandbytes.optim", lambda module: lambda params: module.Adam8bit(params)),
    "pytorch_optimizer AdaBelief": (
        "pytorch_optimizer",
        lambda module: lambda params: module.AdaBelief(params, lr=1e-3),
    ),
    "optimi": ("optimi", lambda module: lambda params: module.Adam(params, lr=1e-3)),
    "heavyball": ("heavyball", lambda module: lambda params: module.AdamW(params, lr=1e-3)),
}


def installed_peers() -> list[Contender]:
    """Return a torch.compile'd step, and the Adam of each other library that is installed."""
    found = [Contender("torch compiled", _compiled)]
    for name, (module, make) in _OTHERS.items():
        if importlib.util.find_spec(module.partition(".")[0]) is not None:
            found.append(theirs(name, make(importlib.import_module(module))))
    return found
