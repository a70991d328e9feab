"""The batch of each iteration: from an iterable, from a function of a random generator, or from arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

__all__ = ["Batches", "batches_of"]


class Batches:
    """Batches one after another; `taken` of them were taken, also in the runs before."""

    def __init__(self, taken: int) -> None:
        self.taken = taken

    def next(self) -> Any:
        """The next batch.

        Raises:
            StopIteration: there are no more.
        """
        batch = self._batch(self.taken)
        self.taken += 1
        return batch

    def _batch(self, place: int) -> Any:
        raise NotImplementedError


class _Drawn(Batches):
    """A function of a random generator, which depends on the seed and the place alone."""

    def __init__(self, draw: Callable[[np.random.Generator], Any], seed: int, taken: int) -> None:
        super().__init__(taken)
        self._draw, self._seed = draw, seed

    def _batch(self, place: int) -> Any:
        return self._draw(np.random.default_rng([self._seed, 3, place]))


class _Shuffled(Batches):
    """Rows of arrays, without replacement, in another order each epoch."""

    def __init__(self, arrays: Any, size: int, seed: int, taken: int) -> None:
        super().__init__(taken)
        self._arrays, self._size, self._seed = arrays, size, seed
        self._rows = _rows(arrays)
        self._epoch, self._order = -1, np.empty(0, np.int64)

    def _batch(self, place: int) -> Any:
        epoch, part = divmod(place, -(-self._rows // self._size))
        if epoch != self._epoch:
            self._order = np.random.default_rng([self._seed, 4, epoch]).permutation(self._rows)
            self._epoch = epoch
        chosen = self._order[part * self._size : (part + 1) * self._size]
        if isinstance(self._arrays, dict):
            return {name: array[chosen] for name, array in self._arrays.items()}
        if isinstance(self._arrays, (list, tuple)):
            return tuple(array[chosen] for array in self._arrays)
        return self._arrays[chosen]


class _Iterated(Batches):
    """An iterable; one that can begin again does so, and an iterator goes on where it is."""

    def __init__(self, batches: Any, taken: int) -> None:
        super().__init__(taken)
        self._batches = batches
        self._iterator: Iterator[Any] = iter(batches)
        self._once = self._iterator is batches
        self._skip = 0 if self._once else taken
        self._fresh = True

    def _batch(self, place: int) -> Any:
        while self._skip:
            self._advance(place)
            self._skip -= 1
        return self._advance(place)

    def _advance(self, place: int) -> Any:
        while True:
            try:
                batch = next(self._iterator)
            except StopIteration:
                if self._fresh and not (self._once and place):
                    raise ValueError("batches has no batch: the iterable was empty") from None
                if self._once:
                    raise
                self._iterator, self._fresh = iter(self._batches), True
                continue
            self._fresh = False
            return batch


def batches_of(batches: Any, size: int | None, seed: int, taken: int) -> Batches | None:
    """The batches that `minimize` was given, from place `taken` on; None for none.

    Raises:
        TypeError: they are nothing of the kind.
        ValueError: a batch size is missing, or does not fit.
    """
    if size is not None:
        if batches is None:
            raise ValueError("batch_size says how many rows of batches= to take, and there is no batches=")
        return _Shuffled(*_checked(batches, size), seed, taken)
    if batches is None:
        return None
    if callable(batches):
        return _Drawn(batches, seed, taken)
    if isinstance(batches, np.ndarray):
        raise ValueError("batches is an array: say how many of its rows make a batch, as in batch_size=32")
    if not hasattr(batches, "__iter__"):
        raise TypeError(
            f"batches must be an iterable, a function of a generator, or arrays with batch_size=, "
            f"got {type(batches).__name__}"
        )
    return _Iterated(batches, taken)


def _checked(batches: Any, size: int) -> tuple[Any, int]:
    if isinstance(batches, dict):
        arrays: Any = {name: np.asarray(array) for name, array in batches.items()}
    elif isinstance(batches, (list, tuple)):
        arrays = tuple(np.asarray(array) for array in batches)
    elif hasattr(batches, "__len__"):
        arrays = np.asarray(batches)
    else:
        raise TypeError(f"batch_size goes with arrays, and batches is {type(batches).__name__}")
    rows = _rows(arrays)
    if rows == 0:
        raise ValueError("batches has no batch: the arrays have no rows")
    if isinstance(size, bool) or not isinstance(size, (int, np.integer)) or not 1 <= size <= rows:
        raise ValueError(f"batch_size must be from 1 to the {rows} rows of the arrays, got {size!r}")
    return arrays, int(size)


def _rows(arrays: Any) -> int:
    leaves = list(arrays.values()) if isinstance(arrays, dict) else arrays
    leaves = leaves if isinstance(leaves, (list, tuple)) else [leaves]
    rows = {len(array) if array.ndim else 0 for array in leaves}
    if len(rows) > 1:
        raise ValueError(f"batches must be arrays of as many rows each, got {sorted(rows)}")
    return rows.pop() if rows else 0
