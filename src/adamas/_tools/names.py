"""Names that were nearly right."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

__all__ = ["missing_attribute", "suggestion"]


def suggestion(name: str, known: Iterable[str]) -> str:
    """The clause "; did you mean ...?" with the nearest known name in any case; "" where none is near."""
    lowered = {candidate.lower(): candidate for candidate in known}
    near = get_close_matches(name.lower(), lowered, n=1, cutoff=0.75)
    return f"; did you mean {lowered[near[0]]!r}?" if near else ""


def missing_attribute(module: str, name: str, known: Iterable[str]) -> AttributeError:
    """The error of a module's `__getattr__`."""
    return AttributeError(f"module {module!r} has no attribute {name!r}{suggestion(name, known)}")
