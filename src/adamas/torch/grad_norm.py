"""The norm of all gradients before a step, over launchers and processes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..backends import exact
from .exchange import Exchange
from .launchers import Launcher, ParamState

__all__ = ["GradNorm"]


class GradNorm:
    """What finds the norm for the steps of one plan.

    Args:
        launchers: of the plan.
        exchange: the processes that take part.
        whole: the members whose gradient is gathered whole from all of them.
        wanted: whether the norm is.
    """

    def __init__(
        self,
        launchers: Sequence[Launcher],
        exchange: Exchange | None,
        whole: Sequence[ParamState],
        wanted: bool,
    ) -> None:
        self._launchers, self._exchange, self._whole, self.wanted = launchers, exchange, whole, wanted
        # Whether there is anything to do before a step.
        self.needed = wanted or bool(whole)

    def gather(self) -> None:
        """Gather the gradients of which every process steps the whole."""
        for member in self._whole:
            member.gather_grad()

    def measure(self, found_inf: bool | None) -> tuple[Any, bool]:
        """The sum of squares over all processes, if it is wanted, and whether one of them must not step."""
        self.gather()
        words = None
        if self.wanted:
            # Integers: whatever the order, the same bits.
            parts = [launcher.grad_squares().numpy(force=True) for launcher in self._launchers]
            words = parts[0] if len(parts) == 1 else sum(parts, exact.words_of(0))
        if self._exchange is None or (words is None and found_inf is None):
            return words, bool(found_inf)
        total, skipped = self._exchange.sum(exact.words_of(0) if words is None else words, bool(found_inf))
        return None if words is None else total, skipped
