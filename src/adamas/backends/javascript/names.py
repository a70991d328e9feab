"""The names that a function gives to its values, seen while it runs on symbols."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from .._symbols import Symbol, Trace

__all__ = ["Names", "watched"]

_OWN = Path(__file__).parents[1]


class Names:
    """The name of each operation of each trace: the first that the outermost function gives it."""

    def __init__(self) -> None:
        self._of: dict[tuple[int, int], tuple[int, str]] = {}

    def of(self, trace: Trace) -> dict[int, str]:
        """The names of the operations of a trace, by their places."""
        return {place: name for (owner, place), (_, name) in self._of.items() if owner == id(trace)}

    def note(self, frame: FrameType) -> None:
        """Take down the variables of a frame that hold the value of an operation."""
        depth = _depth(frame)
        for name, value in frame.f_locals.items():
            if isinstance(value, Symbol) and value.at[0] == "op":
                place = id(value.owner), value.at[1]
                if place not in self._of or depth < self._of[place][0]:
                    self._of[place] = depth, name


def _depth(frame: FrameType | None) -> int:
    depth = 0
    while frame is not None:
        depth, frame = depth + 1, frame.f_back
    return depth


@contextlib.contextmanager
def watched() -> Iterator[Names]:
    """The names of what is traced meanwhile; a debugger that is at work is set aside until then."""
    found, before = Names(), sys.gettrace()

    def look(frame: FrameType, event: str, argument: Any) -> Any:
        if Path(frame.f_code.co_filename).is_relative_to(_OWN):
            return look_away
        found.note(frame)
        return look

    def look_away(frame: FrameType, event: str, argument: Any) -> None:
        return None

    sys.settrace(look)
    try:
        yield found
    finally:
        sys.settrace(before)
