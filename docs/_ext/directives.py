"""Directives of the pages: a figure with its numbers, lines of a generated kernel, and the measurements."""

from __future__ import annotations

from sphinx.application import Sphinx

__all__ = ["setup"]


def setup(app: Sphinx) -> dict[str, bool]:
    """Register them."""
    return {"parallel_read_safe": True, "parallel_write_safe": True}
