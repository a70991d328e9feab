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

__all__ = ["DeviceCounters"]


class DeviceCounters:
    """The 0-d tensors `state[p]["step"]`, and those of carried values, as views of one array of the device.

    The kernel that computes the scalars of a step counts it. What is written to the tensors is seen at once.
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
        device: torch.device,
    ) -> None:
        self.groups_of = list(groups_of)
        dtype = torch.float64 if torch.get_default_dtype() == torch.float64 else torch.float32
        rows = list(keys.items())
        # Steps taken, whether slots have seen one, and carried values.
        rows = [*([] if groups.keeps_steps else [("", 0.0)]), *rows]
        rows.insert(1, ("", 0.0))
        self._views: list[Tensor] = []
        with without_modes():
            self.array = torch.empty((len(rows), len(states)), dtype=dtype, device=device)
            for row, (key, initial) in enumerate(rows):
                first = list(map(float, began)) if row < 2 else [initial] * len(states)
                self._adopt(states, row, key, first)
        self._addresses = list(map(Tensor.data_ptr, self._views))

    def _adopt(self, states: Sequence[dict[str, Any]], row: int, key: str, initial: list[float]) -> None:
        """Make the counters of one name views of their row of the array."""
        old = [state.get(key) if key else None for state in states]
        there = [x for x in old if isinstance(x, Tensor) and x.device == self.array.device]
        values = [_value(x, first) for x, first in zip(old, initial, strict=True)]
        self.array[row] = torch.from_numpy(np.array(values)).to(self.array)
        if there:  # moved on the device, without waiting for it
            places = [k for k, x in enumerate(old) if isinstance(x, Tensor) and x.device == self.array.device]
            moved = torch.stack([x.detach().reshape(()).to(self.array.dtype) for x in there])
            self.array[row].index_copy_(0, torch.tensor(places, device="cpu").to(self.array.device), moved)
        if key:
            for state, view in zip(states, self.array[row].unbind(), strict=True):
                state[key] = view
                self._views.append(view)

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


def _value(x: Any, initial: float) -> float:
    """The value of a counter that the host knows; another's is moved on its device."""
    known = x is not None and not (isinstance(x, Tensor) and (x.is_meta or x.device.type != "cpu"))
    return float(x) if known else initial
