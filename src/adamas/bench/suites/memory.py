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
        for format in _fit():
            row[format] = _bytes(adamas.torch.Adam, name, state_format=format) / n
        row["with average"] = _bytes(adamas.torch.Adam, name, average=0.999) / n
        rows.append(row)
    return Bench("Bytes of state a parameter: torch's, ours by format", rows, machine(), [])


def demo(size: str, processes: int = 1) -> Bench:
    """Take one training step of a GPT-2 in processes whose memory is limited."""
    return demonstration.run(size, processes)


def _fit() -> list[str]:
    """The formats, the widest first, that Adam's state may have beside parameters in float32."""
    found = sorted(map(formats.get, formats.names()), key=lambda format: -format.bytes)
    return [format.name for format in found if format.name != "float64" and not _refused(format.name)]


def _refused(format: str) -> bool:
    try:
        adamas.torch.Adam([torch.zeros(1, requires_grad=True)], state_format=format)
    except ValueError:
        return True
    return False


def _bytes(make: Any, name: str, **options: Any) -> int:
    optimizer = make(parameters(SHAPES[name]()), **options)
    optimizer.step()
    tensors = (x for state in optimizer.state.values() for x in state.values() if x.dim() > 0)
    return sum(x.numel() * x.element_size() for x in tensors)
