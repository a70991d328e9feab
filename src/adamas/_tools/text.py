"""Values as text for people, on a terminal and on a page."""

from __future__ import annotations

import math
from typing import Any

__all__ = ["format_size", "format_value"]


def format_value(value: Any) -> str:
    """A value as people read it: numbers to four digits, an absent one as a dash."""
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def format_size(n: int) -> str:
    """Bytes with a unit, three digits at least."""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if n >= size:
            return f"{n / size:,.{max(0, 2 - int(math.log10(n / size)))}f} {unit}"
    return f"{n} B"
