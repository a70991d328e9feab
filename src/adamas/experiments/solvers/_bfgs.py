"""A quadratic approximation of a subfunction by BFGS, for `sfo`.

The symbols are those of Sohl-Dickstein, Poole & Ganguli 2014, section 3.3.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import orth

__all__ = ["Quadratic", "Vector", "bfgs", "hessian"]

Vector = NDArray[np.float64]
GAMMA = 1e-8  # smallest eigenvalue of a Hessian, as a share of the largest (section 3.3.4)
PARALLEL = 1e-12  # two directions whose cosine is smaller are orthogonal, but for rounding
KEPT = 0.7  # a pair of the history that keeps less of its length in a collapse is dropped


@dataclass
class Quadratic:
    """The approximation g_i of a subfunction about the x where it was evaluated; all in coordinates.

    Args:
        value, position, gradient: f_i, x and f_i' there.
        beta, directions, beyond: the Hessian βI + U diag(beyond) Uᵀ, U (coordinates, rank).
        moves, changes: Δx and Δf' between evaluations, oldest first, (history, coordinates).
        evaluations: the number of evaluations.
    """

    value: float
    position: Vector
    gradient: Vector
    beta: float
    directions: Vector
    beyond: Vector
    moves: Vector
    changes: Vector
    evaluations: int = 1

    @property
    def nbytes(self) -> int:
        """The bytes of its arrays."""
        return sum(each.nbytes for each in vars(self).values() if isinstance(each, np.ndarray))

    def hessian_times(self, vector: Vector) -> Vector:
        """Return H_i times a vector."""
        product: Vector = self.beta * vector + self.directions @ (self.beyond * (self.directions.T @ vector))
        return product

    def at(self, position: Vector) -> float:
        """Return g_i(x)."""
        move = position - self.position
        return self.value + float(move @ (self.gradient + self.hessian_times(move) / 2))

    def rises_too_far(self, value: float, position: Vector, fall: float) -> bool:
        """Return whether the subfunction's value at x makes the step to it a bad one (section 3.5).

        It does where the subfunction rose, and exceeds g_i by more than all others together are predicted to
        fall. (That g_i's own fall does not count is from the authors' implementation.)

        Args:
            value: f_i(x).
            position: x, in coordinates.
            fall: by how much the sum is predicted to fall, ½ ΔᵀHΔ.
        """
        expected = self.at(position)
        return value > self.value and value - expected > fall - (self.value - expected)

    def remember(self, move: Vector, change: Vector, history: int) -> None:
        """Add a pair to the history, keep the last `history` pairs, and compute the Hessian from them.

        A pair without curvature along Δx is not added.
        """
        if orthogonal(move, change):
            return
        self.moves = np.vstack([self.moves, move])[-history:]
        self.changes = np.vstack([self.changes, change])[-history:]
        found = hessian(self.moves, self.changes)
        if found is not None:
            self.beta, self.directions, self.beyond = found

    def turn(self, kept: Vector) -> None:
        """Project on the columns of `kept`, after a collapse of the subspace.

        Ours: a pair of the history that loses too much of its length is dropped, because the rest of it no
            longer obeys the secant equation.
        """
        size, fewer = kept.shape
        before = _lengths(self.moves), _lengths(self.changes)
        for name in ("position", "gradient", "moves", "changes"):
            old = getattr(self, name)
            new = np.zeros_like(old)
            new[..., :fewer] = old[..., :size] @ kept
            setattr(self, name, new)
        whole = (_lengths(self.moves) >= KEPT * before[0]) & (_lengths(self.changes) >= KEPT * before[1])
        self.moves, self.changes = self.moves[whole], self.changes[whole]
        turned = np.zeros_like(self.directions)
        turned[:fewer] = kept.T @ self.directions[:size]
        self.directions = turned


def _lengths(vectors: Vector) -> Vector:
    lengths: Vector = np.linalg.norm(vectors, axis=1)
    return lengths


def hessian(moves: Vector, changes: Vector) -> tuple[float, Vector, Vector] | None:
    """Run BFGS on a history of Δx and Δf', (pairs, coordinates); see `Quadratic`. None if uninformative."""
    left, sizes, _ = np.linalg.svd(moves, full_matrices=False)
    good = sizes > 1e-8 * sizes[0]
    # The squared secant equation Δf'ᵀΔf' = ΔxᵀH²Δx, on the span of Δx, gives the eigenvalues of H².
    curvatures = np.linalg.svd((left[:, good] / sizes[good]).T @ changes, compute_uv=False)
    span = orth(np.vstack([moves, changes]).T)
    if curvatures.size == 0 or curvatures[0] == 0:
        return None
    beta = max(float(curvatures[-1]), GAMMA * float(curvatures[0]))
    eigenvalues, vectors = np.linalg.eigh(bfgs(beta, moves @ span, changes @ span))
    sound = eigenvalues > GAMMA * np.abs(eigenvalues).max()
    # Where no curvature is positive, the steepest change of the gradient is the cautious guess.
    eigenvalues[~sound] = np.median(eigenvalues[sound]) if sound.any() else curvatures[0]
    return beta, span @ vectors, eigenvalues - beta


def bfgs(beta: float, moves: Vector, changes: Vector) -> Vector:
    """Return the Hessian after the pairs in turn (section 3.3.2), from βI; not always positive definite.

    A pair counts whatever the sign of its curvature, and of that which the pairs before it give its Δx: what
    becomes negative is mended once, after the last pair.
    """
    found = beta * np.eye(moves.shape[1])
    for move, change in zip(moves, changes, strict=True):
        product = found @ move
        # Without curvature along the move, known or measured, the update would divide by 0.
        if not (orthogonal(move, product) or orthogonal(move, change)):
            found += np.outer(change, change) / (move @ change) - np.outer(product, product) / (
                move @ product
            )
    return found


def orthogonal(one: Vector, other: Vector) -> bool:
    """Return whether the vectors are orthogonal but for rounding; a zero is, to every vector."""
    return bool(abs(one @ other) <= PARALLEL * np.linalg.norm(one) * np.linalg.norm(other))
