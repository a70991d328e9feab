"""One line on the standard error that says how far a run is, and when it will end."""

from __future__ import annotations

import sys
import time

__all__ = ["Progress"]

_SECONDS = 0.2
_SECONDS_ELSEWHERE = 10.0
_WIDTH = 79


class Progress:
    """A line that is written over on a terminal, five times a second; a line each ten seconds elsewhere."""

    def __init__(self, maxiter: int, done: int) -> None:
        self._maxiter, self._first = maxiter, done
        self._terminal = sys.stderr.isatty()
        self._start = self._last = time.monotonic()
        self._every = _SECONDS if self._terminal else _SECONDS_ELSEWHERE

    def show(self, t: int, value: float) -> None:
        """Tell that t iterations are done, where it is time to."""
        now = time.monotonic()
        if now - self._last >= self._every:
            self._last = now
            self._write(line(t, self._maxiter, value, (now - self._start) / max(1, t - self._first)))

    def end(self, t: int, value: float, message: str) -> None:
        """Leave a last line."""
        elapsed = time.monotonic() - self._start
        self._write(
            f"{t:,} iterations in {duration(elapsed)}, fun {value:.6g}: {message}"[:_WIDTH], last=True
        )

    def _write(self, text: str, last: bool = False) -> None:
        if self._terminal:
            print(f"\r{text:<{_WIDTH}}", end="\n" if last else "", file=sys.stderr, flush=True)
        else:
            print(text, file=sys.stderr, flush=True)


def line(t: int, maxiter: int, value: float, seconds: float) -> str:
    """The line after t iterations of so many seconds each."""
    left = duration((maxiter - t) * seconds)
    return f"{t:,} of {maxiter:,} ({t / maxiter:.0%}), fun {value:.6g}, at most {left} left"[:_WIDTH]


def duration(seconds: float) -> str:
    """Seconds as h:mm:ss, or with a digit below ten."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
