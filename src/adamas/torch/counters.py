"""How many steps each parameter has taken, in `state[p]["step"]` as in torch, and carried values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..rules import Rule
from ._compat import without_modes
from .launchers import StepScalars
from .options import Groups

__all__ = ["Counters", "Selection", "StepCount", "counter_keys", "counter_type"]


@dataclass(slots=True)
class StepCount:
    """The steps that parameters of one group have taken, and their rule's carried values.

    `taken` counts all steps, where they are counted; `began` says whether the rule's slots have seen one.
    """

    group: int
    taken: int
    began: bool
    carried: tuple[float, ...]


@dataclass(eq=False, slots=True)
class Selection:
    """The members that a step counts for, in rows of equal counts.

    Attributes:
        rows: the row of each member, -1 for one that the step leaves alone.
        groups, places: the group and the members of each row.
        active: whether the step counts, for each member; `one_more` is the addend.
        members, row_of: the active members, and the row of each of them.
        leaders: the first member of each row.
    """

    rows: list[int]
    groups: list[int]
    places: list[list[int]]
    active: np.ndarray[Any, Any]
    members: np.ndarray[Any, Any]
    leaders: np.ndarray[Any, Any]
    row_of: np.ndarray[Any, Any]
    one_more: np.ndarray[Any, Any]


def counter_keys(groups: Groups, rules: Sequence[Rule]) -> dict[str, float]:
    """The keys in `state[p]` of the counters that a step keeps, "step" first, with their initial values."""
    carried: dict[str, float] = {}
    for rule in rules:
        carried.update(rule.carried)
    initial = ({"step": 0.0} if groups.keeps_steps else {}) | carried
    return {groups.state_names.get(name, name): value for name, value in initial.items()}


def counter_type(rules: Sequence[Rule]) -> torch.dtype:
    """Torch's default float type, in which it counts; float64 where a rule carries sums over all steps."""
    wide = any(rule.carried and rule.carried_bits == 64 for rule in rules)
    return torch.float64 if wide or torch.get_default_dtype() == torch.float64 else torch.float32


