"""Bytes of optimizer state a parameter, as allocated after a step."""

from collections.abc import Sequence
from typing import Any

import torch

import adamas.torch
from adamas import formats

from .. import demonstration
from ..machine import machine
from ..pairs import Bench, parameters
from ..workloads import WORKLOADS as SHAPES

WORKLOADS = ("rl-mlp", "mnist-mlp", "gpt2-small")
SIZES = tuple(demonstration.SIZES)


def run(workloads: Sequence[str], rounds: int, peers: bool) -> Bench:
    """Compare torch's Adam and ours in every format, with averaging too; nothing is timed."""
    rows: list[dict[str, Any]] = []
    for name in workloads:
        shapes = SHAPES[name]()
        n = sum(torch.Size(shape).numel() for shape in shapes)
        row: dict[str, Any] = {"workload": name, "parameters": n, "torch": _bytes(torch.optim.Adam, name) / n}
        for format in _narrow():
            row[format] = _bytes(adamas.torch.Adam, name, state_format=format) / n
        row["with average"] = _bytes(adamas.torch.Adam, name, average=0.999) / n
        rows.append(row)
    return Bench("Bytes of state a parameter: torch's, ours by format", rows, machine(), [])


def demo(size: str) -> Bench:
    """Take one training step of a GPT-2 in a process whose memory is limited."""
    return demonstration.run(size)


def _narrow() -> list[str]:
    """The formats, the widest first, that parameters in float32 may have their state in."""
    found = [format for format in map(formats.get, formats.names()) if format.name != "float64"]
    return [format.name for format in sorted(found, key=lambda format: -format.bytes)]


def _bytes(make: Any, name: str, **options: Any) -> int:
    optimizer = make(parameters(SHAPES[name]()), **options)
    optimizer.step()
    tensors = (x for state in optimizer.state.values() for x in state.values() if x.dim() > 0)
    return sum(x.numel() * x.element_size() for x in tensors)
