"""Rules with sums as torch optimizers: parameters, steps, and what several processes run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from rule_cases import CASES, has_sums
from torch import Tensor
from torch_support import randn

import adamas.torch
from adamas.rules import Rule

# Several chunks of a kernel, a row that two chunks share, rows of one element, an empty parameter.
SHAPES = ((70, 1300), (5000,), (3, 5, 7), (11, 1), (0, 4), ())

SUMS: dict[str, Rule] = {name: rule for name, rule in CASES.items() if has_sums(rule)}
# One rule a scope, of those that keep something and, but for "tensor", of those that do not.
SCOPES = {rule.form().reduction.scope: name for name, rule in SUMS.items()}  # type: ignore[union-attr]


def parameters(dtype: torch.dtype = torch.float32, shapes: Sequence[Sequence[int]] = SHAPES) -> list[Any]:
    return [
        torch.nn.Parameter(randn(*shape, seed=k).to(dtype).reshape(tuple(shape)))
        for k, shape in enumerate(shapes)
    ]


def gradients(params: Sequence[Tensor], t: int) -> list[Tensor]:
    """They turn at every step, and span some decades from one parameter to the next."""
    return [
        ((-1) ** t * 10.0 ** (k - 2) * randn(*p.shape, seed=100 * t + k)).to(p.dtype).reshape(p.shape)
        for k, p in enumerate(params)
    ]


def step(opt: Any, params: Sequence[Any], *times: int) -> None:
    for t in times:
        for p, g in zip(params, gradients(params, t), strict=True):
            p.grad = g.clone()
        opt.step()


def in_shards(rank: int, file: str) -> None:
    """Steps of parameters that two processes share, and of the same in one piece."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Replicate, Shard, distribute_tensor

    mesh, found = init_device_mesh("cpu", (2,)), {}
    for name, rule in SUMS.items():
        for placement in (Shard(0), Replicate()):
            whole = parameters(torch.float64, ((7, 300), (50,)))
            params = [torch.nn.Parameter(distribute_tensor(p.detach(), mesh, [placement])) for p in whole]
            opt, alone = (adamas.torch.Optimizer(each, rule) for each in (params, whole))
            try:
                for t in range(4):
                    step(alone, whole, t)
                    for p, g in zip(params, gradients(whole, t), strict=True):
                        p.grad = distribute_tensor(g, mesh, [placement])
                    opt.step()
            except ValueError as error:
                found[f"{name} {placement}"] = str(error)
                continue
            pairs = zip(params, whole, strict=True)
            off = [float((p.full_tensor() - q).abs().max()) for p, q in pairs]  # type: ignore[attr-defined]
            found[f"{name} {placement}"] = max(off)
    # A group whose parameters are different processes' own.
    both = parameters(torch.float64, ((7, 30), (50,)))
    alone = adamas.torch.Optimizer(both, SUMS["DoG"])
    mine = [torch.nn.Parameter(both[rank].detach().clone())]
    opt = adamas.torch.Optimizer(mine, SUMS["DoG"], process_group=torch.distributed.group.WORLD)
    for t in range(4):
        step(alone, both, t)
        mine[0].grad = gradients(both, t)[rank]
        opt.step()
    found["one of many"] = float((mine[0] - both[rank]).abs().max())
    torch.save(found, f"{file}.{rank}")
