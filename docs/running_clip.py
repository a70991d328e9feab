"""Train a character-level transformer with no clipping, exact clipping, and clipping by a running norm.

    python docs/running_clip.py --seeds 4

prints the table of in-backward.md: the mean cost of the last quarter of the steps, by seed. `ADAMAS_DATA`
names the folder of the data sets; without it IMDB is downloaded.
"""

from __future__ import annotations

import argparse
import math
import statistics
from typing import Any

import torch

import adamas.torch
from adamas.experiments import problems

MODEL = {"data": "imdb", "characters": 2**17, "context": 64, "width": 64, "layers": 2, "heads": 4}
OPTIONS = tuple(sorted(MODEL.items()))
BATCH, EPOCHS = 32, 4
OPTIMIZERS: dict[str, tuple[Any, dict[str, Any], float]] = {
    "AdamW, lr 2e-3, clip_norm 0.25": (adamas.torch.AdamW, {"lr": 2e-3}, 0.25),
}
WAYS = ("none", "exact", "running")
# Every so many steps the loss is this many times as large: what clipping is to withstand.
EVERY, SPIKE = 50, 100.0


def train(name: str, way: str, spikes: bool, seed: int) -> tuple[float, float]:
    """The mean cost of the last quarter of the steps, and the share of steps that were clipped."""
    cls, options, clip = OPTIMIZERS[name]
    problem, order, noise = problems.start("text_transformer", OPTIONS, seed)
    opt = cls(problem.parameters, **options, clip_norm=None if way == "none" else clip)
    if way == "running":
        opt.step_in_backward(clip="running")
    costs, clipped = [], 0
    for _ in range(EPOCHS):
        shuffled = torch.randperm(problem.examples, generator=order)
        for batch in shuffled.split(BATCH):
            cost = problem.cost(batch, noise)
            (cost * (SPIKE if spikes and len(costs) % EVERY == EVERY - 1 else 1.0)).backward()
            opt.step()
            opt.zero_grad()
            costs.append(cost.item())
            clipped += opt.last_step.clip_factor < 1
    return statistics.fmean(costs[-len(costs) // 4 :]), clipped / len(costs)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=4)
    seeds = range(parser.parse_args().seeds)
    print("| optimizer | loss | clipping | cost | of exact, by seed | steps clipped |")
    print("|---|---|---|---|---|---|")
    for name in OPTIMIZERS:
        for spikes in (False, True):
            found = {way: [train(name, way, spikes, seed) for seed in seeds] for way in WAYS}
            for way, runs in found.items():
                costs = [cost for cost, _ in runs]
                pairs = zip(costs, found["exact"], strict=True)
                ratios = [cost / exact for cost, (exact, _) in pairs]
                spread = f"{min(ratios):.4f} to {max(ratios):.4f}" if all(map(math.isfinite, ratios)) else ""
                share = statistics.fmean(clipped for _, clipped in runs)
                loss = f"×{SPIKE:g} each {EVERY}th" if spikes else "plain"
                mean = statistics.fmean(costs)
                print(f"| {name} | {loss} | {way} | {mean:.4f} | {spread} | {share:.0%} |", flush=True)


if __name__ == "__main__":
    main()
