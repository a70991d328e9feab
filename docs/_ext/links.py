"""Links of the pages to files outside of the site, which read on in the repository, become plain code."""

from __future__ import annotations

import re

from sphinx.application import Sphinx

__all__ = ["setup"]

_OUTSIDE = re.compile(r"\[([^\]]+)\]\(\.\./(?!README\.md)[^)]*\)")
_FRONT = re.compile(r"\]\((?:\.\./)+README\.md(#[^)]*)?\)")
_FILE = re.compile(r"\[([^\]]+)\]\(([\w-]+\.py)\)")


def rewritten(text: str) -> str:
    """The text of a page with links that exist in the site."""
    text = _FRONT.sub("](/index.md)", text)
    text = _FILE.sub(r"`\2`", text)
    return _OUTSIDE.sub(r"\1", text)


def _read(_: Sphinx, name: str, content: list[str]) -> None:
    content[0] = rewritten(content[0])


def setup(app: Sphinx) -> dict[str, bool]:
    """Rewrite each page as it is read."""
    app.connect("source-read", _read)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
