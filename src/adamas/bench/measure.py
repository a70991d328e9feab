"""Interleaved timing: contenders take turns, so that a machine that slows down slows all of them."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from .progress import tell

__all__ = ["Call", "Ratio", "Settled", "Times", "interleave", "ratio", "settle", "triad", "triad_bytes"]

Call = Callable[[], object]
Times = dict[str, list[float]]

# A turn lasts about this long, so that its first calls, which refill the caches after the others' turns,
# count little: the figures are those of a contender's own steady state.
_TURN_SECONDS = 20e-3
# Quartiles further than this from the median, relative to it: a few percent are not significant.
_TOLERANCE = 0.05
# A pair is measured again at most so often, and not where that would take it beyond so many seconds.
_REPEATS, _SECONDS = 8, 60.0
_TRIAD = 1 << 25


@dataclass(frozen=True)
class Ratio:
    """One time over another, turn by turn: the median and the quartiles."""

    median: float
    low: float
    high: float

    @property
    def spread(self) -> float:
        """The distance of the further quartile from the median, relative to the median."""
        return max(self.median - self.low, self.high - self.median) / self.median

    @property
    def settled(self) -> bool:
        """Whether the quartiles are within 5 % of the median."""
        return self.spread <= _TOLERANCE


@dataclass(frozen=True)
class Settled:
    """The repeat of a measurement whose ratio settled, or came nearest to it."""

    seconds: Times
    ratio: Ratio
    repeats: int


def interleave(contenders: Mapping[str, Call], rounds: int, turn_seconds: float = _TURN_SECONDS) -> Times:
    """Measure the seconds a call of each contender, `rounds` turns each, in turns: A B C, B C A, ..."""
    names = list(contenders)
    repeats = {name: _repeats(contenders[name], turn_seconds) for name in names}
    seconds: Times = {name: [] for name in names}
    for turn in range(rounds):
        shift = turn % len(names)
        for name in names[shift:] + names[:shift]:
            seconds[name].append(_time(contenders[name], repeats[name]))
    return seconds


def settle(
    contenders: Mapping[str, Call], rounds: int, ratio_of: Callable[[Times], Ratio], label: str = ""
) -> Settled:
    """Measure again until the quartiles of the ratio are within 5 % of its median, up to a minute.

    Turns become twice as long with each repeat: what disturbs one turn counts less in a longer one.
    """
    start, best, now = _clock(), None, 0.0
    for repeat in range(_REPEATS):
        before = now
        seconds = interleave(contenders, rounds, _TURN_SECONDS * 2**repeat)
        found = Settled(seconds, ratio_of(seconds), repeat + 1)
        if best is None or found.ratio.spread < best.ratio.spread:
            best = found
        now = _clock() - start
        if found.ratio.settled or now + 2 * (now - before) > _SECONDS:
            break
        tell(f"{label}: again, quartiles {found.ratio.low:.2f} to {found.ratio.high:.2f}")
    assert best is not None
    return Settled(best.seconds, best.ratio, repeat + 1)


def _clock() -> float:
    return time.perf_counter()


def _repeats(call: Call, turn_seconds: float) -> int:
    """Return the number of calls in a turn; the calls that measure it are the warm-up."""
    call()  # compiles, allocates
    once = _time(call, 1)
    if once <= _TURN_SECONDS:
        once = _time(call, 10)
    return math.ceil(turn_seconds / once)


def _time(call: Call, repeats: int) -> float:
    start = time.perf_counter()
    for _ in range(repeats):
        call()
    return (time.perf_counter() - start) / repeats


def ratio(theirs: list[float], ours: list[float]) -> Ratio:
    """Return their time over ours, over neighbouring turns."""
    low, median, high = statistics.quantiles((a / b for a, b in zip(theirs, ours, strict=True)), n=4)
    return Ratio(median, low, high)


def triad() -> Call:
    """Return one pass of a = a + s b over float32 arrays that no cache holds.

    In place, as optimizers are: a line that is written has been read. Another output would be read too, and
    not be counted.
    """
    a, b = torch.ones(_TRIAD), torch.ones(_TRIAD)
    return lambda: a.add_(b, alpha=0.5)


def triad_bytes() -> int:
    """Return the bytes that it reads and writes."""
    return 12 * _TRIAD
