"""Ctrl-C between pieces of work only: each is done whole or not at all."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["Interrupts", "uninterrupted"]


class Interrupts:
    """Within, a handler of SIGINT that was Python's waits while `stepping`; `after_step` lets it run then.

    In other threads than the main one, which gets no signals, and where a program has no handler in Python,
    nothing is changed.
    """

    def __init__(self) -> None:
        self.stepping = False
        self._waiting = False
        self._handler: Any = None

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            handler = signal.getsignal(signal.SIGINT)
            if callable(handler):
                self._handler = handler
                signal.signal(signal.SIGINT, self._handle)
        return self

    def __exit__(self, *_: Any) -> None:
        if self._handler is not None:
            signal.signal(signal.SIGINT, self._handler)

    def after_step(self) -> None:
        """End the step, and let a signal that came in it be heard."""
        self.stepping = False
        if self._waiting:
            self._waiting = False
            self._handler(signal.SIGINT, None)

    def _handle(self, number: int, frame: Any) -> None:
        if self.stepping:
            self._waiting = True
        else:
            self._handler(number, frame)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Within, Ctrl-C waits for the end."""
    with Interrupts() as interrupts:
        interrupts.stepping = True
        try:
            yield
        finally:
            interrupts.after_step()
