"""Simulated steps of many ranks exchange what plans say, collective by collective."""

from __future__ import annotations

import functools
from typing import Any

import pytest

pytest.importorskip("torch", reason="the simulation is of torch's processes")

import torch
import torch.distributed as dist

from adamas.bench import exchange
from adamas.bench.exchange import simulate
from adamas.bench.llama import LlamaSize
from adamas.torch import AdamW, memory
from adamas.torch.slots import array_keys, formats

# Rows that no number of ranks divides, and a vector whose shards cut blocks of 128.
TINY = LlamaSize("tiny", 3, 64, 4, 2, 100, 300)
WIDE = LlamaSize("wide", 1, 4096, 2, 1, 33, 5)
OPTIONS: list[dict[str, Any]] = [{}, {"state_format": "float8", "clip_norm": 1.0}]


@pytest.mark.slow
@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize(("size", "mesh"), [(TINY, (1, 64)), (TINY, (2, 32)), (WIDE, (1, 64))], ids=str)
def test_a_step_exchanges_what_is_planned(
    size: LlamaSize, mesh: tuple[int, int], options: dict[str, Any]
) -> None:
    make = functools.partial(AdamW, **options)
    plan = memory(size.shapes(), make, mesh=mesh, dtype=torch.bfloat16)
    assert simulate(size, mesh, torch.bfloat16, make) == plan.exchange
    assert plan.exchange.all_gather > plan.exchange.reduce_scatter > 0
    assert bool(plan.exchange.all_reduce) is (mesh[0] > 1)
    assert bool(plan.exchange.optimizer) is bool(options)
    assert not dist.is_initialized()


def test_planned_state_of_shards_is_that_of_a_step() -> None:
    """On the first of 64 ranks, where shards cut blocks and where they do not."""
    dist.init_process_group("fake", rank=0, world_size=64, store=exchange.HashStore())
    try:
        ranks = exchange.init_device_mesh("cpu", (64,))
        for shape in [(4096,), (16384,), (300, 64), (100, 70, 3), (5, 4096)]:
            p = exchange._shard(shape, ranks, torch.float32)
            opt = AdamW([p], state_format="float8", average=0.9)
            p.grad = torch.zeros_like(p)
            opt.step()
            plan = memory([p], opt)
            held = {key: x.to_local().nbytes for key, x in opt.state[p].items() if x.dim()}
            for key in ("exp_avg", "exp_avg_sq"):
                names = array_keys(key, formats.get("float8"))
                assert plan.state[key] == sum(held[name] for name in names if name in held), shape
            assert plan.averages == held["average"]
    finally:
        dist.destroy_process_group()


def test_a_process_with_a_group_is_refused() -> None:
    dist.init_process_group("fake", rank=0, world_size=2, store=exchange.HashStore())
    try:
        with pytest.raises(RuntimeError, match="without a process group"):
            simulate(TINY, (1, 2), torch.float32, AdamW)
    finally:
        dist.destroy_process_group()
