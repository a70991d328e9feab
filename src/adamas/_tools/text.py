"""Values as text for people, on a terminal and on a page."""

from __future__ import annotations

from typing import Any

__all__ = ["format_value"]


def format_value(value: Any) -> str:
    """A value as people read it: numbers to four digits, an absent one as a dash."""
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
