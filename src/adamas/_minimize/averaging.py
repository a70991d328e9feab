"""The average of the iterates, and its standard error by batch means."""

from __future__ import annotations

import math

import numpy as np

from .blocks import Blocks
from .trees import Array

__all__ = ["average_of", "value_of"]

# Batches whose means are compared: few, so that each is long beside the memory of the iterates.
BATCHES = 8


def average_of(blocks: Blocks, ema: Array | None, decay: float | None) -> tuple[Array | None, Array | None]:
    """The average and its standard error, NaN where the run is too short to tell; None where none is kept.

    The mean over the last half of the run, in 8 batches, with the standard deviation of the batch means over
    √8. An exponential average of decay β has the long-run variance that these batches show, times
    (1 - β) / (1 + β); that is too large where a batch is short beside the memory of the iterates.
    """
    means = blocks.iterates()
    if means is None:
        return None, None
    count = len(means) // BATCHES * BATCHES
    if not count:
        error = np.full(means.shape[1:], np.nan)
        return (means.mean(axis=0) if ema is None else ema), error
    last = means[-count:]
    batches = last.reshape(BATCHES, count // BATCHES, -1).mean(axis=1)
    deviation = batches.std(axis=0, ddof=1)
    if ema is None or decay is None:
        return last.mean(axis=0), deviation / math.sqrt(BATCHES)
    length = count // BATCHES * blocks.length
    return ema, deviation * math.sqrt(length * (1 - decay) / (1 + decay))


def value_of(values: Array) -> tuple[float, float]:
    """The mean of the objective over the last half of the run, and its standard error, in the same way."""
    count = len(values) // BATCHES * BATCHES
    if not count:
        return (float(values.mean()) if len(values) else math.nan), math.nan
    batches = values[-count:].reshape(BATCHES, -1).mean(axis=1)
    return float(batches.mean()), float(batches.std(ddof=1)) / math.sqrt(BATCHES)
