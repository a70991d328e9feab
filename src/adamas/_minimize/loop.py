"""The iteration: evaluate, judge, step; whole or not at all, so that it can go on from anywhere."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .._tools.interrupts import Interrupts
from .batches import Batches
from .blocks import Blocks
from .gradients import Source
from .progress import Progress
from .stepper import Stepper
from .stopping import Judge
from .trees import Array

__all__ = ["CONVERGED", "Ending", "Run"]

CONVERGED, LIMIT, EXHAUSTED, INTERRUPTED, CALLBACK = 0, 1, 2, 3, 99


class Ending(NamedTuple):
    """Why a run ended: `status` and `message` of its result."""

    status: int
    message: str


class Run:
    """A run after `t` steps; `pending` says that the next value and gradient are there already."""

    def __init__(
        self,
        *,
        stepper: Stepper,
        source: Source,
        blocks: Blocks,
        judge: Judge,
        batches: Batches | None,
        args: tuple[Any, ...],
        schedule: Callable[[int], float] | None,
        box: tuple[Array, Array] | None,
        whole: Array | None,
        callback: Callable[[Run], bool] | None,
        progress: Progress | None,
        maxiter: int,
    ) -> None:
        self.stepper, self.source, self.blocks, self.judge, self.batches = (
            stepper,
            source,
            blocks,
            judge,
            batches,
        )
        self._args, self._schedule, self._box, self._callback = args, schedule, box, callback
        self._progress, self._maxiter = progress, maxiter
        # With bounds, the blocks take the projected gradient and the rule the whole one.
        self._whole = whole
        self._interrupts = Interrupts()
        self.t, self.value, self.pending = 0, math.nan, False
        self._batch: list[Any] = []  # one that is drawn and not used
        self._block_ended = False

    def run(self) -> Ending:
        """Iterate to an end; what `fun`, `jac`, `batches`, `schedule` and `callback` raise goes through."""
        progress, callback = self._progress, self._callback
        with self._interrupts:
            while True:
                ending = None if self.pending else self._evaluate()
                if ending is None and self.t >= self._maxiter:
                    ending = Ending(LIMIT, f"maxiter reached: {self._maxiter} iterations")
                if ending is not None:
                    return ending
                self._step()
                if progress is not None:
                    progress.show(self.t, self.value)
                if callback is not None and callback(self):
                    return Ending(CALLBACK, "the callback asked to stop")

    def gradient(self) -> Array | None:
        """The gradient at x, where it was evaluated."""
        if not self.pending:
            return None
        return self.blocks.rows[self.blocks.place] if self._whole is None else self._whole

    def _evaluate(self) -> Ending | None:
        """Evaluate at x, with a new batch, and judge what is found."""
        row = self.blocks.rows[self.blocks.place]
        g = row if self._whole is None else self._whole
        extra = self._args
        if self.batches is not None:
            if not self._batch:
                try:
                    self._batch = [self.batches.next()]
                except StopIteration:
                    return Ending(EXHAUSTED, f"batches ran out after {self.t} iterations")
            extra = (self._batch[0], *extra)
        value = self.source(self.stepper.x, extra, self.t + 1, g)
        # The sum of squares tells quickly; it may overflow though nothing is infinite.
        squares = float(g.dot(g))
        if value - value != 0 or (squares - squares != 0 and not np.isfinite(g).all()):
            raise FloatingPointError(_not_finite(value, g, self.t))
        self.value, self.pending = value, True
        self._batch.clear()
        if self._box is not None:
            low, high = self._box
            x = self.stepper.x
            outward = ((x <= low) & (g > 0)) | ((x >= high) & (g < 0))
            np.copyto(row, np.where(outward, 0, g))
            squares = float(row.dot(row))
        return self._judge(row, squares)

    def _judge(self, g: Array, squares: float) -> Ending | None:
        if self.judge.small_gradient(g, squares):
            largest = float(np.abs(g).max())
            return Ending(CONVERGED, f"converged: no element of the gradient is above {largest:.3g}")
        if self._block_ended:
            self._block_ended = False
            found = self.judge.stationary(self.t, self.blocks)
            if found is not None:
                return Ending(
                    CONVERGED,
                    f"converged as far as this step size goes: the gradient has no direction (signal "
                    f"{found.signal:.2g}) and fun no downward trend ({found.trend:.1f} standard errors)",
                )
        return None

    def _step(self) -> None:
        """Step, whole or not at all."""
        factor = 1.0 if self._schedule is None else float(self._schedule(self.t))
        blocks, interrupts = self.blocks, self._interrupts
        interrupts.stepping = True
        try:
            self.stepper.step(self.t + 1, blocks.place if self._whole is None else 0, factor)
            if blocks.add(self.value, self.stepper.x):
                self._block_ended = True
            self.t += 1
            self.pending = False
        finally:
            interrupts.after_step()

    def state(self) -> dict[str, Any]:
        """All that the run goes on from, in plain values and copies of arrays."""
        return {
            "t": self.t,
            "x": self.stepper.x.copy(),
            "arrays": {name: array.copy() for name, array in self.stepper.arrays.items()},
            "carried": self.stepper.carried,
            "value": self.value,
            "pending": self.pending,
            "whole": None if self._whole is None else self._whole.copy(),
            "batch": list(self._batch),
            "taken": 0 if self.batches is None else self.batches.taken,
            "block_ended": self._block_ended,
            "blocks": self.blocks.state(),
            "judge": self.judge.state(),
            "nfev": self.source.nfev,
            "njev": self.source.njev,
        }

    def load(self, state: Any) -> None:
        """Go on from what `state` returned."""
        self.t, self.value, self.pending = state["t"], state["value"], state["pending"]
        self.stepper.x[...] = state["x"]
        for name, array in self.stepper.arrays.items():
            array[...] = state["arrays"][name]
        self.stepper.carried = state["carried"]
        if self._whole is not None:
            self._whole[...] = state["whole"]
        self._batch, self._block_ended = list(state["batch"]), state["block_ended"]
        self.blocks.load(state["blocks"])
        self.judge.load(state["judge"])
        self.source.nfev, self.source.njev = state["nfev"], state["njev"]


def _not_finite(value: float, g: Array, t: int) -> str:
    if value - value != 0:
        return f"fun returned {value} in iteration {t + 1}; x and the state are those before it"
    place = int(np.flatnonzero(~np.isfinite(g))[0])
    return f"the gradient has {g[place]} at element {place} in iteration {t + 1}; x is that before it"
