"""Clip, step, average and zero the gradients: one pass beside torch's fused step and its utilities."""

from collections.abc import Sequence

import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

import adamas.torch

from ..measure import Call
from ..pairs import Bench, Contender, Pair, compare, parameters
from ..workloads import Shape

WORKLOADS = ("rl-mlp", "gpt2-small")
_CLIP, _AVERAGE = 1.0, 0.999


def run(workloads: Sequence[str], rounds: int, peers: bool) -> Bench:
    """Measure every workload; no other library does this in its step."""
    # The norm reads g; the step reads p, g, m, v and the average, and writes all but g.
    mine = Contender("adamas phase", _ours, bytes=4.0 + 36.0)
    peer = Contender("torch fused + clip_grad_norm_ + EMA", _theirs)
    pairs = [Pair(name, mine, peer) for name in workloads]
    return compare("Clip, step, average, zero_grad", pairs, rounds)


def _ours(shapes: Sequence[Shape]) -> Call:
    params = parameters(shapes)
    grads = [p.grad for p in params]
    optimizer = adamas.torch.Adam(params, clip_norm=_CLIP, average=_AVERAGE)

    def phase() -> None:
        for p, g in zip(params, grads, strict=True):
            p.grad = g
        optimizer.step()
        optimizer.zero_grad()

    return phase


def _theirs(shapes: Sequence[Shape]) -> Call:
    params = parameters(shapes)
    grads = [p.grad for p in params]
    for p in params:
        p.grad = None  # or the averaged copy would copy the gradients too
    model = torch.nn.Module()
    for k, p in enumerate(params):
        model.register_parameter(f"p{k}", p)
    optimizer = torch.optim.Adam(params, fused=True)
    averaged = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(_AVERAGE))

    def phase() -> None:
        for p, g in zip(params, grads, strict=True):
            p.grad = g
        torch.nn.utils.clip_grad_norm_(params, _CLIP)
        optimizer.step()
        averaged.update_parameters(model)
        optimizer.zero_grad()

    return phase
