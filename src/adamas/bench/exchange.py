"""What ranks exchange in a training step, counted where it happens, with a process group that only pretends.

This process is the first of any number of ranks: torch's backend "fake" takes every collective and sends
nothing. The model is on fake tensors, sharded by `fully_shard`; the optimizer steps real shards, of one
parameter of each shape.
"""

from __future__ import annotations

import contextlib
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode
from torch.distributed import HashStore  # type: ignore[attr-defined]
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Replicate, Shard
from torch.utils._python_dispatch import TorchDispatchMode

from adamas.torch.footprint import Exchange

from .llama import Llama, LlamaSize

__all__ = ["simulate"]

_NAMES = ("replicas", "shards")


def simulate(
    size: LlamaSize,
    mesh: tuple[int, int],
    dtype: torch.dtype,
    optimizer: Callable[..., torch.optim.Optimizer],
) -> Exchange:
    """Take a training step as the first of many ranks and return the bytes that it would have sent.

    Args:
        size: of the model.
        mesh: replicas and shards.
        dtype: of parameters and gradients.
        optimizer: makes the optimizer of its parameters.

    Raises:
        RuntimeError: this process has a process group already.
    """
    if dist.is_initialized():
        raise RuntimeError("a simulation needs a process without a process group; start one for it")
    shape = mesh if mesh[0] > 1 else mesh[1:]
    dist.init_process_group("fake", rank=0, world_size=math.prod(mesh), store=HashStore())
    try:
        ranks = init_device_mesh("cpu", shape, mesh_dim_names=_NAMES[-len(shape) :])
        trained = _train(size, ranks, dtype, mesh)
        return Exchange(
            all_gather=round(trained["all_gather"]),
            reduce_scatter=round(trained["reduce_scatter"]),
            all_reduce=round(trained["all_reduce"]),
            optimizer=round(_step(size, ranks, dtype, optimizer)),
        )
    finally:
        dist.destroy_process_group()


def _train(size: LlamaSize, ranks: DeviceMesh, dtype: torch.dtype, mesh: tuple[int, int]) -> dict[str, float]:
    """The traffic of a forward and a backward pass."""
    with torch.device("meta"), _default_dtype(dtype):
        model = Llama(size)
    # On "meta" because fully_shard makes a tensor for every rank, and fake ones take 0.1 ms each.
    for layer in model.layers:
        fully_shard(layer, mesh=ranks)
    fully_shard(model, mesh=ranks)
    with FakeTensorMode(allow_non_fake_inputs=True):
        model.to_empty(device="cpu")
        with _Sent(mesh[0]) as sent:
            model(torch.zeros(1, 8, dtype=torch.int64)).sum().backward()
        found: dict[str, float] = sent.bytes
    return found


def _step(
    size: LlamaSize, ranks: DeviceMesh, dtype: torch.dtype, make: Callable[..., torch.optim.Optimizer]
) -> float:
    """The traffic of a step of the optimizer: of the norm once, and of each parameter as of one like it."""
    counts = Counter(size.shapes().values())
    found, once = 0.0, []
    for shape, count in counts.items():
        p = _shard(shape, ranks, dtype)
        optimizer: Any = make([p])
        taken = []
        for _ in range(2):  # the first makes the state
            p.grad = torch.zeros_like(p)
            with _Sent(ranks.size()) as sent:
                optimizer.step()
            taken.append(sent.bytes)
        once.append(taken[1]["all_reduce"])
        found += count * taken[1]["all_gather"]
    return found + max(once, default=0.0)


def _shard(shape: Sequence[int], ranks: DeviceMesh, dtype: torch.dtype) -> nn.Parameter:
    """A parameter of this shape, of which this rank has the first shard, of zeros."""
    rows = -(-shape[0] // ranks.size(-1))
    placements = [*[Replicate()] * (ranks.ndim - 1), Shard(0)]
    whole = torch.empty(tuple(shape), device="meta")
    local = torch.zeros(rows, *shape[1:], dtype=dtype)
    made = DTensor.from_local(
        local, ranks, placements, run_check=False, shape=whole.shape, stride=whole.stride()
    )
    return nn.Parameter(made)


@contextlib.contextmanager
def _default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


class _Sent(TorchDispatchMode):
    """Counts what a rank sends in each kind of collective, as rings do.

    Attributes:
        bytes: by "all_gather", "reduce_scatter" and "all_reduce".
    """

    def __init__(self, reducing: int) -> None:
        """`reducing` is the number of ranks that an all-reduce is among."""
        super().__init__()  # type: ignore[no-untyped-call]
        self.bytes = dict.fromkeys(("all_gather", "reduce_scatter", "all_reduce"), 0.0)
        self._reducing = reducing

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func.namespace in ("c10d", "_c10d_functional"):
            self._count(func._schema.name.partition("::")[2].strip("_"), args, result)
        return result

    def _count(self, name: str, args: Any, result: Any) -> None:
        if name == "allgather_base":
            self.bytes["all_gather"] += args[0].nbytes - args[1].nbytes
        elif name == "all_gather_into_tensor":
            self.bytes["all_gather"] += result.nbytes - args[0].nbytes
        elif name == "reduce_scatter_base":
            self.bytes["reduce_scatter"] += args[1].nbytes - args[0].nbytes
        elif name in ("allreduce", "all_reduce"):
            reduced: Sequence[Tensor] = args[0] if isinstance(args[0], list) else [args[0]]
            n = self._reducing
            self.bytes["all_reduce"] += sum(2 * x.nbytes * (n - 1) / n for x in reduced)
        elif any(word in name for word in ("gather", "scatter", "reduce", "all_to_all", "broadcast")):
            raise RuntimeError(f"a collective that is not counted: {name}")
