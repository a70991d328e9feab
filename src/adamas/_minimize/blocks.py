"""What is remembered of a run: means over at most 64 blocks of iterations, whatever its length."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .trees import Array

__all__ = ["Blocks", "Window"]

# Iterations of the first blocks; when there are `MOST`, pairs become one, and blocks twice as long.
FIRST = 16
MOST = 64
# Gradients that are kept before they are summed: as many as fit a cache.
_KEPT = 1 << 16
# Sums of gradients are kept whole up to this many elements, and as so many signed sums of them above.
_SKETCH = 256


class Window(NamedTuple):
    """The last blocks, a row each.

    Attributes:
        values: mean value of the objective.
        gradients: sum of the gradients, or signed sums of some elements of them.
        squares: the sum of their squares over the window.
    """

    values: Array
    gradients: Array
    squares: Array


class Blocks:
    """Sums over blocks of values, gradients and, where asked for, iterates.

    `rows[k]` takes the gradient of the iteration; `k` is `place`. `add` then counts it.
    """

    def __init__(self, size: int, dtype: np.dtype[Any], iterates: bool) -> None:
        rows = 1
        while rows < FIRST and 2 * rows * size <= _KEPT:
            rows *= 2
        self._kept = np.zeros((rows, size), dtype)
        self.rows = list(self._kept)
        self.place = 0
        self._values: list[float] = []
        self.length = FIRST
        self._sketch = None if size <= _SKETCH else _signs(size)
        width = min(size, _SKETCH)
        self._sum, self._square = np.zeros(width), np.zeros(width)
        self._iterate = np.zeros(size) if iterates else None
        self._done: list[tuple[float, Array, Array, Array | None]] = []

    def add(self, value: float, x: Array) -> bool:
        """Count the value, the gradient in `rows[place]`, and x after it; say whether a block ended."""
        self._values.append(value)
        if self._iterate is not None:
            np.add(self._iterate, x, out=self._iterate)
        self.place += 1
        if self.place < len(self.rows):
            return False
        self._reduce()
        if len(self._values) < self.length:
            return False
        self._close()
        return True

    def window(self, share: float) -> Window | None:
        """The blocks of the last `share` of the run, at least 4; None while there are fewer than 8 in all."""
        if len(self._done) < 8:
            return None
        last = self._done[-max(4, round(share * len(self._done))) :]
        values, gradients, squares, _ = zip(*last, strict=True)
        return Window(np.array(values) / self.length, np.stack(gradients), np.sum(squares, axis=0))

    def values(self) -> Array:
        """The means of the objective over the blocks of the last half of the run."""
        return np.array([value for value, *_ in self._last_half()]) / self.length

    def iterates(self) -> Array | None:
        """The means of x over these; None where they are not kept. Before the first block, that of all."""
        if self._iterate is None:
            return None
        if not self._done:
            return self._iterate[None] / max(1, len(self._values))
        return np.stack([x for *_, x in self._last_half() if x is not None]) / self.length

    def _last_half(self) -> list[tuple[float, Array, Array, Array | None]]:
        return self._done[len(self._done) // 2 :]

    def _reduce(self) -> None:
        """Add the gradients kept to the sums, in float64."""
        kept = self._kept.astype(np.float64, copy=False)
        total, square = np.add.reduce(kept, axis=0), np.einsum("ij,ij->j", kept, kept)
        if self._sketch is not None:
            signs, buckets = self._sketch
            total = np.bincount(buckets, signs * total, _SKETCH)
            square = np.bincount(buckets, square, _SKETCH)
        self._sum += total
        self._square += square
        self.place = 0

    def _close(self) -> None:
        self._done.append((sum(self._values), self._sum.copy(), self._square.copy(), _copy(self._iterate)))
        self._values.clear()
        for array in (self._sum, self._square, self._iterate):
            if array is not None:
                array.fill(0)
        if len(self._done) == MOST:
            pairs = zip(self._done[::2], self._done[1::2], strict=True)
            self._done = [tuple(_plus(a, b) for a, b in zip(*pair, strict=True)) for pair in pairs]
            self.length *= 2

    def state(self) -> dict[str, Any]:
        """All of it, as plain values and copies of arrays."""
        return {
            "kept": self._kept.copy(),
            "place": self.place,
            "values": list(self._values),
            "length": self.length,
            "sums": [_copy(a) for a in (self._sum, self._square, self._iterate)],
            "done": list(self._done),
        }

    def load(self, state: dict[str, Any]) -> None:
        """Go on from what `state` returned."""
        self._kept[...] = state["kept"]
        self.place, self._values, self.length = state["place"], list(state["values"]), state["length"]
        for own, saved in zip((self._sum, self._square, self._iterate), state["sums"], strict=True):
            if own is not None:
                own[...] = saved
        self._done = list(state["done"])


def _copy(array: Array | None) -> Array | None:
    return None if array is None else array.copy()


def _plus(a: Any, b: Any) -> Any:
    return None if a is None else a + b


def _signs(size: int) -> tuple[Array, Array]:
    """A sign and a bucket for each element: sums of buckets keep, on average, inner products."""
    random = np.random.default_rng(size)
    return random.choice([-1.0, 1.0], size), random.integers(0, _SKETCH, size)
