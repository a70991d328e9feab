"""The Sum-of-Functions Optimizer (Sohl-Dickstein, Poole & Ganguli 2014), section 3, with its symbols.

It minimizes F(x) = Σ f_i(x), evaluating one f_j a step. Each f_i has its own quadratic approximation, from
its own gradients; x goes to the minimum of their sum. Everything is stored in a shared subspace of few
dimensions.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve, orth, solve_triangular

from ._bfgs import Quadratic, Vector
from ._subspace import Subspace

__all__ = ["SFO", "Evaluate"]

Evaluate = Callable[[NDArray[np.floating], int], tuple[float, NDArray[np.floating]]]
"""Maps x and a subfunction's number to its value and gradient there, of the shape and type of x."""


class SFO:
    """The optimizer. Two choices are those of the authors' implementation, which the paper lacks:

    - which subfunction is evaluated next (see `_choose`);
    - what a bad step is (see `Quadratic.rises_too_far`).

    These are ours:

    - the very first curvature is the one that makes the first step `first` long (theirs is 1e5);
    - a subfunction is evaluated for the first time at the current x, without a step, because nothing is known
      yet by which to recognize a bad step;
    - after a bad step, its subfunction is evaluated at the x before; if it is higher there, the step stands;
    - a collapse of the subspace drops what it spoils (see `Quadratic.turn`).

    Args:
        evaluate: the subfunctions.
        start: x at the start, (dimension,), float32 or float64.
        subfunctions: N, their number.
        history: L, the number of pairs stored for each.
        active: the number of subfunctions in use at the start.
        first: the length of the first step, relative to the larger of 1 and |x|.
        curvature: the very first curvature, in place of the one that `first` gives; 0 for that one.
        seed: decides the tosses of a coin by which subfunctions are chosen.
    """

    def __init__(
        self,
        evaluate: Evaluate,
        start: NDArray[np.floating],
        subfunctions: int,
        history: int = 10,
        active: int = 2,
        first: float = 1e-3,
        curvature: float = 0.0,
        seed: int = 0,
    ) -> None:
        # K_max; K_min is 2 N and one for x. A basis of the whole space is never collapsed.
        most = min(max(3 * subfunctions, 2 * subfunctions + 2), len(start))
        self._coin, self._curvature = np.random.default_rng(seed), curvature
        self._evaluate, self._start, self._history = evaluate, start, history
        self._first = first * max(1.0, float(np.linalg.norm(start)))
        self._space = Subspace(len(start), most, start.dtype)
        self._pieces: list[Quadratic | None] = [None] * subfunctions
        self._active = min(active, subfunctions)
        self._steps = 0  # evaluations so far
        self._since = 0  # evaluations since the active ones became more
        self._step_length = 1.0  # η
        self._suspect: int | None = None  # the subfunction whose last evaluation took a step back
        self._position = np.zeros(most)  # x, from the start
        self._hessian = np.zeros((most, most))  # H, the sum of all H_i
        self._linear = np.zeros(most)  # Σ (f_i' - H_i x_i), so that G'(x) = this + H x
        self.x = start.copy()

    @property
    def active(self) -> int:
        """The number of subfunctions in use, which are the first ones."""
        return self._active

    @property
    def nbytes(self) -> int:
        """The bytes of the state between steps."""
        pieces = sum(piece.nbytes for piece in self._known)
        return self._space.nbytes + pieces + self._hessian.nbytes + self._linear.nbytes + self.x.nbytes

    @property
    def _known(self) -> list[Quadratic]:
        return [piece for piece in self._pieces if piece is not None]

    def step(self) -> int:
        """Evaluate one subfunction and move `x`; return its number.

        Raises:
            FloatingPointError: a subfunction is not finite where others were, or the Hessian is no longer
                positive definite.
        """
        if self._space.size == len(self._space.rows) < len(self._start):
            self._collapse()
        elif self._steps % len(self._pieces) == 0:
            self._sum()
        self._steps += 1
        target = self._doubtful()
        if target is None:
            target = self._advance()
        else:
            self._stay(target)
        self._since += 1
        if self._active < len(self._pieces) and self._wants_more():
            self._active, self._since = self._active + 1, 0
        return target

    def _doubtful(self) -> int | None:
        """Return the subfunction to evaluate at the current x, without a step; None for an ordinary step."""
        target, self._suspect = self._suspect, None
        fresh = (index for index in range(self._active) if self._pieces[index] is None)
        return target if target is not None else next(fresh, None)

    def _stay(self, target: int) -> None:
        value, raw = self._evaluate(self.x, target)
        if not (np.isfinite(value) and np.isfinite(raw).all()):
            raise FloatingPointError(f"subfunction {target} is {value} where x already was")
        piece = self._pieces[target]
        if piece is not None:
            there, position = piece.value, piece.position
            self._learn(piece, value, raw, self._position)
            if value > there:  # the step that was taken back was an improvement
                self._position, self.x = position, self._start + self._space.vector(position)
            return
        gradient = self._expand(raw)
        none, room = np.zeros((0, len(gradient))), np.zeros((len(gradient), 0))
        first = self._curvature or float(np.linalg.norm(gradient)) / self._first or 1.0
        beta = self._typical_curvature() or first
        piece = Quadratic(value, self._position, gradient, beta, room, np.zeros(0), none, none)
        self._pieces[target] = piece
        self._count(piece, 1)

    def _learn(self, piece: Quadratic, value: float, raw: NDArray[np.floating], position: Vector) -> None:
        """Move a piece to a new evaluation and update its Hessian."""
        gradient = self._expand(raw)
        self._count(piece, -1)
        piece.remember(position - piece.position, gradient - piece.gradient, self._history)
        piece.value, piece.position, piece.gradient = value, position, gradient
        piece.evaluations += 1
        self._count(piece, 1)

    def _typical_curvature(self) -> float:
        """Return the median eigenvalue of the average Hessian (3.3.3), 0 where there is none yet."""
        size, known = self._space.size, len(self._known)
        if known == 0:
            return 0.0
        return float(np.median(np.linalg.eigvalsh(self._hessian[:size, :size]))) / known

    def _advance(self) -> int:
        slope = self._linear + self._hessian @ self._position
        size = self._space.size
        move = np.zeros_like(slope)
        move[:size] = -self._step_length * cho_solve(self._factor(), slope[:size])
        position = self._position + move
        x = self._start + self._space.vector(position)
        target, piece = self._choose(position)
        value, raw = self._evaluate(x, target)
        finite = bool(np.isfinite(value) and np.isfinite(raw).all())
        fall = float(move @ (self._hessian @ move)) / 2
        rounding = 4 * np.finfo(raw.dtype).eps * abs(value)
        bad = not finite or piece.rises_too_far(float(value - rounding), position, fall)
        if finite:
            self._learn(piece, value, raw, position)
        if bad:
            self._step_length /= 2
            # Its curvature along the step becomes known by an evaluation at the x before.
            self._suspect = target if finite else None
        else:
            self._position, self.x = position, x
            self._step_length += (1 - self._step_length) / self._active
        return target

    def _choose(self, position: Vector) -> tuple[int, Quadratic]:
        """Return a piece evaluated only once, else the one evaluated farthest away.

        A coin decides whether distances are in the metric H (section 3.4) or, for each piece, in its own H_i.
        """
        known = [(index, piece) for index, piece in enumerate(self._pieces) if piece is not None]
        once = [each for each in known if each[1].evaluations == 1]
        if once:
            return once[0]
        size = self._space.size
        away = np.array([(position - piece.position)[:size] for _, piece in known])
        if self._coin.random() < 0.5:
            curved = away @ self._hessian[:size, :size]
        else:
            curved = np.array([piece.hessian_times(position - piece.position)[:size] for _, piece in known])
        return known[int(np.argmax((curved * away).sum(axis=1)))]

    def _wants_more(self) -> bool:
        """Return whether to activate another subfunction (3.4.1).

        That is when the mean gradient is within its standard error, in the metric of H's inverse, or when a
        pass over the active subfunctions has ended.
        """
        pieces, size = self._known, self._space.size
        if self._since >= self._active or len(pieces) < max(2, self._active):
            return self._since >= self._active
        gradients = np.array([piece.gradient[:size] for piece in pieces]).T
        whitened = solve_triangular(self._factor()[0], gradients, lower=True)
        count = len(pieces)
        return bool((whitened.mean(axis=1) ** 2).sum() < (whitened**2).sum() / (count * (count - 1)))

    def _factor(self) -> tuple[Vector, bool]:
        size = self._space.size
        try:
            factor: tuple[Vector, bool] = cho_factor(self._hessian[:size, :size], lower=True)
        except (np.linalg.LinAlgError, ValueError) as error:
            raise FloatingPointError(f"the Hessian is not positive definite any more: {error}") from error
        return factor

    def _expand(self, raw: NDArray[np.floating]) -> Vector:
        before = self._space.size
        coordinates = self._space.add(raw)
        if self._space.size > before:
            self._hessian[before, before] = sum(piece.beta for piece in self._known)
        return coordinates

    def _count(self, piece: Quadratic, sign: int) -> None:
        """Add a piece's part to the sums, or subtract it."""
        size = self._space.size
        directions = piece.directions[:size]
        self._hessian[:size, :size] += sign * (directions * piece.beyond) @ directions.T
        self._hessian.flat[: size * len(self._hessian) : len(self._hessian) + 1] += sign * piece.beta
        self._linear += sign * (piece.gradient - piece.hessian_times(piece.position))

    def _collapse(self) -> None:
        """Restrict the subspace to the latest gradients and positions, and x (section 3.2.2)."""
        size, known = self._space.size, self._known
        kept = orth(
            np.array([self._position, *(p.gradient for p in known), *(p.position for p in known)])[:, :size].T
        )
        self._space.collapse(kept)
        turned = np.zeros_like(self._position)
        turned[: kept.shape[1]] = kept.T @ self._position[:size]
        self._position = turned
        for piece in known:
            piece.turn(kept)
        self._sum()

    def _sum(self) -> None:
        """Sum all pieces anew, without the rounding errors that subtracted ones have left in the sums.

        That of an H_i of 1e13, which a tiny step with noise in Δf' makes, is as large as another H_i.
        """
        self._hessian[:], self._linear[:] = 0, 0
        for piece in self._known:
            self._count(piece, 1)
