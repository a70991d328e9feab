"""The global norm of gradients that are gone before it is known: what `clip="running"` clips by."""

from __future__ import annotations

import math
from typing import Any

from .keywords import StepOptions
from .options import StepInfo

__all__ = ["RunningNorm"]

# The key in the first parameter group of the running mean of squared norms, and of the sum of its weights.
_KEY = "running_clip"
# The weight of the past in that mean.
_DECAY = 0.9
# A norm joins the mean as at most so many times its root: one spike would hold the next steps down.
_MOST = 2.0


class RunningNorm:
    """The larger of two norms: the root mean square of those of past steps, and that of this one so far.

    The first is what a step usually has; the second is there from the first step on, and bounds a gradient
    that is suddenly larger than all before.
    """

    def __init__(self, options: StepOptions) -> None:
        self._options = options

    def begin(self, group: dict[str, Any]) -> None:
        """Begin a step, from the mean that a parameter group keeps."""
        self._mean, self._weight = group.get(_KEY, (0.0, 0.0))
        self._past = math.sqrt(self._mean / self._weight) if self._weight else 0.0
        self._sofar, self._smallest = 0.0, 1.0

    def factor(self, norm: float) -> float:
        """The factor that clips the next gradient of the step, which has this norm."""
        self._sofar = math.hypot(self._sofar, norm)
        # In this order a NaN stays one, as in exact clipping.
        factor = self._options.clip_factor(self._past if self._past > self._sofar else self._sofar)
        self._smallest = min(factor, self._smallest)
        return factor

    def end(self, group: dict[str, Any]) -> StepInfo:
        """End the step. Its norm joins the mean if it is finite: another would stay there for ever."""
        norm = min(self._sofar, _MOST * self._past) if self._past else self._sofar
        square = norm * norm
        if 0 < self._sofar < math.inf and square < math.inf:
            mean = _DECAY * self._mean + (1 - _DECAY) * square
            group[_KEY] = (mean, _DECAY * self._weight + (1 - _DECAY))
        return StepInfo(self._sofar, self._smallest, False)
