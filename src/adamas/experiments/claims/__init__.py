"""Claims of the paper that no figure shows: each public module here is one, its `CLAIM` a `Measurable`.

A `Claim` is measured on the spot: algebra on random numbers, a few steps, a small problem. A `RunClaim` is
judged by runs, which are executed, stored and resumed as those of figures are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, cast

from threadpoolctl import threadpool_limits

from adamas._tools import modules

from .. import ExperimentError
from ..findings import Finding, Preset, Verdict
from ..records import Records
from ..runs import Run

__all__ = ["Claim", "Measurable", "Measured", "RunClaim", "all_claims", "load"]


class Measured(NamedTuple):
    """A measurement in a sentence, with its numbers, and the verdict on the claim."""

    text: str
    verdict: Verdict


class Measurable(Protocol):
    """A claim of either kind."""

    @property
    def claim(self) -> str:
        """The paper's statement, in a sentence of ours."""
        ...

    @property
    def source(self) -> str:
        """The place in the paper: a section, equation, theorem, algorithm or figure."""
        ...

    def runs(self, preset: Preset) -> Sequence[Run]:
        """Return the runs that it is judged by."""
        ...

    def finding(self, preset: Preset, records: Records) -> Finding:
        """Measure it. "demo" takes a second or two at most; the result is the same every time."""
        ...


@dataclass(frozen=True)
class Claim:
    """A claim that is measured without runs, by `measure`; see `Measurable`."""

    claim: str
    source: str
    measure: Callable[[Preset], Measured]

    def runs(self, preset: Preset) -> Sequence[Run]:
        return ()

    def finding(self, preset: Preset, records: Records) -> Finding:
        """Measure it on one thread: the bits of sums depend on the number of threads."""
        with threadpool_limits(1):
            measured = self.measure(preset)
        return Finding(self.claim, self.source, measured.text, measured.verdict)


@dataclass(frozen=True)
class RunClaim:
    """A claim that `judge` judges by the records of `training`; see `Measurable`."""

    claim: str
    source: str
    training: Callable[[Preset], Sequence[Run]]
    judge: Callable[[Preset, Records], Measured]

    def runs(self, preset: Preset) -> Sequence[Run]:
        return self.training(preset)

    def finding(self, preset: Preset, records: Records) -> Finding:
        """Judge it, if every run has its record."""
        if any(run not in records for run in self.runs(preset)):
            return Finding(self.claim, self.source, "runs are missing", "not measured")
        measured = self.judge(preset, records)
        return Finding(self.claim, self.source, measured.text, measured.verdict)


def all_claims() -> dict[str, Measurable]:
    """Return every claim of this package by its module's name."""
    return {name: load(name) for name in modules.names(__name__)}


def load(name: str) -> Measurable:
    """Return the claim of that name.

    Raises:
        ExperimentError: there is none; the message lists those that exist.
    """
    return cast(Measurable, modules.load(__name__, name, ExperimentError).CLAIM)
