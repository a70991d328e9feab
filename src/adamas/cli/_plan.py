"""The plans that `adamas info --plan` shows: memory and traffic of large models on many ranks."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from adamas.bench.llama import LlamaSize
    from adamas.torch.footprint import Memory

__all__ = ["ASSUMED", "Asked", "plain", "plans", "row"]

# What every plan takes for granted, for people.
ASSUMED = (
    "the shapes of Llama as published, or with more or fewer layers; fully_shard on every layer and on the "
    "rest; parameters, gradients and what is sent in one dtype; kernels for every parameter. Activations and "
    "the program itself are not counted. peak: all gradients, then a step; in backward: each parameter "
    "stepped as soon as its gradient is there. Bytes are those of the rank that has the most; sent: by each "
    "rank, in rings. 1 GB is 1e9 bytes."
)


@dataclass(frozen=True)
class Asked:
    """The options of a plan, as the command has them."""

    optimizer: str
    state: str | None
    dtype: str
    average: float | None
    clip: bool
    replicas: int
    bandwidth: float | None
    simulate: bool


def plans(sizes: Sequence[float], ranks: Sequence[int], asked: Asked) -> list[tuple[LlamaSize, Memory, Any]]:
    """Return each size on each number of ranks, with its memory, and what a simulation exchanged or None.

    Raises:
        ValueError: there is no such optimizer, dtype, format or size, or ranks cannot be replicated so often.
    """
    import adamas.torch
    from adamas.bench.llama import dtype_named, sized

    dtype = dtype_named(asked.dtype)
    make = _optimizer(asked)
    found = []
    for size in map(sized, sizes):
        for n in ranks:
            if n < 1 or n % asked.replicas:
                raise ValueError(f"--ranks {n} is not a multiple of --replicas {asked.replicas}")
            mesh = asked.replicas, n // asked.replicas
            planned = adamas.torch.memory(size.shapes(), make, mesh=mesh, dtype=dtype)
            sent = None
            if asked.simulate:
                from adamas.bench.exchange import simulate

                sent = simulate(size, mesh, dtype, make)
            found.append((size, planned, sent))
    return found


def _optimizer(asked: Asked) -> Any:
    import adamas.torch

    known = [name for name in adamas.torch.__all__ if name[0].isupper()]
    cls = getattr(adamas.torch, asked.optimizer) if asked.optimizer in known else None
    if not isinstance(cls, type) or issubclass(cls, Warning) or asked.optimizer == "Optimizer":
        raise ValueError(
            f"--optimizer must be a class of adamas.torch such as AdamW, got {asked.optimizer!r}"
        )
    options = {
        "state_format": asked.state,
        "average": asked.average,
        "clip_norm": 1.0 if asked.clip else None,
    }
    return functools.partial(cls, **options)


def row(planned: Memory, sent: Any, asked: Asked) -> dict[str, Any]:
    """Return one plan as a row of a table of many."""
    found: dict[str, Any] = {"model": f"{planned.elements / 1e9:.3g}B", "ranks": str(planned.ranks)}
    found |= {
        name: _gb(bytes)
        for name, bytes in {
            "params": planned.parameters,
            "grads": planned.gradients,
            "state": sum(planned.state.values()) + planned.averages,
            "FSDP": planned.gathered,
            "peak": planned.peak,
            "in backward": planned.peak_in_backward,
            "sent": planned.exchange.total,
        }.items()
    }
    if sent is not None:
        found["simulated"] = _gb(sent.total)
    if asked.bandwidth is not None:
        found["step s"] = float(f"{planned.seconds(asked.bandwidth * 1e9):.3g}")
    return found


def plain(size: LlamaSize, planned: Memory, sent: Any, asked: Asked) -> dict[str, Any]:
    """Return one plan with all its numbers, in bytes and seconds."""
    found: dict[str, Any] = {"model": asdict(size), **planned.plain()}
    if asked.bandwidth is not None:
        found["seconds"] = planned.seconds(asked.bandwidth * 1e9)
    if sent is not None:
        found["simulated"] = asdict(sent)
    return found


def _gb(size: int) -> float:
    return float(f"{size / 1e9:.3g}")
