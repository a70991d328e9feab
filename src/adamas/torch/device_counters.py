"""How many steps each parameter has taken, counted on the device: a step there waits for nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ._compat import without_modes
from .counters import Selection
from .options import Groups

__all__ = ["CounterStore", "DeviceCounters"]


class CounterStore:
    """The counters of an optimizer on one device: plans come and go, and CUDA graphs go on with these."""

    def __init__(self) -> None:
        self._arrays: dict[Any, tuple[Tensor, dict[int, Tensor]]] = {}

    def array(
        self, names: Sequence[str], dtype: torch.dtype, count: int, device: torch.device
    ) -> tuple[Tensor, dict[int, Tensor]]:
        """The array of so many parameters, a row a name, and the parameters that have had their column."""
        key = tuple(names), dtype, count
        if key not in self._arrays:
            made = torch.zeros((len(names), count), dtype=dtype, device=device)
            self._arrays[key] = made, {}
        return self._arrays[key]


class DeviceCounters:
    """The 0-d tensors `state[p]["step"]`, and those of carried values, as views of one array of the device.

    The kernel that computes the scalars of a step counts it. What is written to the tensors is seen at once.

    Args:
        groups: of the optimizer.
        groups_of, states, began: of each member its group, its state, and whether its slots have seen a step.
        keys: those of the counters in a state, with their initial values.
        dtype: of the counters.
        columns: of each member its place among all parameters of the optimizer.
        params: the members.
        store: the counters of the optimizer on this device.
        device: that of the members.
    """

    shared = ()
    beginners = False
    counts = ()

    def __init__(
        self,
        groups: Groups,
        groups_of: Sequence[int],
        states: Sequence[dict[str, Any]],
        began: Sequence[bool],
        keys: dict[str, float],
        dtype: torch.dtype,
        columns: Sequence[int],
        params: Sequence[Tensor],
        store: CounterStore,
        device: torch.device,
    ) -> None:
        self.groups_of, self.columns = list(groups_of), list(columns)
        # Steps taken, whether slots have seen one, and carried values.
        rows = [*([] if groups.keeps_steps else [("", 0.0)]), *keys.items()]
        rows.insert(1, ("", 0.0))
        count = sum(len(group["params"]) for group in groups.param_groups)
        self._views: list[Tensor] = []
        with without_modes():
            self.array, known = store.array([key for key, _ in rows], dtype, count, device)
            for row, (key, initial) in enumerate(rows):
                if key:
                    first = list(map(float, began)) if row == 0 else [initial] * len(states)
                    self._adopt(states, row, key, first)
                else:
                    # A column goes on, unless its slots are new; a step that was skipped is no first one.
                    mine = zip(began, columns, params, strict=True)
                    fresh = [not on or known.get(column) is not p for on, column, p in mine]
                    self._write(row, fresh, list(map(float, began)))
        known |= dict(zip(columns, params, strict=True))
        self._addresses = list(map(Tensor.data_ptr, self._views))

    def _adopt(self, states: Sequence[dict[str, Any]], row: int, key: str, initial: list[float]) -> None:
        """Make the counters of one name views of their row of the array; those that are stay as they are."""
        every = self.array[row].unbind()
        views = [every[column] for column in self.columns]
        old = [state.get(key) for state in states]
        mine = [_is_same(x, view) for x, view in zip(old, views, strict=True)]
        values = [_value(x, first) for x, first in zip(old, initial, strict=True)]
        self._write(row, [not each for each in mine], values)
        for state, x, view, same in zip(states, old, views, mine, strict=True):
            if not same:
                if isinstance(x, Tensor) and not x.is_meta and x.device.type != "cpu":
                    view.copy_(x.detach().reshape(()))  # from this device or another
                state[key] = view
            self._views.append(state[key])

    def _write(self, row: int, chosen: Sequence[bool], values: Sequence[float]) -> None:
        """Write the values of the chosen members to a row."""
        places = [column for column, on in zip(self.columns, chosen, strict=True) if on]
        if places:
            new = [value for value, on in zip(values, chosen, strict=True) if on]
            where = torch.tensor(places, device="cpu").to(self.array.device)
            self.array[row].index_copy_(0, where, torch.from_numpy(np.array(new)).to(self.array))

    def modified_externally(self) -> bool:
        """Whether a counter's memory was replaced (`.data = ...`)."""
        return list(map(Tensor.data_ptr, self._views)) != self._addresses

    def read_shared(self) -> bool:
        """Read counters in memory that other processes write to: there are none on a device."""
        return False

    def group(self, active: Sequence[bool]) -> Selection:
        """Give every active member a row of its own: which counts are equal, the host does not know."""
        rows = [place if on else -1 for place, on in enumerate(active)]
        nothing = np.zeros(0, int)
        mask = np.array(active, bool)
        return Selection(rows, [], [], mask, np.flatnonzero(mask), nothing, nothing, nothing)

    def take(self, selection: Selection) -> bool:
        """Make a step count for these members."""
        return True


def _is_same(x: Any, view: Tensor) -> bool:
    """Whether a counter is the view already."""
    if not isinstance(x, Tensor) or x.device != view.device or x.dtype != view.dtype or x.dim():
        return False
    return x.data_ptr() == view.data_ptr()


def _value(x: Any, initial: float) -> float:
    """The value of a counter that the host knows; another's is moved on its device."""
    known = x is not None and not (isinstance(x, Tensor) and (x.is_meta or x.device.type != "cpu"))
    return float(x) if known else initial
