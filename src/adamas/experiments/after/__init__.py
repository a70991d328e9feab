"""What was learned after the paper: each public module here is a claim with a formula, a `Learned`.

A claim of the paper is judged by what the paper prints; one of these by what its formula predicts. Each is
measured in seconds, without runs that would be stored, and the result is the same every time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, cast

from threadpoolctl import threadpool_limits

from adamas._tools import modules

from .. import ExperimentError
from ..charts import Chart
from ..findings import Verdict

__all__ = ["Comparison", "Learned", "Value", "all_learned", "load"]


class Value(NamedTuple):
    """A number that the formula predicts beside the one that was measured; the claim says what agrees.

    Args:
        name: the case, for instance "β1 = .9, β2 = .999".
        predicted, measured: the numbers; None where there is none.
    """

    name: str
    predicted: float | None
    measured: float | None


@dataclass(frozen=True)
class Comparison:
    """A measurement beside its prediction.

    Args:
        text: the measurement in one sentence, with its numbers.
        verdict: whether the claim holds by it.
        values: the numbers of a table.
        charts: the curves, where they say more.
    """

    text: str
    verdict: Verdict
    values: Sequence[Value] = ()
    charts: Sequence[Chart] = ()


@dataclass(frozen=True)
class Learned:
    """A claim that was made after the paper.

    Args:
        claim: the statement, in a sentence of ours.
        source: authors, year, title, arXiv number, and the place in the text; "found here" where it is ours.
        formula: the statement as plain Unicode, for instance "|Δ_t| / α ≤ √(Σ_k w_k² / u_k)".
        measure: the function that measures it; called through `compare`.
        read: whether the statement was read in its source. Where it was not, it is said wherever it is shown.
    """

    claim: str
    source: str
    formula: str
    measure: Callable[[], Comparison]
    read: bool = True

    def compare(self) -> Comparison:
        """Measure it, on one thread: the bits of sums depend on the number of threads."""
        with threadpool_limits(1):
            return self.measure()

    @property
    def said(self) -> str:
        """The claim, with a remark where it was not read in its source."""
        return self.claim if self.read else f"{self.claim} (not read in its source)"


def all_learned() -> dict[str, Learned]:
    """Return every claim of this package by its module's name."""
    return {name: load(name) for name in modules.names(__name__)}


def load(name: str) -> Learned:
    """Return the claim of that name.

    Raises:
        ExperimentError: there is none; the message lists those that exist.
    """
    known = modules.names(__name__)
    if name not in known:
        raise ExperimentError(f"unknown claim made after the paper {name!r}; known: {', '.join(known)}")
    return cast(Learned, modules.load(__name__, name).CLAIM)
