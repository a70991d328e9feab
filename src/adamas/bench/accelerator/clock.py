"""Time on a device: events on a GPU, the host's clock on a CPU; and what to know of the device."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from importlib import metadata
from typing import Any, Protocol

import torch

import adamas

__all__ = ["Clock", "Events", "HostClock", "clock_of", "copy_bandwidth", "facts", "flush"]

_KIND = "cuda"
# Twice the largest L2 known, where torch does not say.
_L2 = 128 << 20
_COPIES = 20


class Clock(Protocol):
    """Marks in the order of what a device does, and the seconds between them."""

    device: torch.device

    def mark(self) -> Any:
        """Return a mark behind all that the device was given."""
        ...

    def seconds(self, start: Any, end: Any) -> float:
        """Return the seconds between two marks, once the device has come by them."""
        ...

    def wait(self) -> None:
        """Wait until the device has done all that it was given."""
        ...

    def now(self) -> float:
        """Return the host's seconds."""
        ...


class HostClock:
    """A CPU has done a thing when a call returns."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def mark(self) -> float:
        return time.perf_counter()

    def seconds(self, start: float, end: float) -> float:
        return end - start

    def wait(self) -> None:
        pass

    def now(self) -> float:
        return time.perf_counter()


class Events:
    """Events of CUDA on the current stream."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def mark(self) -> Any:
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def seconds(self, start: Any, end: Any) -> float:
        milliseconds: float = start.elapsed_time(end)
        return milliseconds / 1e3

    def wait(self) -> None:
        torch.cuda.synchronize(self.device)

    def now(self) -> float:
        return time.perf_counter()


def clock_of(device: str) -> Clock:
    """Return the clock of a device, "cpu" or "cuda".

    Raises:
        ValueError: there is no such device here.
    """
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        line = str(error).partition("\n")[0]
        raise ValueError(f"--device {device} cannot be had here: {line}") from error
    found = torch.device(device)
    if found.type not in ("cpu", _KIND):
        raise ValueError(f"--device must be cpu or cuda, got {device!r}")
    return Events(found) if found.type == _KIND else HostClock(found)


def flush(clock: Clock) -> Callable[[], object]:
    """Return a call after which no cache of the device holds a parameter."""
    if clock.device.type == _KIND:
        size = getattr(torch.cuda.get_device_properties(clock.device), "L2_cache_size", _L2)
        return torch.empty(4 * size, dtype=torch.uint8, device=clock.device).zero_
    return torch.empty(1 << 20, dtype=torch.uint8).zero_


def copy_bandwidth(clock: Clock) -> float:
    """Measure the bytes a second that a large copy on the device reads and writes: the median of 20."""
    count = (1 << 28) if clock.device.type == _KIND else (1 << 22)
    source = torch.randn(count, device=clock.device)
    target = torch.empty_like(source)
    marks = []
    for _ in range(_COPIES + 3):
        start = clock.mark()
        target.copy_(source)
        marks.append((start, clock.mark()))
    clock.wait()
    seconds = sorted(clock.seconds(*pair) for pair in marks[3:])
    return 2 * source.nbytes / seconds[_COPIES // 2]


def facts(clock: Clock) -> dict[str, Any]:
    """Return the device, its caches and memory, and the versions."""
    found: dict[str, Any] = {"device": str(clock.device), "python": platform.python_version()}
    for name in ("torch", "triton", "numba", "numpy"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = None
    found["adamas"] = adamas.__version__
    if clock.device.type == _KIND:
        about = torch.cuda.get_device_properties(clock.device)
        found |= {"name": about.name, "capability": f"{about.major}.{about.minor}"}
        found |= {"multiprocessors": about.multi_processor_count, "CUDA": torch.version.cuda}
        found |= {"GiB": about.total_memory / (1 << 30), "L2 MB": getattr(about, "L2_cache_size", 0) / 1e6}
    return found
