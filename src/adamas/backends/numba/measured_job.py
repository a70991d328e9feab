"""The call of a kernel that measures its step, in the place of one that does not."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...rules import Rule
from .._columns import COPY
from .job import Job, Pass
from .kernel import Kernel, compile_rule
from .measure import LIMITS, MEASURES
from .pool import Pool

__all__ = ["MeasuredJob"]


class MeasuredJob(Pass):
    """The step of a job by a kernel that measures: over its tensors, addresses and scalars as they are then.

    Args:
        job: the job.
        rule: that of its kernel.
    """

    def __init__(self, job: Job, rule: Rule) -> None:
        kernel = _measuring(rule, job.kernel)
        self._chunk_sums = np.zeros((len(job._buffers[1]), len(MEASURES)))
        self._tensors = job._buffers[1][:, 0]
        self._limits = np.zeros((max(len(job._buffers[0]), 1), len(LIMITS)), kernel.dtype)
        buffers = (*job._buffers[:6], self._chunk_sums, self._limits, *job._buffers[8:])
        super().__init__(kernel, job._parallel, buffers)

    def write_limits(self, limits: NDArray[Any]) -> None:
        """Take `LIMITS` for each tensor."""
        with np.errstate(over="ignore", under="ignore"):
            self._limits[: len(limits)] = limits

    def measure(self, pool: Pool) -> NDArray[Any]:
        """Take the step; return `MEASURES` of each tensor, zeros for one that is left alone.

        Sums are those of chunks, in order: the same bits for any number of threads.
        """
        self._chunk_sums.fill(0)
        self.run(pool)
        found = np.zeros((len(self._limits), len(MEASURES)))
        with np.errstate(invalid="ignore"):  # sums of infinities
            np.add.at(found[:, :-1], self._tensors, self._chunk_sums[:, :-1])
            np.maximum.at(found[:, -1], self._tensors, self._chunk_sums[:, -1])
        return found


def _measuring(rule: Rule, kernel: Kernel) -> Kernel:
    """The kernel that does what another one does, and measures."""
    names = {array: format.name for array, format in kernel.formats.items()}
    p, g, copy = names.pop("p"), names.pop("g"), names.pop(COPY, None)
    same: dict[str, Any] = {"average": kernel.average, "copy": copy, "cautious": kernel.cautious}
    return compile_rule(rule, p, g=g, slots=names, measured=True, **same)
