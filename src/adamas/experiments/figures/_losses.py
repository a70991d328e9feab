"""Losses of Adam at all settings of a grid, with bias correction and without it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..store import Record

Array = NDArray[np.float64]


def at_epoch(record: Record | None, epoch: int, measure: str) -> tuple[float, float]:
    """A loss after an epoch, and before the first step: NaN without a record, infinite where a run failed."""
    if record is None:
        return math.nan, math.nan
    start = record["epochs"][0][measure]
    ended = epoch >= len(record["epochs"])
    loss = None if ended else record["epochs"][epoch][measure]
    return (math.inf if loss is None or loss >= start else loss), start


@dataclass(frozen=True, eq=False)
class Losses:
    """Of all settings: arrays (β1, β2, α, without and with correction, seeds).

    Args:
        loss: after an epoch; infinite where the run failed, NaN where there is no record.
        start: before the first step.
    """

    loss: Array
    start: Array

    @property
    def judged(self) -> NDArray[np.bool_]:
        """At which settings any run succeeded, (β1, β2, α): two failures are not as good as one another."""
        return np.asarray(np.isfinite(self.loss).any(axis=(-2, -1)))

    @property
    def complete(self) -> bool:
        """Whether all have their record."""
        return not np.isnan(self.loss).any()

    def gaps(self) -> Array:
        """By how much the loss without correction is above that with it, (β1, β2, α), relative.

        A failed run counts as one that stayed at its start: so the gap of failure from success is finite,
        and that of failure from failure is none.
        """
        without, corrected = self._capped()
        gaps: Array = without / corrected - 1
        return gaps

    def harm(self) -> Array:
        """Of the fall from the start that is reached with correction, the share lost without, (β1, β2).

        The mean over α, where no loss is as good as a gain: a gain at one α mends no harm at another. A
        failed run counts as one that stayed at its start, so that the share says the same at all epochs.
        """
        without, corrected = self._capped()
        fall = self.start[..., 0].mean(axis=-1) - corrected
        lost = np.maximum(without - corrected, 0)
        harm: Array = np.divide(lost, fall, out=np.zeros_like(lost), where=fall > 0).mean(axis=-1)
        return harm

    def _capped(self) -> tuple[Array, Array]:
        capped = np.minimum(self.loss, self.start).mean(axis=-1)
        return capped[..., 0], capped[..., 1]
