"""Numbers of the host in the memory of a device, sent anew where they have changed, without waiting."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

__all__ = ["Sent"]


class Sent:
    """An array on a device. What is sent arrives before what is launched on the current stream after it."""

    def __init__(self, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> None:
        self.tensor = torch.zeros(shape, dtype=dtype, device=device)
        self._pinned = device.type != "cpu"

    def send(self, values: np.ndarray[Any, Any]) -> None:
        """Replace the array."""
        if not self._pinned:
            self.tensor.numpy()[...] = values
            return
        # Pinned memory of its own for each sending: torch gives it out again when the copy has ended.
        host = torch.empty(self.tensor.shape, dtype=self.tensor.dtype, device="cpu", pin_memory=True)
        host.numpy()[...] = values
        self.tensor.copy_(host, non_blocking=True)
