"""Estimates: values that chance had a part in, each with a 95 % interval by the bootstrap.

The standard error of a measure is its spread over samples drawn from the sample itself, with replacement
(Efron & Tibshirani 1993), times √(n / (n - 1)), because n draws from n values spread too little. The interval
is the value ± t of these, by Student's t. Both matter where n is 3 to 5: plain percentiles stay within the
range of the sample, which misses the mean in a quarter of all samples of three. For a mean, this is Student's
interval itself. A ratio has its interval on the scale of logarithms.

What is stacked in one sample is drawn together. So optimizers that saw the same seeds and mini-batches are
compared in pairs, and what moves all of them alike moves no ratio.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

__all__ = ["Estimate", "caveat", "estimate", "estimate_runs", "mean_of", "ratio_of", "share"]

Array = NDArray[np.float64]
# From samples (resamples, *sample's shape) to values (resamples, values).
Measure = Callable[[Array], Array]

CONFIDENCE = 0.95
RESAMPLES = 1_000  # the standard error is then right to 2 %
AT_ONCE = 50  # resamples in memory
MOST = 700.0  # a logarithm that a float has room for
ROUNDING = 1e-12  # a spread as small, relative to the value, is none


@dataclass(frozen=True)
class Estimate:
    """A value and its interval.

    It is formatted with the format of a number: f"{estimate:.2f}" is "1.86 [1.71, 2.02]".

    Args:
        value: the measure of the whole sample.
        interval: the ends of the 95 % interval; None where there was nothing to draw from.
        of_one_run: whether it is over the mini-batches of one run, so that another seed may well be outside.
    """

    value: float
    interval: tuple[float, float] | None = None
    of_one_run: bool = False

    def __format__(self, spec: str) -> str:
        if self.interval is None:
            return format(self.value, spec)
        low, high = (format(end, spec) for end in self.interval)
        return f"{self.value:{spec}} [{low}, {high}]"

    def __sub__(self, number: float) -> Estimate:
        """Return the estimate of the value less a constant."""
        ends = self.interval
        moved = None if ends is None else (ends[0] - number, ends[1] - number)
        return dataclasses.replace(self, value=self.value - number, interval=moved)

    def within(self, low: float, high: float) -> bool | None:
        """Return whether the whole interval is from `low` to `high`; None where an end lies between its own.

        Without an interval the value decides.
        """
        least, most = self.interval or (self.value, self.value)
        if low <= least and most <= high:
            return True
        return False if most < low or high < least else None

    def above(self, level: float) -> bool | None:
        """Return whether the whole interval is above this level; None where the level lies in it."""
        inside = self.within(-math.inf, level)
        return None if inside is None else not inside

    def below(self, level: float) -> bool | None:
        """Return whether the whole interval is below this level; None where the level lies in it."""
        inside = self.within(level, math.inf)
        return None if inside is None else not inside


def estimate(measure: Measure, sample: Array, *, ratio: bool = False) -> list[Estimate]:
    """Estimate measures of a sample.

    Args:
        measure: turns samples, (resamples, n, ...), into values, (resamples, values).
        sample: (n, ...): n independent units, for instance seeds. With one there are no intervals.
        ratio: whether the measures are ratios, which are positive.
    """
    n, value = len(sample), measure(sample[None])[0]
    if n < 2:
        return [Estimate(float(each)) for each in value]
    picks = np.random.default_rng(0).integers(n, size=(RESAMPLES, n))
    return _estimates(value, _drawn(lambda each: measure(sample[each]), picks), n, n - 1, ratio)


def mean_of(sample: Array) -> Estimate:
    """Estimate the mean of a sample, (n,)."""
    (found,) = estimate(lambda drawn: drawn.mean(axis=1)[:, None], sample)
    return found


def ratio_of(ones: Array, others: Array) -> Estimate:
    """Estimate the ratio of the means of two samples in pairs, (n,) each."""

    def ratio(drawn: Array) -> Array:
        means = drawn.mean(axis=1)
        return np.asarray(means[:, :1] / means[:, 1:])

    (found,) = estimate(ratio, np.stack([ones, others], axis=-1), ratio=True)
    return found


def estimate_runs(measure: Measure, sample: Array, *, ratio: bool = False) -> list[Estimate]:
    """Estimate measures of training runs, over seeds, or with one seed over its mini-batches.

    The mini-batches are drawn within their epoch, as groups of those of one record. Costs that fall within an
    epoch widen the interval, so it is rather too wide. It leaves out what another starting point would do.

    Args:
        measure: turns samples, (resamples, seeds, epochs, records, ...), into values, (resamples, values).
        sample: (seeds, epochs, records of an epoch, ...). With one seed and one record there is no interval.
        ratio: as in `estimate`.
    """
    seeds, epochs, records, *_ = sample.shape
    if seeds > 1 or records < 2:
        return estimate(measure, sample, ratio=ratio)
    picks = np.random.default_rng(0).integers(records, size=(RESAMPLES, epochs, records))
    rows = np.arange(epochs)[:, None]
    drawn = _drawn(lambda each: measure(sample[0][rows, each][:, None]), picks)
    found = _estimates(measure(sample[None])[0], drawn, records, epochs * (records - 1), ratio)
    return [dataclasses.replace(each, of_one_run=True) for each in found]


def share(parts: Sequence[bool | None]) -> Estimate:
    """Return the share of parts that hold; those that are undecided (None) may hold or not."""
    holds, undecided = parts.count(True) / len(parts), parts.count(None) / len(parts)
    return Estimate(holds, (holds, holds + undecided))


def caveat(estimates: Sequence[Estimate]) -> str:
    """Return what is to be said of the intervals of training runs: that some have none, or are of one run."""
    if any(each.interval is None for each in estimates):
        return "; one seed: no interval"
    return "; one seed: intervals over its mini-batches" if any(each.of_one_run for each in estimates) else ""


def _drawn(measure: Callable[[NDArray[np.int64]], Array], picks: NDArray[np.int64]) -> Array:
    parts = np.array_split(picks, -(-len(picks) // AT_ONCE))
    return np.concatenate([measure(each) for each in parts])


def _estimates(value: Array, drawn: Array, n: int, freedom: int, ratio: bool) -> list[Estimate]:
    """Return the estimates from values, (values,), and those of the resamples, (resamples, values)."""
    reach = float(stats.t.ppf((1 + CONFIDENCE) / 2, freedom)) * math.sqrt(n / (n - 1))
    return [
        Estimate(float(each), _interval(float(each), column, reach, ratio))
        for each, column in zip(value, drawn.T, strict=True)
    ]


def _interval(value: float, drawn: Array, reach: float, ratio: bool) -> tuple[float, float]:
    """Return the value ± `reach` standard errors; where these are not finite, the range of what was drawn.

    Where a sample that was drawn has no such measure, nothing is known.
    """
    every = np.append(drawn, value)
    if np.isnan(every).any():
        return -math.inf, math.inf
    if not np.isfinite(every).all() or (ratio and every.min() <= 0):
        return float(every.min()), float(every.max())
    spread = reach * float((np.log(drawn) if ratio else drawn).std())
    if spread <= ROUNDING * (1 if ratio else abs(value)):
        return value, value
    if not ratio:
        return value - spread, value + spread
    factor = math.exp(min(spread, MOST))
    return value / factor, value * factor
