"""The members that a step takes, by those that have a gradient: sets that take turns are remembered."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import repeat

from torch import Tensor

from .counters import Counters, Selection
from .device_counters import DeviceCounters
from .launchers import IDLE

__all__ = ["Selections", "any_given", "mask_of"]

# Sets of active members that are remembered.
_REMEMBERED = 16


@dataclass(frozen=True, eq=False, slots=True)
class _Known:
    """One set.

    Attributes:
        counted: the counters that a step of it advances.
        resting: the members without a gradient.
        places: the rows of each launcher's members.
    """

    counted: Selection
    resting: list[int]
    places: list[tuple[int, ...]]


class Selections:
    """The sets of members that steps of one plan have taken.

    Args:
        counters: of the first `counted` members; the others' launchers count for them.
        slices: the members of each launcher.
    """

    def __init__(self, counters: Counters | DeviceCounters, counted: int, slices: Sequence[slice]) -> None:
        self._counters, self._counted, self._slices = counters, counted, slices
        self._known: dict[bytes, _Known] = {}

    def take(self, mask: bytes) -> _Known:
        """Make counters count for the members whose byte is not 0; the set of these."""
        known = self._known.get(mask)
        if known is None or self._counters.beginners or not self._counters.take(known.counted):
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            known = self._known[mask] = self._new(mask)
            self._counters.take(known.counted)
        return known

    def _new(self, mask: bytes) -> _Known:
        counted = self._counters.group(list(map(bool, mask[: self._counted])))
        rows = counted.rows + [0 if on else IDLE for on in mask[self._counted :]]
        resting = [place for place, on in enumerate(mask) if not on]
        return _Known(counted, resting, [tuple(rows[part]) for part in self._slices])


def mask_of(grads: Sequence[Tensor | None]) -> bytes:
    """Which gradients there are, a byte each."""
    return bytes(map(operator.is_not, grads, repeat(None)))


def any_given(grads: Iterable[Tensor | None]) -> bool:
    """Whether there is any gradient."""
    return any(map(operator.is_not, grads, repeat(None)))
