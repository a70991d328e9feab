"""Training loops on a device: without waiting for it, and in a graph that sees its hyperparameters change."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import adamas.torch

from .clock import Clock

__all__ = ["OPTIONS", "graphed", "without_waiting"]

_LR, _WARM_UP = 1e-3, 3
# A schedule that does not reach the step leaves parameters further apart than this.
_APART = 1e-4

Make = Callable[[Any, Tensor], torch.optim.Optimizer]

# What must not make a step wait.
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "clipped": {"clip_norm": 1.0},
    "skipping": {"skip_nonfinite": True},
    "float8 state": {"state_format": "float8"},
    "average": {"average": 0.99},
}


def without_waiting(clock: Clock, options: dict[str, Any]) -> dict[str, Any]:
    """Step where each wait for the device is an error, with a gradient that comes and goes."""
    iteration, params, lr = _prepare(clock, _ours(clock, **options))
    for _ in range(_WARM_UP):
        iteration()
    with _no_waiting(clock):
        for k in range(4):
            lr.mul_(0.5)
            iteration()
            params[0].requires_grad_(k % 2 == 1)
    clock.wait()
    return {"finite": all(bool(p.isfinite().all()) for p in params)}


def graphed(clock: Clock, count: int) -> dict[str, Any]:
    """Replay a graphed loop whose stepsize changes before every replay, beside the same loop without a graph.

    Returns:
        "relative": how far its parameters are from those of the loop without a graph, over their norm;
        "live": whether they are elsewhere than with a stepsize that stays; and the seconds of an iteration
        of ours and of torch's fused AdamW, with a graph and without.
    """
    mine, theirs = _ours(clock), _torchs(clock)
    replayed, in_graph = _loop(clock, mine, count, graph=True)
    stepped, eager = _loop(clock, mine, count, graph=False)
    constant, _ = _loop(clock, mine, count, graph=True, decay=0.0)
    found: dict[str, Any] = {"relative": _apart(replayed, stepped)}
    found["live"] = _apart(replayed, constant) > _APART
    found |= {"adamas in a graph": in_graph, "adamas": eager}
    found["torch in a graph"] = _loop(clock, theirs, count, graph=True)[1]
    found["torch"] = _loop(clock, theirs, count, graph=False)[1]
    return found


def _ours(clock: Clock, **options: Any) -> Make:
    on_gpu = clock.device.type == "cuda"
    return lambda params, lr: adamas.torch.AdamW(params, lr=lr, capturable=on_gpu, **options)


def _torchs(clock: Clock) -> Make:
    on_gpu = clock.device.type == "cuda"
    return lambda params, lr: torch.optim.AdamW(params, lr=lr, capturable=on_gpu, fused=True)


def _prepare(clock: Clock, make: Make) -> tuple[Callable[[], object], list[nn.Parameter], Tensor]:
    """An iteration of a small classifier, its parameters, and its stepsize on the device."""
    device, generator = clock.device, torch.Generator().manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 10))
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.randn(p.shape, generator=generator) / 16)
    model.to(device)
    x = torch.randn(128, 64, generator=generator).to(device)
    y = torch.randint(10, (128,), generator=generator).to(device)
    lr = torch.full((), _LR, device=device)
    optimizer = make(model.parameters(), lr)

    def iteration() -> None:
        optimizer.zero_grad(set_to_none=True)
        cross_entropy(model(x), y).backward()
        optimizer.step()

    return iteration, list(model.parameters()), lr


def _loop(
    clock: Clock, make: Make, count: int, graph: bool, decay: float = 1.0
) -> tuple[list[Tensor], float]:
    """The parameters after `count` iterations, and the seconds of one."""
    iteration, params, lr = _prepare(clock, make)
    with _beside(clock):
        for _ in range(_WARM_UP):
            iteration()
    call = _captured(clock, iteration) if graph else iteration
    clock.wait()
    start = clock.mark()
    for k in range(count):
        lr.fill_(_LR * (1 - decay * k / count))
        call()
    end = clock.mark()
    clock.wait()
    return [p.detach().clone() for p in params], clock.seconds(start, end) / count


def _captured(clock: Clock, iteration: Callable[[], object]) -> Callable[[], object]:
    """A graph of the iteration; on a CPU the iteration."""
    if clock.device.type != "cuda":
        return iteration
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        iteration()
    return graph.replay


@contextlib.contextmanager
def _beside(clock: Clock) -> Iterator[None]:
    """Within, work goes to a stream of its own, as warming up for a graph must."""
    if clock.device.type != "cuda":
        yield
        return
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        yield
    torch.cuda.current_stream().wait_stream(stream)


@contextlib.contextmanager
def _no_waiting(clock: Clock) -> Iterator[None]:
    """Within, a wait for the device is an error."""
    if clock.device.type != "cuda":
        yield
        return
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)


def _apart(found: list[Tensor], expected: list[Tensor]) -> float:
    """The norm of the difference over that of the expected."""
    a, b = (torch.cat([x.flatten().double() for x in each]) for each in (found, expected))
    return float((a - b).norm() / b.norm())
