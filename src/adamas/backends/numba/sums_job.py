"""The pass that measures for a rule, over the tensors of a job as they are then."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...rules import Rule
from .job import Job, Pass
from .kernel import compile_sums
from .pool import Pool

__all__ = ["SumsJob"]


class SumsJob(Pass):
    """The sums of what a rule measures, for each unit of a job: a tensor, or a row of one.

    Args:
        job: the job; its scalars, addresses and rows are read when the pass runs.
        rule: that of its kernel.
    """

    def __init__(self, job: Job, rule: Rule) -> None:
        kernel = compile_sums(rule, job.kernel)
        reduction = rule.form().reduction
        assert reduction is not None
        chunks = job._buffers[1]
        first, parts = _parts(chunks, job.units)
        self._starts = np.searchsorted(parts, np.arange(len(job.factors)))
        self._empty = np.bincount(parts, minlength=len(job.factors)) == 0
        self._sums = np.zeros((len(parts) + 1, kernel.n_factors))
        # The kept values of each unit.
        self.kept = np.zeros((len(job.factors), max(len(reduction.kept), 1)), job.kernel.dtype)
        buffers = (*job._buffers[:6], job.units, first, self.kept, self._sums)
        super().__init__(kernel, job._parallel, buffers)

    def measure(self, pool: Pool) -> NDArray[Any]:
        """The sums of each unit, float64 of shape (units, terms); zeros for a tensor that is left alone.

        Parts are added up in their order: the same bits for any number of threads.
        """
        self._sums.fill(0)
        self.run(pool)
        with np.errstate(invalid="ignore", over="ignore"):
            found = np.add.reduceat(self._sums, self._starts, axis=0)
        found[self._empty] = 0
        return found


def _parts(chunks: NDArray[Any], units: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """The number of the first part in each chunk, and the unit of each part, in order."""
    if not len(chunks):
        return np.zeros(1, np.int64), np.zeros(0, np.int64)
    firsts, lengths = units[chunks[:, 0]].T
    low, high = chunks[:, 1] // lengths, np.maximum(chunks[:, 2] - 1, chunks[:, 1]) // lengths
    counts = high - low + 1
    first = np.cumsum(counts) - counts
    within = np.arange(counts.sum()) - np.repeat(first, counts)
    return first, np.repeat(firsts + low, counts) + within
