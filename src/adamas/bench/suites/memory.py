"""Bytes of optimizer state a parameter, as allocated after a step."""

from collections.abc import Sequence
from typing import Any

import torch

import adamas.torch

from ..pairs import Bench, machine, parameters
from ..workloads import WORKLOADS as SHAPES

WORKLOADS = ("rl-mlp", "mnist-mlp", "gpt2-small")


def run(workloads: Sequence[str], rounds: int, peers: bool) -> Bench:
    """Compare torch's Adam and ours in every format, with averaging too; nothing is timed."""
    rows: list[dict[str, Any]] = []
    for name in workloads:
        shapes = SHAPES[name]()
        n = sum(torch.Size(shape).numel() for shape in shapes)
        row: dict[str, Any] = {"workload": name, "parameters": n, "torch": _bytes(torch.optim.Adam, name) / n}
        for format in ("float32", "bfloat16", "float8"):
            row[f"adamas {format}"] = _bytes(adamas.torch.Adam, name, state_format=format) / n
        row["adamas float32, averaging"] = _bytes(adamas.torch.Adam, name, average=0.999) / n
        rows.append(row)
    return Bench("Bytes of state a parameter", rows, machine(), [])


def _bytes(make: Any, name: str, **options: Any) -> int:
    optimizer = make(parameters(SHAPES[name]()), **options)
    optimizer.step()
    tensors = (x for state in optimizer.state.values() for x in state.values() if x.dim() > 0)
    return sum(x.numel() * x.element_size() for x in tensors)
