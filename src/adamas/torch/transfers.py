"""Copies between a parameter's device and the host: the one place that knows of streams and pinned memory."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

__all__ = ["Transfers", "transfers_of"]


class Transfers(Protocol):
    """The copies of offloaded parameters on one device.

    Attributes:
        shared: whether a parameter's memory is the host's own, so that nothing needs to be copied.
    """

    shared: bool

    def empty(self, like: Tensor, dtype: torch.dtype) -> Tensor:
        """Memory of the host, dense and with the strides of `like` where that is, for copies either way."""
        ...

    def fetch(self, source: Tensor, target: Tensor) -> Callable[[], object]:
        """Begin to copy from the device what the work called so far on the current stream makes.

        Returns what waits for it. `source` may be freed at once.
        """
        ...

    def send(self, source: Tensor, target: Tensor) -> None:
        """Begin to copy to the device; a fetch that has been waited for was called after uses of `target`."""
        ...

    def order(self) -> None:
        """Let what is called on the current stream from here on see all that was sent."""
        ...


class Direct:
    """Copies that are done when they are called: on the CPU, and on devices that are not known better."""

    def __init__(self, device: torch.device) -> None:
        self.shared = device.type == "cpu"

    def empty(self, like: Tensor, dtype: torch.dtype) -> Tensor:
        return torch.empty_like(like, dtype=dtype, device="cpu", requires_grad=False)

    def fetch(self, source: Tensor, target: Tensor) -> Callable[[], object]:
        target.copy_(source)
        return lambda: None

    def send(self, source: Tensor, target: Tensor) -> None:
        target.copy_(source)

    def order(self) -> None:
        pass


class Cuda:
    """Copies through pinned memory on two streams, one a direction, beside the computation."""

    shared = False

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._inward, self._outward = torch.cuda.Stream(device), torch.cuda.Stream(device)

    def empty(self, like: Tensor, dtype: torch.dtype) -> Tensor:
        return torch.empty_like(like, dtype=dtype, device="cpu", requires_grad=False, pin_memory=True)

    def fetch(self, source: Tensor, target: Tensor) -> Callable[[], object]:
        computing = torch.cuda.current_stream(self._device)
        self._inward.wait_stream(computing)
        # What is computed already may read the parameter that will be sent.
        self._outward.wait_stream(computing)
        with torch.cuda.stream(self._inward):
            target.copy_(source, non_blocking=True)
            # The allocator may give the memory of a gradient that is freed now to the next one.
            source.record_stream(self._inward)
            # A thread that waits sleeps: the cores are for the kernels.
            done = torch.cuda.Event(blocking=True)
            done.record(self._inward)
        return done.synchronize

    def send(self, source: Tensor, target: Tensor) -> None:
        with torch.cuda.stream(self._outward):
            target.copy_(source, non_blocking=True)
            target.record_stream(self._outward)

    def order(self) -> None:
        torch.cuda.current_stream(self._device).wait_stream(self._outward)


@functools.cache
def transfers_of(device: torch.device) -> Transfers:
    """The copies to and from a device; one object a device."""
    return Cuda(device) if device.type == "cuda" else Direct(device)
