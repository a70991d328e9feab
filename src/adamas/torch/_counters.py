"""How many steps each parameter has taken, in `state[p]["step"]` as in torch, and what its rule carries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..rules import Rule
from ._batch import Step

if TYPE_CHECKING:
    from ._base import Base

__all__ = ["Counters", "Taken"]


class Taken(NamedTuple):
    """The steps that parameters of one group have taken, and their rule's carried values."""

    group: int
    t: int
    carried: tuple[float, ...]


class Counters:
    """The 0-d tensors `state[p]["step"]`, and those of carried values, as views of one array, a row a name.

    One addition counts a step for all parameters, and torch sees ordinary tensors. Parameters of
    one group with equal values share a row, for which scalars are computed once.

    Attributes:
        names: the keys kept in the state, "step" first.
        taken: the distinct values, a row each.
        rows: the row of each parameter.
    """

    def __init__(self, optimizer: Base, active: Sequence[tuple[int, Tensor]], rules: Sequence[Rule]) -> None:
        carried: dict[str, float] = {}
        for rule in rules:
            carried.update(rule.carried)
        self._counts = optimizer.keeps_steps
        initial = ({"step": 0.0} if self._counts else {}) | carried
        self.names = [optimizer.state_names.get(name, name) for name in initial]
        # Torch counts in its default float type: float32, unless the user has chosen float64.
        dtype = torch.float64 if torch.get_default_dtype() == torch.float64 else torch.float32
        self._round = np.float64 if dtype == torch.float64 else np.float32
        self._tensor = torch.zeros(len(self.names), len(active), dtype=dtype)
        self._array = self._tensor.numpy()
        self._one_more = np.zeros_like(self._array)
        self._one_more[: self._counts] = 1
        self._views: list[Tensor] = []
        values = [self._adopt(optimizer, i, k, p, list(initial.values())) for i, (k, p) in enumerate(active)]
        self.taken = list(dict.fromkeys(values))
        self.rows = [self.taken.index(value) for value in values]
        self._members = [np.flatnonzero(np.array(self.rows) == row) for row in range(len(self.taken))]
        self._carries = len(self.names) > self._counts
        self._addresses = list(map(Tensor.data_ptr, self._views))
        self._written = self._array.tobytes()

    def _adopt(self, optimizer: Base, i: int, k: int, p: Tensor, initial: list[float]) -> Taken:
        """Move the counters of a parameter, or initial ones, into place i of the arrays."""
        state: dict[str, Any] = optimizer.state[p] if self.names else optimizer.state.get(p, {})
        began = float(any(value is not None for value in state.values()))
        values = [float(state.get(name, x)) for name, x in zip(self.names, initial, strict=True)]
        if self._counts and "step" not in state:
            values[0] = began
        for name, value, row in zip(self.names, values, self._tensor, strict=True):
            row[i] = value
            state[name] = row[i]
            self._views.append(state[name])
        if self._counts:
            return Taken(k, int(values[0]), tuple(values[1:]))
        # A rule that tells only the first step from the rest: it was taken where there is state.
        return Taken(k, int(began), tuple(values))

    def edited(self) -> bool:
        """Whether somebody else has written to a counter, or moved one, as `.data` and shared memory do."""
        return (
            list(map(Tensor.data_ptr, self._views)) != self._addresses
            or self._array.tobytes() != self._written
        )

    def stored(self, carried: tuple[float, ...]) -> tuple[float, ...]:
        """Carried values as they will be read from a checkpoint, so that to resume changes no bit."""
        return tuple(float(self._round(value)) for value in carried)

    def advance(self, steps: Sequence[Step]) -> None:
        """Count the step that every parameter has taken, one for each row."""
        np.add(self._array, self._one_more, out=self._array)
        if self._carries:
            for members, step in zip(self._members, steps, strict=True):
                self._array[self._counts :, members] = np.array(step.carried)[:, None]
        self._written = self._array.tobytes()
