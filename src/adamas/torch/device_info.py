"""What the last step found, on its device until somebody asks: asking waits for it, stepping does not."""

from __future__ import annotations

from typing import Any

import torch

from .device_counters import CounterStore
from .launchers._sent import capturing
from .options import StepInfo
from .skips import NONFINITE

__all__ = ["DeviceInfo"]


class DeviceInfo:
    """The numbers that a step leaves on its device.

    Attributes:
        numbers: float64: the norm, the clip factor, whether the step was skipped, the skipped steps in all,
            and how many of the last ones in a row.
        measures: whether there is a norm.
    """

    def __init__(self, device: torch.device, measures: bool, skipped: int = 0, in_a_row: int = 0) -> None:
        host = torch.tensor([0.0, 1.0, 0.0, skipped, in_a_row], dtype=torch.float64, device="cpu")
        self.numbers, self.measures = host.to(device), measures
        self._nothing = self.numbers[:3].clone()
        # What CUDA graphs read: a plan may be dropped, and they are replayed.
        self._kept: list[Any] = []
        self.kept_before: DeviceInfo | None = None
        # The steps that parameters have taken.
        self.counters = CounterStore()
        self._copy: torch.Tensor | None = None
        self._event: Any = None

    def keep(self, *owners: Any) -> None:
        """Keep alive what a CUDA graph reads, if one is captured now."""
        if capturing(self.numbers.device):
            self._kept += owners

    def found_nothing(self) -> None:
        """Note a step without gradients: their norm is 0."""
        self.numbers[:3] = self._nothing

    def read(self) -> StepInfo:
        """What the last step found; waits for it."""
        norm, factor, skipped, *_ = self.numbers.tolist()
        reason = NONFINITE if skipped else None
        return StepInfo(norm if self.measures else None, factor, bool(skipped), reason)

    def skips(self) -> tuple[int, int]:
        """The skipped steps in all, and those in a row; waits for the last step."""
        *_, skipped, in_a_row = self.numbers.tolist()
        return int(skipped), int(in_a_row)

    def skips_in_a_row(self) -> int | None:
        """How many of the last steps were skipped, as of one not long ago; None where that is not known yet.

        Waits for nothing.
        """
        if self.numbers.device.type == "cpu":
            return int(self.numbers[4])
        if capturing(self.numbers.device):
            return None
        found = None
        if self._event is None:
            self._copy = torch.zeros(5, dtype=torch.float64, device="cpu", pin_memory=True)
            self._event = torch.cuda.Event()
        elif not self._event.query():
            return None
        else:
            assert self._copy is not None
            found = int(self._copy[4])
        assert self._copy is not None
        self._copy.copy_(self.numbers, non_blocking=True)
        self._event.record(torch.cuda.current_stream(self.numbers.device))
        return found