class Counters:
    """The 0-d tensors `state[p]["step"]`, and those of carried values, as views of one array, a row a name.

    One addition counts a step for all active parameters, and torch sees ordinary tensors. A tensor that was
    in the state before stays the same object; one in shared memory keeps its memory too, which other
    processes write to, and is read anew at every step.
    """

    def __init__(
        self,
        groups: Groups,
        groups_of: Sequence[int],
        states: Sequence[dict[str, Any]],
        began: Sequence[bool],
        keys: dict[str, float],
        dtype: torch.dtype,
    ) -> None:
        self._counts = groups.keeps_steps
        self._groups_of = groups_of
        self._round = np.float64 if dtype == torch.float64 else np.float32
        self._array = np.zeros((len(keys), len(states)), self._round)
        self._began = list(began)
        self.beginners = not all(self._began)
        self._carries = len(keys) > self._counts
        # Counters in shared memory: their place in the array, and their memory.
        self.shared: list[tuple[int, int, np.ndarray[Any, Any]]] = []
        self._views: list[Tensor] = []
        with without_modes():
            for row, (key, initial) in enumerate(keys.items()):
                self._adopt(states, row, key, initial)
        self._addresses = list(map(Tensor.data_ptr, self._views))
        self._written = self._array.tobytes()
        self.counts: list[StepCount] = []
        self._selection = self.group([False] * len(states))

    def _adopt(self, states: Sequence[dict[str, Any]], row: int, key: str, initial: float) -> None:
        """Make the counters of one name views of their row of the array."""
        counted = key == "step" and self._counts
        views = torch.from_numpy(self._array[row]).unbind()
        for place, (state, view) in enumerate(zip(states, views, strict=True)):
            old = state.get(key)
            if old is None:
                value = float(self._began[place]) if counted else initial
            elif isinstance(old, Tensor) and old.is_meta:  # made under a default device, without a value
                old, value = None, initial
            else:
                value = float(old)
            self._array[row, place] = value
            if isinstance(old, Tensor) and old.is_shared() and old.device.type == "cpu":
                self.shared.append((row, place, old.detach().numpy().reshape(-1)))
            elif isinstance(old, Tensor) and not old.requires_grad:
                old.data = view
            else:
                state[key] = view
            self._views.append(state[key])

    def modified_externally(self) -> bool:
        """Whether a counter's memory was replaced (`.data = ...`), or an unshared one written to."""
        return (
            list(map(Tensor.data_ptr, self._views)) != self._addresses
            or self._array.tobytes() != self._written
        )

    def read_shared(self) -> bool:
        """Read the counters in shared memory; whether one of them has changed."""
        changed = False
        for row, place, memory in self.shared:
            if self._array[row, place] != memory[0]:
                self._array[row, place] = memory[0]
                changed = True
        if changed:
            self._written = self._array.tobytes()
        return changed

    def group(self, active: Sequence[bool]) -> Selection:
        """Put the active members that have equal counts into a row each."""
        columns: list[list[float]] = self._array.tolist()
        keys = [
            key if on else None
            for key, on in zip(zip(self._groups_of, self._began, *columns, strict=True), active, strict=True)
        ]
        index = {key: row for row, key in enumerate(dict.fromkeys([key for key in keys if key is not None]))}
        rows = [-1 if key is None else index[key] for key in keys]
        places: list[list[int]] = [[] for _ in index]
        for place, row in enumerate(rows):
            if row >= 0:
                places[row].append(place)
        mask = np.array(active, bool)
        one_more = np.zeros_like(self._array)
        one_more[: self._counts] = mask
        members = np.flatnonzero(mask)
        leaders = np.array([members_of[0] for members_of in places], int)
        groups = [key[0] for key in index]
        return Selection(rows, groups, places, mask, members, leaders, np.array(rows, int)[members], one_more)

    def take(self, selection: Selection) -> bool:
        """Make `advance` count for these members; False if those of a row no longer have equal counts."""
        leading = self._array[:, selection.leaders]
        # Compared by their bits: a NaN equals itself.
        bits = self._array.view(f"i{self._array.itemsize}")
        if not (bits[:, selection.members] == bits[:, selection.leaders][:, selection.row_of]).all():
            return False
        self._selection = selection
        self.counts = []
        for k, leader, values in zip(selection.groups, selection.leaders, leading.T.tolist(), strict=True):
            began = self._began[leader]
            taken = int(values[0]) if self._counts else int(began)
            self.counts.append(StepCount(k, taken, began, tuple(values[self._counts :])))
        return True

    def stored(self, carried: tuple[float, ...]) -> tuple[float, ...]:
        """Round carried values to their stored precision, so that resuming gives the same bits."""
        return tuple([float(self._round(value)) for value in carried])

    def advance(self, rows: Sequence[StepScalars]) -> None:
        """Advance the counts and carried values of the active members; `rows` has one entry per row."""
        if self._counts:
            np.add(self._array, self._selection.one_more, out=self._array)
        for count, row in zip(self.counts, rows, strict=True):
            count.taken, count.carried = row[3], row[4]
        if self._carries:
            for count, places in zip(self.counts, self._selection.places, strict=True):
                if count.carried:
                    self._array[self._counts :, places] = np.array(count.carried)[:, None]
        if self.beginners:
            self._begin()
        for row_of_array, place, memory in self.shared:
            if self._selection.active[place]:
                memory[0] = self._array[row_of_array, place]
        self._written = self._array.tobytes()

    def _begin(self) -> None:
        """Note that the slots of the active members have seen a step."""
        for count in self.counts:
            count.began = True
        for place in self._selection.members.tolist():
            self._began[place] = True
        self.beginners = not all(self._began)
