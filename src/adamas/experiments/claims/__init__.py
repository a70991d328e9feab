"""What the paper says, and what is measured of it here: each public module is a claim, its `CLAIM` a `Claim`.

The findings of the figures are claims too, and are where the figures are. Here are those that need no
grid of runs: algebra on random numbers, a few steps, a small problem.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, cast

from threadpoolctl import threadpool_limits

from adamas._tools import modules

from .. import ExperimentError
from ..figures import Finding, Preset, Verdict

__all__ = ["Claim", "Measured", "all_claims", "load"]


class Measured(NamedTuple):
    """The measurement in a sentence, with its numbers, and what follows for the claim."""

    text: str
    verdict: Verdict


@dataclass(frozen=True)
class Claim:
    """A claim and its measurement.

    Args:
        claim: what the paper says, in a sentence of ours.
        source: where it says so: section, equation, theorem, algorithm or figure.
        measure: takes a size, of which "demo" takes a second or two at most; the same result every time.
    """

    claim: str
    source: str
    measure: Callable[[Preset], Measured]

    def finding(self, preset: Preset) -> Finding:
        """Measures it, on one thread: sums of floats depend on their number."""
        with threadpool_limits(1):
            measured = self.measure(preset)
        return Finding(self.claim, self.source, measured.text, measured.verdict)


def all_claims() -> dict[str, Claim]:
    """Every claim of this package by its module's name."""
    return {name: load(name) for name in modules.names(__name__)}


def load(name: str) -> Claim:
    """The claim of that name.

    Raises:
        ExperimentError: there is none; the message lists those that exist.
    """
    return cast(Claim, modules.load(__name__, name, ExperimentError).CLAIM)
