"""What the kernels for GPUs are to reach, and whether they did."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .rivals import FUSED, FUSED16

__all__ = ["LARGE", "judge"]

# Workloads of at least this many parameters are limited by the memory.
LARGE = 100_000_000
# Ours, theirs, and how many times as fast.
_RATIOS = (
    ("adamas float32", FUSED, 1.0),
    ("adamas bfloat16", FUSED, 1.8),
    ("adamas bfloat16", FUSED16, 1.0),
    ("adamas float8 state", FUSED, 1.4),
    ("adamas float8 state", "bitsandbytes 8-bit", 1.2),
)
_MANY_TENSORS = ("many-small", "resnet101")
_MANY_RATIO = 2.0
_OF_COPY = 0.92
_HOST, _HOST_A_TENSOR = 30e-6, 0.5e-6
_GRAPH = 1e-5

Row = Mapping[str, Any]


def judge(steps: Sequence[Row], loops: Sequence[Row]) -> list[dict[str, Any]]:
    """Return each target with what was wanted, what was measured, and whether that is enough.

    A target of which nothing was measured has None for the last two.
    """
    done = {(row["workload"], row["contender"]): row for row in steps if row["status"] == "done"}
    workloads = {row["workload"]: row["parameters"] for row in steps if "parameters" in row}
    found = [target for name, n in workloads.items() for target in _of_workload(name, n, done)]
    for row in loops:
        if "relative" in row:
            found.append(_at_most("graph beside none, relative", row["relative"], _GRAPH))
            found.append(_at_least("graph sees its schedule", float(row["live"]), 1.0))
    return found


def _of_workload(name: str, n: int, done: Mapping[tuple[str, str], Row]) -> Iterator[dict[str, Any]]:
    if n >= LARGE:
        wide: Row = done.get((name, "adamas float32"), {})
        yield _at_least(f"{name}: adamas float32, of the copy", wide.get("of copy"), _OF_COPY)
        for ours, theirs, wanted in _RATIOS:
            yield _at_least(f"{name}: {ours} over {theirs}", _ratio(name, ours, theirs, done), wanted)
    if name in _MANY_TENSORS:
        got = _ratio(name, "adamas float32", FUSED, done)
        yield _at_least(f"{name}: adamas float32 over {FUSED}", got, _MANY_RATIO)
    for (workload, contender), row in done.items():
        if workload == name and contender.startswith("adamas"):
            wanted = _HOST + _HOST_A_TENSOR * row["tensors"]
            yield _at_most(f"{name}: {contender}, host seconds", row["host"], wanted)


def _ratio(workload: str, ours: str, theirs: str, done: Mapping[tuple[str, str], Row]) -> float | None:
    mine, other = done.get((workload, ours)), done.get((workload, theirs))
    if mine is None or other is None:
        return None
    ratio: float = other["step"] / mine["step"]
    return ratio


def _at_least(target: str, got: float | None, wanted: float) -> dict[str, Any]:
    return _judged(target, f"at least {wanted:g}", got, None if got is None else got >= wanted)


def _at_most(target: str, got: float | None, wanted: float) -> dict[str, Any]:
    return _judged(target, f"at most {wanted:g}", got, None if got is None else got <= wanted)


def _judged(target: str, wanted: str, got: float | None, met: bool | None) -> dict[str, Any]:
    return {"target": target, "wanted": wanted, "measured": got, "met": met}
