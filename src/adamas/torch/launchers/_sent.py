"""Numbers of the host in the memory of a device, sent anew where they have changed, without waiting."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

__all__ = ["Sent", "capturing"]

# Copies that a CUDA graph may take, made ahead: while one is captured, no pinned memory can be had.
_SPARES = 2


def capturing(device: torch.device) -> bool:
    """Whether what is launched now is recorded in a CUDA graph."""
    return device.type == "cuda" and torch.cuda.is_current_stream_capturing()


class Sent:
    """An array on a device. What is sent arrives before what is launched on the current stream after it.

    What is sent while a CUDA graph is captured goes to an array of that graph's own, and again at every
    replay: what is sent later is nothing to it. It reads the `tensor` of that time, which the caller keeps.

    Args:
        shape, dtype, device: those of the array.
        captured: whether it may be sent within a graph.
    """

    def __init__(
        self, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device, captured: bool = False
    ) -> None:
        self._own = self.tensor = torch.zeros(shape, dtype=dtype, device=device)
        self._captured = captured
        self._spares: list[tuple[torch.Tensor, torch.Tensor]] = []
        # The pinned memory from which graphs copy.
        self._kept: list[torch.Tensor] = []

    def send(self, values: np.ndarray[Any, Any]) -> None:
        """Replace the array.

        Raises:
            RuntimeError: too many CUDA graphs are captured one after the other.
        """
        if capturing(self._own.device):
            host, self.tensor = self._spare()
            self._kept.append(host)
            self._copy(host, values)
        else:
            # Pinned memory of its own for each sending: torch gives it out again when the copy has ended.
            self.tensor = self._own
            self._copy(self._pinned(), values)
            while self._captured and len(self._spares) < _SPARES:
                self._spares.append((self._pinned(), torch.empty_like(self._own)))

    def _copy(self, host: torch.Tensor, values: np.ndarray[Any, Any]) -> None:
        host.numpy()[...] = values
        self.tensor.copy_(host, non_blocking=True)

    def _pinned(self) -> torch.Tensor:
        pinned = self._own.device.type != "cpu"
        return torch.empty(self._own.shape, dtype=self._own.dtype, device="cpu", pin_memory=pinned)

    def _spare(self) -> tuple[torch.Tensor, torch.Tensor]:
        if not self._captured:
            raise RuntimeError(
                "a CUDA graph is captured, and this step needs what the host has not sent before: take one "
                "with the same gradients outside of the graph first, with capturable=True"
            )
        if not self._spares:
            raise RuntimeError(
                f"more than {_SPARES} CUDA graphs with a step of this optimizer were captured one after the "
                f"other; take a step outside of a graph between them"
            )
        return self._spares.pop()
