"""What a measurement is at, for whoever listens; suites need not know who that is."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar

__all__ = ["heard_by", "tell"]

_listener: ContextVar[Callable[[str], object] | None] = ContextVar("listener", default=None)


@contextlib.contextmanager
def heard_by(listener: Callable[[str], object]) -> Iterator[None]:
    """Within, call `listener` with one line whenever a measurement goes on to something else."""
    before = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(before)


def tell(line: str) -> None:
    """Say what is measured now."""
    listener = _listener.get()
    if listener is not None:
        listener(line)
