"""The steps that some rows have missed: what each did to a row without a gradient, and their sums."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...rules import Coast
from .missed import KEPT, ORDER, compiled

__all__ = ["History", "Sums", "may_lag"]

# Steps that are kept at most: then all rows are brought up to date.
LONGEST = 1 << 14
_WIDTH = 2 + ORDER


class Sums:
    """What the steps from some starts to now do to a row.

    Attributes:
        products: a row each start: the product of the parameter's decays, and of each slot's factors.
        offsets: the same of what is added.
        moved: how many steps after each start move the parameter.
        first: the number of the first part of each start, and of one more.
        parts: what moves the parameter, a row a part: undivided, and the numbers of `missed`.
    """

    def __init__(self, starts: int, kinds: int, parts: int) -> None:
        self._both = np.zeros((starts, 2 * kinds))
        self.products, self.offsets = self._both[:, :kinds], self._both[:, kinds:]
        self.moved, self.first = np.zeros(starts, np.int64), np.zeros(starts + 1, np.int64)
        self.parts = np.zeros((parts, _WIDTH))


class History:
    """Steps since all rows were up to date.

    Args:
        slots: the names of the rule's slots.
        tolerance: of the sum of steps, in units of a step.
        smallest: the smallest product of a slot's factors that may be needed.
    """

    def __init__(self, slots: Sequence[str], tolerance: float, smallest: float = 0.0) -> None:
        self._slots, self._tolerance = list(slots), tolerance
        self._smallest = math.log(smallest) if smallest > 0 else -math.inf
        self._kinds = 1 + len(self._slots)
        self.form: Coast | None = None
        self._make(256)
        self.clear()

    def _make(self, room: int) -> None:
        kinds = self._kinds
        self._factors = np.ones((kinds, room))
        self._logs, self._offsets = np.zeros((kinds, room + 1)), np.zeros((kinds, room + 1))
        self._moves = np.zeros((4, room))
        self._sums = np.zeros((room, KEPT))
        self._scratch = np.zeros((2, room))
        # Scratch of `row_lists.lagging`: the number of each step among those from which rows lag.
        self.mark = np.full(room + 1, -1, np.int32)

    def clear(self) -> None:
        """Forget all steps: every row is up to date."""
        self.now = 0
        self._zeros = np.zeros(self._kinds, np.int64)
        self._logs[:, 0] = self._offsets[:, 0] = 0.0

    def fits(self, form: Coast, decay: float) -> bool:
        """Whether a step moves rows as those before it do, so that it can be summed up with them."""
        mine = self.form
        if mine is None or self.now == 0:
            return True
        return (
            _kind(mine) == _kind(form)
            and self.now < LONGEST
            and not self._vanishes(form)
            and may_lag(form, decay)
        )

    def _vanishes(self, form: Coast) -> bool:
        """Whether a product of factors may underflow: 0 of a v of infinity, which stays, would be NaN."""
        slots = (k for k, slot in enumerate(self._slots, 1) if slot != form.along)
        return any(self._logs[k, self.now] < self._smallest for k in slots)

    @staticmethod
    def fades(form: Coast) -> bool:
        """Whether the movement of a row without gradients fades, so that it can be summed up."""
        if form.along is None or form.over is None or form.factors.get(form.along, 1.0) == 0:
            return True
        shrunk = form.factors.get(form.over, 1.0)
        return form.factors.get(form.along, 1.0) < (max(shrunk, 0.0) ** 0.5 if form.rooted else shrunk)

    def record(self, form: Coast, decay: float) -> None:
        """Note a step, and the decay of the parameter before it."""
        self.form = form
        if self.now == self._moves.shape[1]:
            self._grow()
        j, factors = self.now, [decay, *(form.factors.get(slot, 1.0) for slot in self._slots)]
        for k, factor in enumerate(factors):
            self._factors[k, j] = factor
            self._logs[k, j + 1] = self._logs[k, j]
            if factor == 0:
                self._zeros[k] = j + 1
            elif factor > 0:
                self._logs[k, j + 1] += math.log(factor)
        for k, slot in enumerate(self._slots, 1):
            self._offsets[k, j + 1] = factors[k] * self._offsets[k, j] + form.offsets.get(slot, 0.0)
        shrunk = 1.0 if form.over is None else form.factors.get(form.over, 1.0)
        numbers = form.step, form.ratio, form.add, max(shrunk, 0.0) ** 0.5 if form.rooted else shrunk
        self._moves[:, j] = numbers
        self._sums[j] = 0.0
        self.now += 1

    def _grow(self) -> None:
        old, room = self.now, 4 * self.now
        kept = self._factors, self._logs, self._offsets, self._moves, self._sums
        self._make(room)
        self._factors[:, :old], self._logs[:, : old + 1], self._offsets[:, : old + 1] = kept[:3]
        self._moves[:, :old], self._sums[:old] = kept[3:]

    def sums(self, starts: np.ndarray[Any, Any]) -> Sums:
        """Sum up the steps from each of `starts`, distinct numbers of steps, to now."""
        form, count = self.form, len(starts)
        assert form is not None
        along, over = (0 if slot is None else 1 + self._slots.index(slot) for slot in (form.along, form.over))
        room = 2 * count + 64
        while True:
            made = Sums(count, self._kinds, room)
            used = compiled().sums(
                starts,
                self.now,
                along,
                over,
                form.signed,
                self._tolerance,
                self._factors,
                self._logs,
                self._zeros,
                self._offsets,
                self._moves,
                self._sums,
                self._scratch,
                made._both,
                made.moved,
                made.first,
                made.parts,
            )
            if used >= 0:
                return made
            room *= 4

    def after(self, starts: np.ndarray[Any, Any], sums: Sums) -> Sums:
        """The products and offsets of the steps after those that move a row."""
        made = Sums(len(starts), self._kinds, 0)
        for u, first in enumerate((starts + sums.moved).tolist()):
            for k in range(self._kinds):
                total = compiled().product(self._factors, self._logs, self._zeros, k, first, self.now)
                made.products[u, k] = total
                made.offsets[u, k] = self._offsets[k, self.now] - total * self._offsets[k, first]
        return made


def may_lag(form: Coast, decay: float) -> bool:
    """Whether a step can be made up for later: not where a factor is negative, or a number not finite."""
    factors = decay, *form.factors.values()
    return all(0 <= x < math.inf for x in factors) and math.isfinite(form.step + form.ratio + form.add)


def _kind(form: Coast) -> tuple[Any, ...]:
    """All of a form that is not a number of its step."""
    return form.along, form.signed, form.over, form.rooted, form.stepwise, dict(form.least)
