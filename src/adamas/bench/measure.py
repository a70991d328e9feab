"""Interleaved timing: contenders take turns, so that a machine that slows down slows all of them."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

__all__ = ["Call", "Ratio", "interleave", "ratio", "triad"]

Call = Callable[[], object]

# A turn lasts about this long, so that its first calls, which refill the caches after the others' turns,
# count little: the figures are those of a contender's own steady state.
_TURN_SECONDS = 20e-3
# With quartiles further apart than this, relative to the median, a few percent are not significant.
_NOISY = 0.25


@dataclass(frozen=True)
class Ratio:
    """One time over another, turn by turn: the median and the quartiles."""

    median: float
    low: float
    high: float

    @property
    def noisy(self) -> bool:
        """Whether the turns disagree so much that the median is not reliable."""
        return (self.high - self.low) / self.median > _NOISY


def interleave(contenders: Mapping[str, Call], rounds: int) -> dict[str, list[float]]:
    """Measure the seconds a call of each contender, `rounds` turns each, in turns: A B C, B C A, ..."""
    names = list(contenders)
    repeats = {name: _repeats(contenders[name]) for name in names}
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(rounds):
        shift = turn % len(names)
        for name in names[shift:] + names[:shift]:
            seconds[name].append(_time(contenders[name], repeats[name]))
    return seconds


def _repeats(call: Call) -> int:
    """Return the number of calls in a turn; the calls that measure it are the warm-up."""
    call()  # compiles, allocates
    once = _time(call, 1)
    return 1 if once > _TURN_SECONDS else math.ceil(_TURN_SECONDS / _time(call, 10))


def _time(call: Call, repeats: int) -> float:
    start = time.perf_counter()
    for _ in range(repeats):
        call()
    return (time.perf_counter() - start) / repeats


def ratio(theirs: list[float], ours: list[float]) -> Ratio:
    """Return their time over ours, over neighbouring turns."""
    low, median, high = statistics.quantiles((a / b for a, b in zip(theirs, ours, strict=True)), n=4)
    return Ratio(median, low, high)


def triad(elements: int = 1 << 25) -> Call:
    """Return one pass of a = b + s c over float32 arrays that no cache holds: 12 bytes an element."""
    a, b, c = (torch.ones(elements) for _ in range(3))
    return lambda: torch.add(b, c, alpha=0.5, out=a)
