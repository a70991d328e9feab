"""What the processes of tests of DDP and FSDP2 run: in a module of their own, so that they can import it.

All cases run in one group of processes, which takes longer to start than a case to train. Each process writes
what it found of a case to a file of its own.
"""

from __future__ import annotations

import functools
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch_support import bits
from trainer_support import Losses, Make, examples, network

import adamas.torch

STEPS, BATCH = 20, 8


class Case(NamedTuple):
    """A training in several processes.

    Attributes:
        optimizer: "adamas" or "torch", whose AdamW it is.
        options: the optimizer's.
        dtype: of the parameters.
        clip: the norm to which the loop clips the gradients before the step.
        over: "replicas" (DDP) or "shards" (FSDP2).
    """

    optimizer: str
    options: dict[str, Any] = {}
    dtype: str = "float32"
    clip: float | None = None
    over: str = "replicas"

    def make(self) -> Make:
        library: Any = adamas.torch if self.optimizer == "adamas" else torch.optim
        return functools.partial(library.AdamW, lr=1e-2, **self.options)


class Outcome(NamedTuple):
    """What a process found of a case.

    Attributes:
        losses: of this process's examples.
        params: the bits of its parameters.
        last_step: of the optimizer.
        error: what the case raised.
    """

    losses: Losses = []
    params: Any = None
    last_step: Any = None
    error: str | None = None


def train(model: nn.Module, case: Case, rank: int, size: int) -> Outcome:
    """A few steps, each process on its own examples."""
    opt, losses = case.make()(model.parameters()), []
    x, y = examples(STEPS * BATCH * size)
    for x_, y_ in zip(x.split(BATCH)[rank::size], y.split(BATCH)[rank::size], strict=True):
        opt.zero_grad()
        loss = functional.cross_entropy(model(x_.to(getattr(torch, case.dtype))).float(), y_)
        loss.backward()
        if case.clip is not None:
            nn.utils.clip_grad_norm_(model.parameters(), case.clip)
        opt.step()
        losses.append(loss.item())
    params = [_local(p) for p in model.parameters()]
    return Outcome(losses, bits(params), getattr(opt, "last_step", None))


def _local(p: Tensor) -> Tensor:
    whole: Any = p
    return whole.full_tensor() if hasattr(whole, "full_tensor") else p


def replicas(model: nn.Module) -> nn.Module:
    return nn.parallel.DistributedDataParallel(model)


def shards(model: nn.Module) -> nn.Module:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh("cpu", (torch.distributed.get_world_size(),))
    for layer in model.children():
        fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)
    return model


def run_cases(rank: int, folder: str, cases: dict[str, Case]) -> None:
    """Train every case over the ranks; write what each came to."""
    warnings.simplefilter("error", adamas.torch.SlowPathWarning)
    size = torch.distributed.get_world_size()
    for name, case in cases.items():
        try:
            model = globals()[case.over](network().to(getattr(torch, case.dtype)))
            found = train(model, case, rank, size)
        except (RuntimeError, ValueError, adamas.torch.SlowPathWarning) as error:
            found = Outcome(error=str(error))
        torch.save(tuple(found), Path(folder) / f"{name}.{rank}")


def outcomes(folder: Path, name: str, size: int = 2) -> list[Outcome]:
    """What each process found of a case; a RuntimeError with the error of the first that had one."""
    found = [Outcome(*torch.load(folder / f"{name}.{k}", weights_only=False)) for k in range(size)]
    for each in found:
        if each.error is not None:
            raise RuntimeError(each.error)
    return found
