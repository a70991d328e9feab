"""What a grid consists of: runs, values that say everything a result depends on. A module here is a kind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

__all__ = ["Outcome", "Run"]


@dataclass(frozen=True)
class Outcome:
    """What a run measured.

    Args:
        status: "diverged" when a cost was no longer finite; the run then ends, the others are "done".
        epochs: a mapping an epoch, or whatever a run of this kind records at: "epoch", where it ends,
            from 0, the starting point; and measures by name, None where a value was not finite or
            there is none. The same bits whenever the run is repeated.
        clock: the seconds of wall time at the end of each of them, without those spent on measuring.
        seconds: wall time of all.
    """

    status: Literal["done", "diverged"]
    epochs: tuple[Mapping[str, float | None], ...]
    clock: tuple[float, ...]
    seconds: float


class Run(Protocol):
    """A frozen dataclass: equal runs have equal results, to the bit."""

    @property
    def epochs(self) -> int:
        """How long it is, as the progress bar counts."""
        ...

    def configuration(self) -> dict[str, Any]:
        """The run as plain data: what a record keeps, and what its name is the hash of."""
        ...

    def prepare(self) -> None:
        """Gets and checks the data, so that no two processes do it at once.

        Raises:
            ExperimentError: data cannot be had.
        """
        ...

    def execute(self) -> Outcome:
        """Runs. The result depends on this value and on the installed versions only."""
        ...

    def describe(self) -> str:
        """The run in a few words, for people."""
        ...
