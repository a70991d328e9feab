"""Bfloat16 weights under updates smaller than their spacing: torch's rounding to nearest beside ours."""

from __future__ import annotations

from pathlib import Path

import charts
import numpy as np
import torch

import adamas.torch

STEPS, COUNT, LR = 400, 1024, 1e-3


def weights_of(kind: type[torch.optim.Optimizer]) -> list[float]:
    """The mean of many weights that start at 1 and have a gradient of 1, step by step."""
    p = torch.nn.Parameter(torch.ones(COUNT, dtype=torch.bfloat16))
    optimizer = kind([p], lr=LR)
    means = [1.0]
    for _ in range(STEPS):
        p.grad = torch.ones_like(p)
        optimizer.step()
        means.append(p.detach().double().mean().item())
    return means


def draw(path: Path) -> dict[str, str]:
    """Draw both and the exact line; where each ends."""
    nearest, ours = weights_of(torch.optim.SGD), weights_of(adamas.torch.SGD)
    exact = 1 - LR * np.arange(STEPS + 1)
    with charts.figure(path) as (axes,):
        axes.plot(exact, color=charts.GREY, linewidth=3, alpha=0.4, label="exact")
        axes.plot(ours, label="rounded at random (adamas)")
        axes.plot(nearest, label="rounded to nearest (torch)")
        axes.set(xlabel="step", ylabel="mean weight")
        axes.set_title("bfloat16 weights, updates of 0.001")
        axes.legend()
    return {
        "steps": str(STEPS),
        "exact": f"{exact[-1]:.3f}",
        "ours": f"{ours[-1]:.3f}",
        "nearest": f"{nearest[-1]:.3f}",
        "spacing": f"{2.0**-8:.4f}",
    }
