"""What processes of the tests of sharded parameters run: in a module of its own, which processes import."""

from __future__ import annotations

import functools
import itertools
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
import torch.distributed as dist
from state_support import FORMATS, fits
from torch import Tensor
from torch_support import OPTIMIZERS, Make, bits, randn

import adamas.torch

# Rows and columns that 2, 3 and 4 processes cut evenly, unevenly, through blocks, or leave nothing of; more
# than two dimensions; too small for scales; and one laid out otherwise.
SHAPES = [(12, 384), (100, 64), (5000,), (7, 3), (3, 2000), (64, 512), (6, 10, 11, 7), (1,)]
TRANSPOSED = (130, 41)
Place = Callable[[Tensor], Tensor]
DTYPES = (torch.float32, torch.bfloat16)


def gradients(seed: int, dtype: torch.dtype) -> list[Tensor]:
    """Over several decades, turning at every step."""
    found = [randn(*shape, seed=100 * seed + k) for k, shape in enumerate(SHAPES)]
    found.append(randn(*reversed(TRANSPOSED), seed=100 * seed + 99).t())
    decades = [10 ** randn(*x.shape, seed=7 + k) for k, x in enumerate(found)]
    return [((-1) ** seed * x * y).to(dtype) for x, y in zip(found, decades, strict=True)]


def stepped(make: Make, dtype: torch.dtype, place: Place, steps: int = 3, **options: Any) -> Any:
    """An optimizer after a few steps of parameters that `place` distributes."""
    params = [torch.nn.Parameter(place((0.1 * x.float()).to(dtype))) for x in gradients(9, dtype)]
    opt = make(params, lr=0.01, **options)
    for t in range(steps):
        for p, g in zip(params, gradients(t, dtype), strict=True):
            p.grad = place(g)
        opt.step()
    return opt


def tensors_of(opt: Any) -> Iterator[tuple[str, Any]]:
    """The parameters, and all tensors of their state."""
    for n, p in enumerate(opt.param_groups[0]["params"]):
        yield f"{n}", p.detach()
        for key, value in sorted(opt.state.get(p, {}).items()):
            if torch.is_tensor(value):
                yield f"{n} {key}", value


def placements() -> dict[str, tuple[Any, Sequence[Any]]]:
    """Meshes of 1 to 4 processes, and how parameters are placed on them: the same list in each process."""
    from torch.distributed.device_mesh import DeviceMesh
    from torch.distributed.tensor import Replicate, Shard

    found: dict[str, tuple[Any, Sequence[Any]]] = {}
    for n in range(1, dist.get_world_size() + 1):
        mesh = DeviceMesh("cpu", list(range(n)))
        found |= {f"{n} {each}": (mesh, [each]) for each in (Shard(0), Shard(1), Replicate())}
    square = DeviceMesh("cpu", torch.arange(4).view(2, 2))
    for pair in itertools.product((Shard(0), Shard(1), Replicate()), repeat=2):
        found[f"2x2 {pair}"] = square, pair
    return found


def placing(mesh: Any, wanted: Sequence[Any]) -> Place:
    """Distribute tensors that every process has whole; replicate along a dimension that one lacks."""
    from torch.distributed.tensor import Replicate, Shard, distribute_tensor

    def place(x: Tensor) -> Tensor:
        own = [each if getattr(each, "dim", 0) < x.dim() else Replicate() for each in wanted]
        if not x.is_contiguous():  # torch would make its shards row-major
            own = [Shard(1 - each.dim) if isinstance(each, Shard) else each for each in own]
            return distribute_tensor(x.t().clone(), mesh, own, src_data_rank=None).t()
        return distribute_tensor(x.clone(), mesh, own, src_data_rank=None)

    return place


def assert_same_bits(whole: Any, sharded: Any, what: str) -> None:
    """Every shard has the bits of its part of the whole."""
    from torch.distributed.tensor import distribute_tensor

    ours, theirs = dict(tensors_of(sharded)), dict(tensors_of(whole))
    assert ours.keys() == theirs.keys(), what
    for name, x in ours.items():
        expected = theirs[name]
        if hasattr(x, "placements"):
            expected = distribute_tensor(expected, x.device_mesh, x.placements, src_data_rank=None).to_local()
            assert tuple(x.shape) == tuple(theirs[name].shape), f"{what}: {name}"
            x = x.to_local()
        assert bits(x.contiguous()) == bits(expected.contiguous()), f"{what}: {name}"


def shards_are_the_same_bits(rank: int) -> None:
    """As of whole parameters: Adam in every format on every placement, every rule on one after the other."""
    warnings.simplefilter("error")
    found = placements()
    turns = itertools.cycle(found.items())
    for k, (name, make) in enumerate(OPTIMIZERS.items()):
        for format in FORMATS if name == "Adam" else ("float32", "bfloat16", "float8"):
            if not fits(make, format):
                continue
            for dtype in DTYPES if name == "Adam" else DTYPES[k % 2 :][:1]:
                whole = stepped(make, dtype, torch.clone, state_format=format)
                some = found.items() if name == "Adam" else itertools.islice(turns, 3)
                for where, (mesh, wanted) in some:
                    if mesh.get_coordinate() is None:
                        continue
                    sharded = stepped(make, dtype, placing(mesh, wanted), state_format=format)
                    assert_same_bits(whole, sharded, f"{name} {dtype} {format} {where}")


def extras_are_the_same_bits(rank: int) -> None:
    """Clipping, skipping and averages, whose norm is that of the whole."""
    warnings.simplefilter("error")
    for format in FORMATS:
        if not fits(adamas.torch.AdamW, format):
            continue
        make = functools.partial(
            adamas.torch.AdamW, state_format=format, clip_norm=0.7, skip_nonfinite=True, average=0.9
        )
        whole = stepped(make, torch.float32, torch.clone)
        assert whole.last_step.clip_factor < 1
        for where, (mesh, wanted) in placements().items():
            if mesh.get_coordinate() is None:
                continue
            sharded = stepped(make, torch.float32, placing(mesh, wanted))
            assert sharded.last_step == whole.last_step, f"{format} {where}"
            assert_same_bits(whole, sharded, f"{format} {where}")
