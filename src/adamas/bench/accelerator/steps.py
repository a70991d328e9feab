"""The time of one step: of the device alone, of steps in a row, and of the host."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from typing import Any

from ..measure import Call
from .clock import Clock

__all__ = ["time_step"]

_WARM_UP = 3
# Steps in a row last about this long, and are at most so many.
_ROW_SECONDS, _LONGEST_ROW = 10e-3, 50
# Writes before a step, at most, that keep the device busy until the host has given it the step.
_MOST_WRITES = 400


def time_step(clock: Clock, step: Call, flush: Callable[[], object], rounds: int) -> dict[str, Any]:
    """Time a step; each figure is a median over `rounds`, with its quartiles beside it.

    Returns:
        Seconds. "host": until the call returns, with nothing queued before it. "step": of one of many steps
        in a row, whichever of host and device is slower. "device": of the device alone, from when it has the
        whole step before it, with caches that hold nothing of it.
    """
    for _ in range(_WARM_UP):
        step()
    clock.wait()
    host = [_until_returned(clock, step) for _ in range(rounds)]
    once = max(statistics.median(host), 1e-9)
    length = min(math.ceil(_ROW_SECONDS / once), _LONGEST_ROW)
    rows = _between(clock, step, lambda: None, rounds, length)
    writes = _writes(clock, flush, once)

    def before() -> None:
        for _ in range(writes):
            flush()

    alone = _between(clock, step, before, rounds, 1)
    found: dict[str, Any] = {}
    for name, seconds in (("host", host), ("step", rows), ("device", alone)):
        low, found[name], high = statistics.quantiles(seconds, n=4)
        found[f"{name} quartiles"] = [low, high]
    return found


def _until_returned(clock: Clock, step: Call) -> float:
    clock.wait()
    start = clock.now()
    step()
    return clock.now() - start


def _between(clock: Clock, step: Call, before: Callable[[], object], rounds: int, length: int) -> list[float]:
    """The seconds a step, of `length` of them in a row, after `before`."""
    marks = []
    for _ in range(rounds):
        before()
        start = clock.mark()
        for _ in range(length):
            step()
        marks.append((start, clock.mark()))
    clock.wait()
    return [clock.seconds(start, end) / length for start, end in marks]


def _writes(clock: Clock, flush: Callable[[], object], host: float) -> int:
    """The writes that last half as long again as the host takes for a step."""
    flush()
    one = max(statistics.median(_between(clock, flush, lambda: None, 5, 1)), 1e-9)
    return min(math.ceil(1.5 * host / one) + 1, _MOST_WRITES) if clock.device.type == "cuda" else 1
