"""The losses of Adam at all settings of a grid, with bias correction and without it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..bootstrap import Estimate, estimate
from ..records import Record

Array = NDArray[np.float64]


def at_epoch(record: Record | None, epoch: int, measure: str) -> tuple[float, float]:
    """Return a loss after an epoch and before the first step: NaN without record, infinite after failure."""
    if record is None:
        return math.nan, math.nan
    start = record["epochs"][0][measure]
    ended = epoch >= len(record["epochs"])
    loss = None if ended else record["epochs"][epoch][measure]
    return (math.inf if loss is None or loss >= start else loss), start


@dataclass(frozen=True, eq=False)
class Losses:
    """The losses at all settings: arrays (..., β1, β2, α, without and with correction, seeds).

    Args:
        loss: the loss after an epoch; infinite where the run failed, NaN where there is no record.
        start: the loss before the first step.
    """

    loss: Array
    start: Array

    @property
    def judged(self) -> NDArray[np.bool_]:
        """The settings at which any run succeeded, (..., β1, β2, α): two failures cannot be compared."""
        return np.asarray(np.isfinite(self.loss).any(axis=(-2, -1)))

    @property
    def complete(self) -> bool:
        """Whether every run has its record."""
        return not np.isnan(self.loss).any()

    def gaps(self) -> Array:
        """Return the relative gap of the loss without correction above that with it, (..., β1, β2, α).

        A failed run counts as one that stayed at its start: so the gap from failure to success is finite,
        and the gap between two failures is 0.
        """
        without, corrected = self._capped()
        gaps: Array = without / corrected - 1
        return gaps

    def harm(self) -> Array:
        """Return the share of the fall in loss with correction that is lost without it, (..., β1, β2).

        It is a mean over α in which gains count as 0: a gain at one α does not make up for harm at another. A
        failed run counts as one that stayed at its start, so that the share means the same at all epochs.
        """
        without, corrected = self._capped()
        fall = self.start.mean(axis=-1)[..., 1] - corrected
        lost = np.maximum(without - corrected, 0)
        harm: Array = np.divide(lost, fall, out=np.zeros_like(lost), where=fall > 0).mean(axis=-1)
        return harm

    def where_all_succeeded(self) -> Losses:
        """Return the losses without numbers at the settings where any seed failed."""
        failed = np.isinf(self.loss).any(axis=-1, keepdims=True)
        return Losses(np.where(failed, math.inf, self.loss), self.start)

    def _capped(self) -> tuple[Array, Array]:
        capped = np.minimum(self.loss, self.start).mean(axis=-1)
        return capped[..., 0], capped[..., 1]


def estimates(
    measure: Callable[[Sequence[Losses]], Array], losses: Sequence[Losses], ratio: bool = False
) -> list[Estimate]:
    """Estimate measures of losses, (resamples, values), over their seeds, which settings and epochs share."""
    sample = np.moveaxis(np.array([[each.loss, each.start] for each in losses]), -1, 0)

    def measured(drawn: Array) -> Array:
        by_loss = np.moveaxis(drawn, 1, -1)
        return measure([Losses(by_loss[:, k, 0], by_loss[:, k, 1]) for k in range(len(losses))])

    return estimate(measured, sample, ratio=ratio)
