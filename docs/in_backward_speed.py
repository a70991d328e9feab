"""Time a backward and step of 200 small parameters: plain, in backward, and torch's recipe for the same.

    python docs/in_backward_speed.py

prints microseconds a parameter beyond the backward itself: the median of rounds in which all take turns.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch

import adamas.torch

COUNT, SIZE, ROUNDS = 200, 64, 60


def params() -> list[torch.nn.Parameter]:
    """The parameters of a contender."""
    return [torch.nn.Parameter(torch.randn(SIZE)) for _ in range(COUNT)]


def recipe(parameters: list[torch.nn.Parameter], **options: bool) -> None:
    """Torch's own recipe: an optimizer a parameter, which a hook steps."""
    optimizers = {p: torch.optim.Adam([p], **options) for p in parameters}

    def hook(p: torch.Tensor) -> None:
        optimizers[p].step()
        optimizers[p].zero_grad()

    for p in parameters:
        p.register_post_accumulate_grad_hook(hook)


def contender(name: str) -> Callable[[], float]:
    """A function that runs one backward and step, and returns its seconds."""
    mine, x, step = params(), torch.randn(SIZE), None
    if name in ("plain", "in backward"):
        opt = adamas.torch.Adam(mine)
        step = opt.step
        if name == "in backward":
            opt.step_in_backward()
    elif name != "backward alone":
        recipe(mine, **({"fused": True} if name.endswith("fused") else {}))

    def run() -> float:
        loss = torch.stack([(p * x).sum() for p in mine]).sum()
        start = time.perf_counter()
        loss.backward()
        if step is not None:
            step()
        seconds = time.perf_counter() - start
        for p in mine:
            p.grad = None
        return seconds

    return run


if __name__ == "__main__":
    names = ("backward alone", "plain", "in backward", "torch's recipe", "torch's recipe, fused")
    runs = {name: contender(name) for name in names}
    rounds = [{name: run() for name, run in runs.items()} for _ in range(ROUNDS)][5:]
    alone = [each["backward alone"] for each in rounds]
    for name in names[1:]:
        beyond = [each[name] - base for each, base in zip(rounds, alone, strict=True)]
        print(f"{name:24}{1e6 * statistics.median(beyond) / COUNT:6.1f} us a parameter")
