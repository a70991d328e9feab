"""What processes that a test starts run: in a module of their own, so that a new process can import it."""

from __future__ import annotations

import copy
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor

WAIT = 120.0  # seconds for another process's turn; a test fails then, and hangs never


def step_in_turn(
    rank: int, opt: torch.optim.Optimizer, params: Sequence[Tensor], turns: Sequence[Any], steps: int
) -> None:
    """Take every other step of an optimizer whose parameters and state are in shared memory."""
    torch.set_num_threads(1)
    for k in range(steps):
        if not turns[rank].acquire(timeout=WAIT):
            raise TimeoutError(f"process {rank} waited for step {k} in vain")
        for p in params:
            p.grad = torch.full_like(p, float(2 * k + rank + 1))
        opt.step()
        turns[1 - rank].release()


def two_in_turn(opt: torch.optim.Optimizer, params: Sequence[Tensor], steps: int) -> None:
    """2 `steps` steps with gradients 1, 2, 3, ..., each by the process whose turn it is."""
    context = mp.get_context("spawn")
    turns = [context.Semaphore(1), context.Semaphore(0)]
    mp.spawn(step_in_turn, (opt, list(params), turns, steps), nprocs=2)


def _member(rank: int, function: Callable[..., None], file: str, size: int, args: Sequence[Any]) -> None:
    torch.set_num_threads(1)
    # Gloo asks the network for the machine's own name, which need not be known there.
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    dist.init_process_group("gloo", init_method=f"file://{file}", rank=rank, world_size=size)
    try:
        function(rank, *args)
    finally:
        dist.destroy_process_group()
    # As the interpreter ends, one in ten such processes aborts or hangs in the threads of torch.distributed.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def in_processes(function: Callable[..., None], file: str, *args: Any, size: int = 2) -> None:
    """Run `function(rank, *args)` in so many processes of one group, which meets in a new file."""
    mp.spawn(_member, (function, file, size, args), nprocs=size)


def _sharded(dtype: torch.dtype) -> tuple[Any, Any]:
    """A small model over the ranks, and the same in one piece."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    torch.manual_seed(0)
    plain = torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.Linear(5, 3)).to(dtype)
    model = copy.deepcopy(plain)
    fully_shard(model, mesh=init_device_mesh("cpu", (dist.get_world_size(),)))
    return model, plain


def shards_step_as_one(rank: int) -> None:
    """Float32 to rounding, 16 bits within a spacing, and no update lost on any rank."""
    import adamas.torch

    warnings.simplefilter("ignore", adamas.torch.SlowPathWarning)
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        for cls in (adamas.torch.Adam, adamas.torch.SGD, adamas.torch.Adagrad, adamas.torch.Lion):
            model, plain = _sharded(dtype)
            opt, other = cls(model.parameters(), lr=0.1), cls(plain.parameters(), lr=0.1)
            model(torch.ones(2, 6, dtype=dtype)).square().sum().backward()
            for p, q in zip(model.parameters(), plain.parameters(), strict=True):
                q.grad = p.grad.full_tensor()
            opt.step()
            other.step()
            spacing = torch.finfo(dtype).eps
            for p, q in zip(model.parameters(), plain.parameters(), strict=True):
                rtol = 64 * spacing if dtype == torch.float32 else 2 * spacing
                torch.testing.assert_close(p.full_tensor(), q, rtol=rtol, atol=1e-5, msg=f"{cls} {dtype}")


def shards_clip_and_skip_alike(rank: int) -> None:
    """By the norm of all shards; and where one rank finds a NaN, or cannot step, no rank does."""
    import adamas.torch

    model, _ = _sharded(torch.float32)
    params = list(model.parameters())
    opt = adamas.torch.SGD(params, lr=1.0, clip_norm=1.0, skip_nonfinite=True)
    model(torch.ones(2, 6)).square().sum().backward()
    norm = torch.nn.utils.get_total_norm([p.grad for p in params]).full_tensor()
    opt.step()
    assert abs(opt.last_step.grad_norm / norm.item() - 1) < 1e-6
    assert opt.last_step.clip_factor < 1
    before = [p.detach().to_local().clone() for p in params]
    good = params[0].grad.to_local().clone()
    if rank == 1:
        params[0].grad.to_local().fill_(float("nan"))
    opt.step()
    assert opt.last_step.skipped, "the NaN of rank 1 was not seen"
    params[0].grad.to_local().copy_(good)
    if rank == 1:
        params[0].grad = torch.ones(5, 6)  # no DTensor
    try:
        opt.step()
    except RuntimeError as error:
        said = "a gradient that is none" if rank == 1 else "1 of 2 processes cannot take this step"
        assert said in str(error)  # noqa: PT017
    else:
        raise AssertionError("a step that rank 1 could not take was taken")
    for p, x in zip(params, before, strict=True):
        assert torch.equal(p.to_local(), x)
