"""What a training step takes, as values: bytes of memory on a rank, bytes between ranks, and seconds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from .._tools.text import format_size

__all__ = ["Exchange", "Memory"]

_WIDTH = 44


@dataclass(frozen=True)
class Exchange:
    """The bytes that a rank sends in a step; it receives as many. Collectives are rings.

    Attributes:
        all_gather: parameters, by FSDP, before the forward and again before the backward pass.
        reduce_scatter: gradients, by FSDP.
        all_reduce: gradients, between replicas.
        optimizer: its own: the sum of squares of the gradients, where clipping or skipping needs it, and
            parameters and gradients whose shards cut blocks of a format.
    """

    all_gather: int = 0
    reduce_scatter: int = 0
    all_reduce: int = 0
    optimizer: int = 0

    @property
    def total(self) -> int:
        """All of them."""
        return self.all_gather + self.reduce_scatter + self.all_reduce + self.optimizer


@dataclass(frozen=True)
class Memory:
    """The bytes of a training step on the rank that needs most; activations are beside them.

    Attributes:
        ranks: how many share the parameters.
        elements: parameters of the whole model.
        parameters, gradients: of this rank's shards, padded as FSDP does.
        state: by slot, with the scales of its format.
        averages: the running averages of the parameters.
        counters: of steps.
        scratch: the kernel's tables, dense copies of parameters with gaps in memory, and whole parameters and
            gradients where shards cut blocks of a format.
        gathered: what FSDP holds of whole units at most.
        largest_gradient: of one parameter.
        gradients_in_backward: held at once where each is freed after its step: the largest, or, under FSDP,
            which reduces those of a unit together, those of the largest unit.
        moved: read and written by a step of the optimizer.
        exchange: between ranks.
        smallest: the same on the rank that needs least, where that is another number.
    """

    ranks: int
    elements: int
    parameters: int
    gradients: int
    state: Mapping[str, int]
    averages: int
    counters: int
    scratch: int
    gathered: int
    largest_gradient: int
    gradients_in_backward: int
    moved: int
    exchange: Exchange
    smallest: Memory | None = None

    @property
    def peak(self) -> int:
        """With all gradients at once: backward pass, then step."""
        return self._beside_gradients + self.gradients

    @property
    def peak_in_backward(self) -> int:
        """With each parameter stepped, and its gradient freed, during the backward pass."""
        return self._beside_gradients + self.gradients_in_backward

    @property
    def _beside_gradients(self) -> int:
        kept = self.parameters + sum(self.state.values()) + self.averages + self.counters
        return kept + self.scratch + self.gathered

    def seconds(self, bandwidth: float) -> float:
        """The time of a step of the optimizer at the speed of memory.

        Args:
            bandwidth: of this rank's memory, in bytes a second, both directions together.

        Raises:
            ValueError: it is not positive.
        """
        if not bandwidth > 0:
            raise ValueError(f"bandwidth must be positive, in bytes a second, got {bandwidth!r}")
        return self.moved / bandwidth

    def plain(self) -> dict[str, Any]:
        """Everything as dictionaries and numbers, for JSON."""
        found = asdict(self) | {"peak": self.peak, "peak_in_backward": self.peak_in_backward}
        if self.smallest is not None:
            found["smallest"] = self.smallest.plain()
        return found

    def __str__(self) -> str:
        """A table for people: a line each, at most 80 columns; 1 GB is 1e9 bytes."""
        least = self.smallest
        heading = f"{self.elements:,} parameters, {self.ranks} rank{'s' * (self.ranks > 1)}"
        lines = [f"{heading:<{_WIDTH}}{'a rank':>12}{'least' if least else '':>12}"]
        others = dict(least.rows()) if least else {}
        for name, size in self.rows():
            other = format_size(others[name]) if name in others else ""
            lines.append(f"{name:<{_WIDTH}}{format_size(size):>12}{other:>12}")
        return "\n".join(line.rstrip() for line in lines)

    def rows(self) -> Iterator[tuple[str, int]]:
        """The bytes by what takes them, the peaks, and what is moved; nothing that is zero."""
        kept = {"parameters": self.parameters, "gradients": self.gradients}
        kept |= {f"state {key}": size for key, size in self.state.items()}
        kept |= {"averages": self.averages, "counters": self.counters, "scratch": self.scratch}
        kept |= {"gathered units (FSDP)": self.gathered}
        yield from ((name, size) for name, size in kept.items() if size)
        yield "peak", self.peak
        yield "peak, stepped in backward", self.peak_in_backward
        yield "moved by a step", self.moved
        sent = asdict(self.exchange).items()
        yield from ((f"sent: {name.replace('_', '-')}", size) for name, size in sent if size)
