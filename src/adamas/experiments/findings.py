"""Findings: claims of the paper with what was measured of them, and the tables that they follow from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

__all__ = ["PRESETS", "Cell", "Finding", "Preset", "Table", "Verdict", "every", "verdict"]

Preset = Literal["demo", "quick", "paper"]
PRESETS: tuple[Preset, ...] = get_args(Preset)
Verdict = Literal["holds", "holds here only partly", "undecided", "fails", "not measured"]
Cell = str | float | None


@dataclass(frozen=True)
class Finding:
    """A claim of the paper and its measurement.

    Args:
        claim: the paper's statement, in a sentence.
        source: the place in the paper.
        measured: the measurement, with its numbers.
        verdict: whether the claim holds by this measurement.
    """

    claim: str
    source: str
    measured: str
    verdict: Verdict

    def unless(self, reason: str) -> Finding:
        """Return the same measurement without a verdict where there is a reason not to judge it."""
        if not reason:
            return self
        return replace(self, measured=f"{reason}: {self.measured}", verdict="not measured")


def verdict(parts: Sequence[bool | None]) -> Verdict:
    """Return the verdict on a claim whose parts hold, do not, or are undecided (None).

    It is "undecided" where it depends on a part that is.

    Raises:
        ValueError: there are no parts, so that nothing follows.
    """
    if not parts:
        raise ValueError("a verdict needs one part at least; a claim without any is not measured")
    if True in parts and False in parts:
        return "holds here only partly"
    return "undecided" if None in parts else "holds" if all(parts) else "fails"


def every(parts: Sequence[bool | None]) -> bool | None:
    """Return whether all of these hold; None where that depends on one that is undecided."""
    return False if False in parts else None if None in parts else True


@dataclass(frozen=True)
class Table:
    """Rows of plain values under one title, with the findings that follow from them."""

    title: str
    rows: Sequence[Mapping[str, Cell]]
    findings: Sequence[Finding]

    def filled(self) -> list[dict[str, Cell]]:
        """Return the rows without the columns that are empty in all of them."""
        names = [
            name
            for name in (self.rows[0] if self.rows else ())
            if any(_is_filled(r[name]) for r in self.rows)
        ]
        return [{name: row[name] for name in names} for row in self.rows]


def _is_filled(cell: Cell) -> bool:
    return cell is not None and cell != ""
