"""What the tests of stepping in backward share, and what their processes run: a new process imports this."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch_support import copies, give_gradients, randn

import adamas.torch

# For one process.


def backward(params: Iterable[Tensor], seed: int) -> None:
    """A backward that brings the gradients of `give_gradients`, one parameter after the other."""
    params = list(params)
    like = copies(params)
    give_gradients(like, seed)
    torch.autograd.backward(params, [q.grad for q in like])


def train_in_backward(opt: Any, params: Sequence[Tensor], seeds: Iterable[int]) -> None:
    for seed in seeds:
        backward(params, seed)
        assert all(p.grad is None for p in params)
        opt.step()


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3))


def loss_of(net: nn.Module, seed: int) -> Tensor:
    return net(randn(8, 6, seed=seed)).square().mean()


# For each of several.


def _sharded() -> nn.Module:
    """A small model over the ranks, its layers one by one."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3))
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    for part in (net[0], net[2], net):
        fully_shard(part, mesh=mesh)
    return net


def _loss(net: nn.Module, rank: int, seed: int) -> Tensor:
    x = torch.randn(4, 6, generator=torch.Generator().manual_seed(10 * seed + rank))
    return net(x).square().mean()


def _step(net: nn.Module, opt: Any, rank: int, seed: int, way: str, stepper: Any) -> None:
    """A step of one backward, or of two whose gradients are summed: over ranks in each, or in the last."""
    for k in range(1 if way == "one" else 2):
        last = way == "one" or k == 1
        if way == "sync":
            net.set_requires_gradient_sync(last)
        holds = stepper is not None and way == "accumulate"
        with stepper.accumulate(not last) if holds else contextlib.nullcontext():
            _loss(net, rank, 2 * seed + k).backward()
        if stepper is not None:
            assert all((p.grad is None) == (last or way == "sync") for p in net.parameters()), (way, k)
    opt.step()
    opt.zero_grad()


def shards_step_in_backward(rank: int) -> None:
    """The bits of plain steps under fully_shard, with gradients summed over micro-batches in either way."""
    warnings.simplefilter("ignore", adamas.torch.SlowPathWarning)
    for cls in (adamas.torch.Adam, adamas.torch.SGD, adamas.torch.Lion):
        nets = _sharded(), _sharded()
        opts = [cls(net.parameters(), lr=0.1) for net in nets]
        steppers = (opts[0].step_in_backward(), None)
        for seed, way in enumerate(("one", "one", "sync", "accumulate", "one")):
            for net, opt, stepper in zip(nets, opts, steppers, strict=True):
                _step(net, opt, rank, seed, way, stepper)
            for p, q in zip(nets[0].parameters(), nets[1].parameters(), strict=True):
                assert torch.equal(p.to_local(), q.to_local()), (cls, way)
                assert {
                    float(opt.state[x].get("step", seed + 1)) for opt, x in zip(opts, (p, q), strict=True)
                } == {seed + 1}


def _refusal(action: Any) -> str:
    try:
        action()
    except RuntimeError as error:
        return str(error)
    return "accepted"


def late_reductions_are_refused(rank: int) -> None:
    """Where gradients are averaged after the hooks: a module wrapped before the call, and one after it."""
    from torch.distributed.fsdp import FullyShardedDataParallel
    from torch.nn.parallel import DistributedDataParallel

    class Own(DistributedDataParallel):
        pass

    for wrapper in (DistributedDataParallel, Own):
        net = nn.Linear(3, 3)
        _kept = wrapper(net)
        assert "drift apart" in _refusal(adamas.torch.Adam(net.parameters()).step_in_backward)
    net = nn.Linear(3, 3)
    opt = adamas.torch.Adam(net.parameters())
    opt.step_in_backward()
    late = DistributedDataParallel(net)
    before = net.weight.detach().clone()
    assert "drift apart" in _refusal(late(torch.ones(1, 3)).sum().backward)
    assert torch.equal(net.weight, before)
    flat = FullyShardedDataParallel(nn.Linear(3, 3), device_id=torch.device("cpu"))
    assert "fully_shard" in _refusal(adamas.torch.Adam(flat.parameters()).step_in_backward)
    other = nn.Linear(3, 3)  # beside them, a model of its own
    opt = adamas.torch.Adam(other.parameters())
    opt.step_in_backward()
    other(torch.ones(1, 3)).sum().backward()
    assert other.weight.grad is None
