"""What processes that test plans run: in a module of their own, so that a new process can import it."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import torch
from fresh_support import PEAKS
from torch import nn

import adamas.torch

# Rounds of training: the first makes the state.
STEPS = 2


def layers(width: int, count: int, dtype: torch.dtype) -> nn.Sequential:
    return nn.Sequential(*(nn.Linear(width, width, bias=False, dtype=dtype) for _ in range(count)))


def _trained(width: int, count: int, make: Any) -> tuple[nn.Module, Any]:
    """A sharded model that has taken steps."""
    import torch.distributed as dist
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    with torch.device("meta"):
        model = layers(width, count, torch.float32)
    for layer in model:
        fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)
    model.to_empty(device="cpu")
    for p in model.parameters():
        nn.init.zeros_(p)
    opt = make(model.parameters())
    for _ in range(STEPS):
        model(torch.ones(1, width)).sum().backward()
        opt.step()
        opt.zero_grad()
    return model, opt


def shards_peak(rank: int, file: str, options: dict[str, Any]) -> None:
    """Write the peak of training on two ranks, in bytes, and what was planned."""
    scope: dict[str, Any] = {}
    exec(PEAKS, scope)
    make = functools.partial(adamas.torch.AdamW, **options)
    _trained(64, 2, make)
    before = scope["reset"]()
    model, _ = _trained(1024, 24, make)
    peak = scope["peak_since"](before) * 2**20
    plans = [
        adamas.torch.memory(model, make),
        adamas.torch.memory(layers(1024, 24, torch.float32), make, mesh=2),
    ]
    if rank == 0:
        Path(file).write_text(json.dumps({"peak": peak, "planned": [plan.peak for plan in plans]}))
