"""One training step of a GPT-2 as one of several processes: shards of FSDP2, each stepped in backward."""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

import adamas.torch

from .gpt2 import GPT2, step_loss
from .one_step import limit_memory, peak_bytes
from .workloads import gpt2

__all__ = ["ShardedStep"]


@dataclass(frozen=True)
class ShardedStep:
    """What the process is to do.

    Attributes:
        shape: the arguments of `workloads.gpt2`.
        tokens: in the one sequence of each process's batch.
        state_format: of our Adam; parameters are in bfloat16.
        limit: bytes of memory that the process may have.
        processes, rank: how many there are, and which of them this is.
        meeting: a file that is not there yet, by which they find each other.
    """

    shape: tuple[int, ...]
    tokens: int
    state_format: str
    limit: int
    processes: int
    rank: int
    meeting: str

    def take(self) -> dict[str, Any]:
        """Limit the memory of this process, train, and return the peak and the loss before and after."""
        limited = limit_memory(self.limit)
        torch.set_num_threads(1)
        torch.set_default_dtype(torch.bfloat16)
        # Gloo asks the network for the machine's own name, which need not be known there.
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
        meeting = f"file://{self.meeting}"
        dist.init_process_group("gloo", init_method=meeting, rank=self.rank, world_size=self.processes)
        try:
            return {"limited": limited, **self._train()}
        finally:
            dist.destroy_process_group()

    def _train(self) -> dict[str, Any]:
        shapes = gpt2(*self.shape)
        model = self._model(GPT2, shapes)
        opt = adamas.torch.Adam(model.parameters(), lr=1e-4, state_format=self.state_format)
        planned = adamas.torch.memory(model, opt)
        opt.step_in_backward()
        # The same tokens in every process: the loss before and after is that of one batch.
        torch.manual_seed(0)
        codes = torch.randint(shapes[0][0], (1, self.tokens + 1))
        dist.barrier()
        start = time.perf_counter()
        loss = step_loss(model, codes)
        loss.backward()
        opt.step()
        seconds = time.perf_counter() - start
        with torch.no_grad():
            after = step_loss(model, codes)
        found = {"peak": peak_bytes(), "planned": planned.peak_in_backward, "seconds": seconds}
        return found | {"loss": float(loss), "after": float(after)}

    def _model(self, cls: Any, shapes: Any) -> nn.Module:
        """The model, of which only shards are ever made, with the weights that GPT-2 begins with."""
        mesh = init_device_mesh("cpu", (self.processes,))
        with torch.device("meta"):
            model: Any = cls(shapes)
        for layer in model.layers:
            fully_shard(layer, mesh=mesh)
        fully_shard(model, mesh=mesh)
        model.to_empty(device="cpu")
        torch.manual_seed(self.rank)
        with torch.no_grad():
            for name, p in model.named_parameters():
                _begin(name, p, p.to_local())
        return model  # type: ignore[no-any-return]


def _begin(name: str, whole: Tensor, shard: Tensor) -> None:
    if whole.dim() == 2:
        shard.normal_(std=0.02)
    else:
        shard.fill_(1.0 if name.endswith("weight") else 0.0)


if __name__ == "__main__":
    asked = json.loads(sys.argv[1])
    print(json.dumps(ShardedStep(**{**asked, "shape": tuple(asked["shape"])}).take()))
