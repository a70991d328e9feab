"""What the explanations show: each file draws one figure, and returns the numbers that its page prints."""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path

__all__ = ["draw_all"]


def draw_all(figures: Path) -> dict[str, dict[str, str]]:
    """Draw every figure of this folder; their numbers, by the name of the file."""
    names = [each.name for each in pkgutil.iter_modules(__path__)]
    return {
        name: importlib.import_module(f"{__name__}.{name}").draw(figures / f"{name.replace('_', '-')}.svg")
        for name in names
    }
