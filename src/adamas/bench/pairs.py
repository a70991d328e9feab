"""Comparisons: pairs of contenders, ours and theirs, that take turns on one workload."""

from __future__ import annotations

import gc
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from .machine import machine
from .measure import Call, Ratio, Settled, Times, ratio, settle, triad, triad_bytes
from .progress import tell
from .workloads import WORKLOADS, Shape

__all__ = ["Bench", "Contender", "Pair", "UnavailableError", "check_workloads", "compare", "parameters"]

# Workloads of at least this many parameters are compared with the memory bandwidth.
_LARGE = 10_000_000


class UnavailableError(Exception):
    """A contender that cannot be had here; the message says why, and what would help."""


@dataclass(frozen=True)
class Contender:
    """A call to time.

    Attributes:
        name: the name in the table.
        make: returns the call for parameters of these shapes, or raises `UnavailableError`.
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

    @property
    def label(self) -> str:
        """The pair in a few words."""
        return f"{self.workload}, {self.ours.name} and {self.theirs.name}"


@dataclass(frozen=True)
class Bench:
    """Rows of figures, the machine they were measured on, and what there is beyond the table, for JSON."""

    title: str
    rows: list[dict[str, Any]]
    machine: dict[str, Any]
    notes: list[str]
    more: dict[str, Any] = field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        """Return the same as dictionaries and lists, for JSON."""
        return asdict(self)


def compare(title: str, pairs: Iterable[Pair], rounds: int) -> Bench:
    """Measure every pair; a ratio is their time over ours, the median over turns with its quartiles.

    A pair is measured again until its quartiles are within 5 % of the median; one that never was gets a note,
    as does a contender that cannot be had.
    """
    rows, notes, pairs = [], [], list(pairs)
    for place, pair in enumerate(pairs, 1):
        label = f"{place} of {len(pairs)}, {pair.label}"
        tell(label)
        try:
            row, note = _measure(pair, rounds, label)
        except UnavailableError as reason:
            notes.append(f"not measured: {pair.theirs.name}: {reason}")
            continue
        rows.append(row)
        notes += note
    return Bench(title, rows, machine(), list(dict.fromkeys(notes)))


def _measure(pair: Pair, rounds: int, label: str) -> tuple[dict[str, Any], list[str]]:
    shapes = WORKLOADS[pair.workload]()
    n = sum(torch.Size(shape).numel() for shape in shapes)
    calls = {"theirs": pair.theirs.make(shapes), "ours": pair.ours.make(shapes)}
    if n >= _LARGE:
        calls["triad"] = triad()
    found = settle(calls, rounds, lambda seconds: _ratio(pair, seconds), label)
    del calls
    gc.collect()  # the next pair may need the memory
    if found.ratio.settled:
        return _row(pair, n, found), []
    low, high = (f"{x / found.ratio.median:.2f}" for x in (found.ratio.low, found.ratio.high))
    never = f"quartiles never within 5 %, {low} to {high} of the median in the best of {found.repeats}"
    return _row(pair, n, found), [f"{pair.label}: {never}"]


def _ratio(pair: Pair, seconds: Times) -> Ratio:
    scale = 1.0
    if pair.by_bytes:
        assert pair.ours.bytes is not None
        assert pair.theirs.bytes is not None
        scale = pair.ours.bytes / pair.theirs.bytes
    return ratio([scale * s for s in seconds["theirs"]], seconds["ours"])


def _row(pair: Pair, n: int, found: Settled) -> dict[str, Any]:
    seconds = found.seconds
    ours, theirs = statistics.median(seconds["ours"]), statistics.median(seconds["theirs"])
    row: dict[str, Any] = {"workload": pair.workload, "parameters": n, "ours": pair.ours.name}
    row |= {"theirs": pair.theirs.name, "ours µs": ours * 1e6, "theirs µs": theirs * 1e6}
    row |= {"ratio": found.ratio.median, "low": found.ratio.low, "high": found.ratio.high}
    row |= {"settled": found.ratio.settled, "repeats": found.repeats}
    row |= {"bytes": pair.ours.bytes, "GB/s": None, "of triad": None}
    if pair.ours.bytes is not None:
        row["GB/s"] = pair.ours.bytes * n / ours / 1e9
        if "triad" in seconds:
            moved = [pair.ours.bytes * n / triad_bytes() * t for t in seconds["triad"]]
            row["of triad"] = ratio(moved, seconds["ours"]).median
    return row


def parameters(
    shapes: Sequence[Shape], dtype: torch.dtype = torch.float32, device: str = "cpu"
) -> list[torch.nn.Parameter]:
    """Return parameters with gradients, of about the size they have in training."""
    params = [torch.nn.Parameter((torch.randn(shape, device=device) * 0.1).to(dtype)) for shape in shapes]
    for p in params:
        p.grad = torch.randn_like(p) * 0.1
    return params


def check_workloads(names: Sequence[str]) -> None:
    """Raise a ValueError that lists the workloads if one of the names is unknown."""
    unknown = [name for name in names if name not in WORKLOADS]
    if unknown:
        raise ValueError(f"unknown workload {unknown[0]!r}; there are {', '.join(WORKLOADS)}")
