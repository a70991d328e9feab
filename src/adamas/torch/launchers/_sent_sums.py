"""The sums of tensors on a device: measured by a kernel, added up by another, and copied to the host."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...rules import Rule
from ._sent import Sent

__all__ = ["TensorSums"]


class TensorSums:
    """The sums of what a rule measures, for each tensor of a launcher.

    Args:
        backend: that of the kernels.
        rule: the rule.
        kernel: that steps it.
        chunks: those of its programs, tensor by tensor.
        count: how many tensors there are.
        device: where they are.
    """

    def __init__(
        self, backend: Any, rule: Rule, kernel: Any, chunks: NDArray[Any], count: int, device: torch.device
    ) -> None:
        self.title = type(rule).__name__
        self._backend, self._kernel, self._count = backend, backend.compile_sums(rule, kernel), count
        dtype = getattr(torch, kernel.dtype.name)
        self._kept = Sent((count, max(self._kernel.n_kept, 1)), dtype, device)
        terms = self._kernel.n_terms
        self._partial = torch.zeros((len(chunks), terms), dtype=torch.float64, device=device)
        self._sums = torch.zeros((count, terms), dtype=torch.float64, device=device)
        self._firsts = Sent((count + 1,), torch.int64, device)
        self._firsts.send(np.searchsorted(chunks[:, 0], np.arange(count + 1)))

    def measure(
        self, launch: Callable[..., None], arguments: Sequence[Tensor], kept: NDArray[Any]
    ) -> NDArray[Any]:
        """The sums of each tensor, float64 of shape (tensors, terms); it waits for the device.

        Args:
            launch: runs a kernel on the device.
            arguments: those of the kernel but for the last two.
            kept: the kept values of each tensor.
        """
        if self._kernel.n_kept:
            with np.errstate(over="ignore", under="ignore"):
                self._kept.send(kept)
        given = [*arguments, self._kept.tensor, self._partial]
        launch(self._kernel.step, len(self._partial), self._kernel.signature, given)
        terms = self._kernel.n_terms
        launch(
            self._backend.add_chunks,
            self._count * terms,
            self._backend.sums.TOTAL_SIGNATURE,
            [self._partial, self._firsts.tensor, self._sums, terms],
        )
        return self._sums.numpy(force=True).copy()
