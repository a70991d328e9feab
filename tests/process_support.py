"""What processes that a test starts run: in a module of their own, so that a new process can import it."""

from __future__ import annotations

import os
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


def in_processes(function: Callable[..., None], file: str, *args: Any, size: int = 2) -> None:
    """Run `function(rank, *args)` in so many processes of one group, which meets in a new file."""
    mp.spawn(_member, (function, file, size, args), nprocs=size)
