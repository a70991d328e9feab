"""The subspace in which `sfo` stores everything (Sohl-Dickstein, Poole & Ganguli 2014, section 3.2)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ._bfgs import Vector

__all__ = ["Subspace"]

CHUNK = 2**14  # dimensions of x projected at once, for the memory


class Subspace:
    """An orthonormal basis P, its vectors rows; a vector's coordinates are float64, zero beyond `size`.

    Args:
        dimension: the dimension of the whole space.
        most: the largest number of vectors; the memory of unused ones is not touched.
        dtype: the type of the vectors.
    """

    def __init__(self, dimension: int, most: int, dtype: np.dtype[np.floating]) -> None:
        self.rows = np.zeros((most, dimension), dtype)
        self.size = 0
        self.largest = 0

    @property
    def nbytes(self) -> int:
        """The bytes of the vectors that were ever in use."""
        return self.rows[: self.largest].nbytes

    def vector(self, coordinates: Vector) -> NDArray[np.floating]:
        """Return the vector with these coordinates."""
        basis = self.rows[: self.size]
        product: NDArray[np.floating] = coordinates[: self.size].astype(basis.dtype) @ basis
        return product

    def add(self, vector: NDArray[np.floating]) -> Vector:
        """Extend the basis by the direction it lacks for this vector, and return its coordinates (3.2.1)."""
        rest, found = vector.copy(), np.zeros(len(self.rows))
        basis = self.rows[: self.size]
        whole = before = float(np.linalg.norm(rest))
        for _ in range(2):  # a second pass removes the rounding error in the directions of the basis
            part = basis @ rest
            rest -= part @ basis
            found[: self.size] += part
            left = float(np.linalg.norm(rest))
            if left > before / 2:
                break
            before = left
        if self.size < len(self.rows) and left > 100 * np.finfo(rest.dtype).eps * whole:
            self.rows[self.size] = rest / left
            found[self.size] = left
            self.size += 1
            self.largest = max(self.largest, self.size)
        return found

    def collapse(self, kept: Vector) -> None:
        """Reduce the basis to the directions `kept`, orthonormal columns of coordinates (size, fewer)."""
        fewer = kept.shape[1]
        turn = kept.T.astype(self.rows.dtype)
        for start in range(0, self.rows.shape[1], CHUNK):
            columns = slice(start, start + CHUNK)
            self.rows[:fewer, columns] = turn @ self.rows[: self.size, columns]
        self.size = fewer
