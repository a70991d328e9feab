"""Runs: values that say everything a result depends on. Each public module here is a kind of run."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass
from typing import Any, Literal, Protocol, Self, cast, runtime_checkable

from adamas.rules import Rule

__all__ = ["Alone", "Executed", "Outcome", "Run", "execute_together", "recorded_fields", "rule_defaults"]


@dataclass(frozen=True)
class Outcome:
    """The measurements of a run.

    Args:
        status: "diverged" where a cost was no longer finite, which ends the run; else "done".
        epochs: a mapping an epoch, or whatever a run of this kind records at: "epoch", where it ends,
            from 0, the starting point; and measures by name, None where a value was not finite or
            there is none. The same bits whenever the run is repeated.
        clock: the seconds of wall time at the end of each of them, without those spent on measuring.
        seconds: the wall time of the whole run.
        device: the name of the device that it ran on.
    """

    status: Literal["done", "diverged"]
    epochs: tuple[Mapping[str, float | None], ...]
    clock: tuple[float, ...]
    seconds: float
    device: str = "cpu"


class Run(Protocol):
    """A frozen dataclass: equal runs have equal results, to the bit."""

    @property
    def epochs(self) -> int:
        """The length, as the progress bar counts."""
        ...

    @property
    def whole(self) -> int:
        """The epochs of the longer run that this is the beginning of and that may go on from it, else 0."""
        ...

    def configuration(self) -> dict[str, Any]:
        """Return the run as plain data: a record keeps it, and the record's name is its hash."""
        ...

    def defaults(self) -> dict[str, Any]:
        """Return what an older record's configuration may lack, because the rule has gained fields since.

        Nested as the configuration is; a record is this run's where it equals the configuration once they are
        filled in.
        """
        ...

    def prepare(self) -> None:
        """Get and check the data, so that no two processes do it at once.

        Raises:
            ExperimentError: data cannot be had.
        """
        ...

    def execute(self) -> Outcome:
        """Run. The result depends on this value and on the installed versions only."""
        ...

    def describe(self) -> str:
        """Return the run in a few words, for people."""
        ...

    def together(self) -> Hashable:
        """Return a value that runs share which can be executed together; `self` for a run to itself."""
        ...

    def beginnings(self) -> Iterable[Run]:
        """Return the shorter runs that this one can go on from, the longest first."""
        ...


@dataclass(frozen=True)
class Executed:
    """The execution of a run, or of a part of it.

    Args:
        outcome: what was measured so far.
        state: what a longer run, or the rest of this one, can go on from.
        paused_after: the epochs after which the time was over, with a state; None where the run has ended.
    """

    outcome: Outcome
    state: bytes | None = None
    paused_after: int | None = None


@runtime_checkable
class Stackable(Protocol):
    """A kind of run that can be executed with others, and go on from a state."""

    def execute_together(
        self, others: Sequence[Any], states: Sequence[bytes | None], device: str, seconds: float
    ) -> list[Executed]:
        """Execute this run and others; see the function of that name."""
        ...


class Alone:
    """A run that is executed by itself, from its beginning to its end."""

    whole = 0

    def together(self) -> Self:
        return self

    def beginnings(self) -> tuple[()]:
        return ()


def execute_together(
    runs: Sequence[Run], states: Sequence[bytes | None], device: str, seconds: float = math.inf
) -> list[Executed]:
    """Execute runs of which `together` is the same, each from its state, on a device.

    Those that can be stopped pause at the end of an epoch once so many seconds are over.
    """
    first, *others = runs
    if isinstance(first, Stackable):
        return first.execute_together(others, states, device, seconds)
    return [Executed(run.execute()) for run in runs]


def recorded_fields(run: Any) -> dict[str, Any]:
    """Return the fields of a run, a dataclass, as plain data under their names in records.

    A field that was renamed keeps the older name there, its metadata's "recorded_as".
    """
    return {
        field.metadata.get("recorded_as", field.name): _plain(field.name, getattr(run, field.name))
        for field in dataclasses.fields(run)
    }


def _plain(name: str, value: Any) -> Any:
    if isinstance(value, Rule):
        return {"name": type(value).__name__, **_in_json(dataclasses.asdict(cast(Any, value)))}
    return dict(value) if name in ("options", "phase") else value


def rule_defaults(rule: Rule) -> dict[str, Any]:
    """Return the fields of a rule that have a default, at their defaults."""
    fields = dataclasses.fields(cast(Any, rule))
    return _in_json({field.name: field.default for field in fields if field.default is not MISSING})


def _in_json(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return these values with text for numbers that JSON lacks: a bound may be infinite."""
    lacking = {name for name, each in fields.items() if isinstance(each, float) and not math.isfinite(each)}
    return {name: str(each) if name in lacking else each for name, each in fields.items()}
