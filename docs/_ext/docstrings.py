"""Docstrings as Sphinx reads them: their fenced blocks become blocks of code, and step options have a page."""

from __future__ import annotations

import re
import textwrap
from typing import Any

from sphinx.application import Sphinx

from adamas.torch.keywords import OPTIONS_DOC

__all__ = ["setup", "unfenced"]

_FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^ *```$", re.DOTALL | re.MULTILINE)
_OPTIONS = OPTIONS_DOC.strip().splitlines()[0]


def unfenced(text: str) -> str:
    """Markdown's fences as directives of reStructuredText."""

    def block(match: re.Match[str]) -> str:
        indent, language, body = match.groups()
        code = textwrap.indent(textwrap.dedent(body), indent + "   ")
        return f"{indent}.. code-block:: {language or 'text'}\n\n{code}\n"

    return _FENCE.sub(block, text)


def _process(_: Sphinx, what: str, name: str, __: Any, ___: Any, lines: list[str]) -> None:
    text = "\n".join(lines)
    # All optimizers end with the same words, which stand once, on a page of their own.
    if what == "class" and name.startswith("adamas.torch.") and _OPTIONS in text:
        text = text[: text.index(_OPTIONS)] + "All :doc:`options of a step </api/step-options>` are keyword arguments too.\n"
    lines[:] = unfenced(text).splitlines()


def setup(app: Sphinx) -> dict[str, bool]:
    """Read docstrings before napoleon does."""
    app.connect("autodoc-process-docstring", _process, priority=400)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
