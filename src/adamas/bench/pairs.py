"""Comparisons: pairs of contenders, ours and theirs, that take turns on one workload."""

from __future__ import annotations

import gc
import os
import platform
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

import adamas

from .measure import Call, interleave, ratio, triad
from .workloads import WORKLOADS, Shape

__all__ = ["Bench", "Contender", "Pair", "check_workloads", "compare", "machine", "parameters"]

# Workloads of at least this many parameters are compared with the memory bandwidth.
_LARGE = 10_000_000
_TRIAD = 1 << 25


@dataclass(frozen=True)
class Contender:
    """A call to time.

    Attributes:
        name: the name in the table.
        make: returns the call for parameters of these shapes.
        bytes: bytes read and written a parameter; None where that is unknown.
    """

    name: str
    make: Callable[[Sequence[Shape]], Call]
    bytes: float | None = None


@dataclass(frozen=True)
class Pair:
    """Two contenders on one workload; `by_bytes` compares bytes a second, not seconds."""

    workload: str
    ours: Contender
    theirs: Contender
    by_bytes: bool = False


@dataclass(frozen=True)
class Bench:
    """Rows of figures, and the machine they were measured on."""

    title: str
    rows: list[dict[str, Any]]
    machine: dict[str, Any]
    notes: list[str]

    def plain(self) -> dict[str, Any]:
        """Return the same as dictionaries and lists, for JSON."""
        return asdict(self)


def compare(title: str, pairs: Iterable[Pair], rounds: int) -> Bench:
    """Measure every pair; a ratio is their time over ours, the median over turns with its quartiles."""
    rows, notes = [], []
    for pair in pairs:
        row, note = _measure(pair, rounds)
        rows.append(row)
        notes += note
    return Bench(title, rows, machine(), notes)


def _measure(pair: Pair, rounds: int) -> tuple[dict[str, Any], list[str]]:
    shapes = WORKLOADS[pair.workload]()
    n = sum(torch.Size(shape).numel() for shape in shapes)
    calls = {"ours": pair.ours.make(shapes), "theirs": pair.theirs.make(shapes)}
    if n >= _LARGE:
        calls["triad"] = triad(_TRIAD)
    seconds = interleave(calls, rounds)
    del calls
    gc.collect()  # the next pair may need the memory
    ours, theirs = statistics.median(seconds["ours"]), statistics.median(seconds["theirs"])
    scale = 1.0
    if pair.by_bytes:
        assert pair.ours.bytes is not None
        assert pair.theirs.bytes is not None
        scale = pair.ours.bytes / pair.theirs.bytes
    measured = ratio([scale * s for s in seconds["theirs"]], seconds["ours"])
    row: dict[str, Any] = {"workload": pair.workload, "parameters": n, "ours": pair.ours.name}
    row |= {"theirs": pair.theirs.name, "ours µs": ours * 1e6, "theirs µs": theirs * 1e6}
    row |= {"ratio": measured.median, "low": measured.low, "high": measured.high}
    row |= {"bytes": pair.ours.bytes, "GB/s": None, "of triad": None}
    if pair.ours.bytes is not None:
        row["GB/s"] = pair.ours.bytes * n / ours / 1e9
        if "triad" in seconds:
            moved = [pair.ours.bytes * n / (12 * _TRIAD) * t for t in seconds["triad"]]
            row["of triad"] = ratio(moved, seconds["ours"]).median
    if not measured.noisy:
        return row, []
    return row, [f"{pair.workload}, {pair.ours.name} and {pair.theirs.name}: too noisy to tell a few percent"]


def machine() -> dict[str, Any]:
    """Return the facts that the figures depend on."""
    seconds = statistics.median(interleave({"triad": triad(_TRIAD)}, 5)["triad"])
    return {
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "triad GB/s": 12 * _TRIAD / seconds / 1e9,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "adamas": adamas.__version__,
    }


def parameters(shapes: Sequence[Shape], dtype: torch.dtype = torch.float32) -> list[torch.nn.Parameter]:
    """Return parameters with gradients, of about the size they have in training."""
    params = [torch.nn.Parameter((torch.randn(shape) * 0.1).to(dtype)) for shape in shapes]
    for p in params:
        p.grad = torch.randn_like(p) * 0.1
    return params


def check_workloads(names: Sequence[str]) -> None:
    """Raise a ValueError that lists the workloads if one of the names is unknown."""
    unknown = [name for name in names if name not in WORKLOADS]
    if unknown:
        raise ValueError(f"unknown workload {unknown[0]!r}; there are {', '.join(WORKLOADS)}")
