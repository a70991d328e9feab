"""Docstrings as Sphinx reads them: fenced blocks become blocks of code, and step options have a page."""

from __future__ import annotations

import inspect
import re
import textwrap
from typing import Any

from sphinx.application import Sphinx

from adamas.rules import Rule
from adamas.torch.keywords import OPTIONS_DOC, STEP_OPTIONS
from adamas.torch.optimizer import FusedOptimizer

__all__ = ["barred", "setup", "unfenced"]

_FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^ *```$", re.DOTALL | re.MULTILINE)
_OPTIONS = OPTIONS_DOC.strip().splitlines()[0]


def unfenced(text: str) -> str:
    """Markdown's fences as directives of reStructuredText."""

    def block(match: re.Match[str]) -> str:
        indent, language, body = match.groups()
        code = textwrap.indent(textwrap.dedent(body), indent + "   ")
        return f"{indent}.. code-block:: {language or 'text'}\n\n{code}\n"

    return _FENCE.sub(block, text)


def barred(text: str) -> str:
    """A text whose bars mean absolute values, and name no substitution; directives stay as they are."""
    lines, inside = [], None
    for line in text.splitlines():
        indent = len(line) - len(line.lstrip())
        if line.strip() and inside is not None and indent <= inside:
            inside = None
        if line.lstrip().startswith(".. "):
            inside = indent
        if inside is None:
            # Every second part stands between backticks.
            parts = line.split("`")
            line = "`".join(part if k % 2 else part.replace("|", r"\|") for k, part in enumerate(parts))
        lines.append(line)
    return "\n".join(lines)


def _process(_: Sphinx, what: str, name: str, __: Any, ___: Any, lines: list[str]) -> None:
    text = "\n".join(lines)
    # All optimizers end with the same words, which stand once, on a page of their own.
    if what == "class" and name.startswith("adamas.torch.") and _OPTIONS in text:
        text = (
            text[: text.index(_OPTIONS)]
            + "All :doc:`options of a step </api/step-options>` are keyword arguments too.\n"
        )
    lines[:] = barred(unfenced(text)).splitlines()


def _signature(_: Sphinx, what: str, name: str, value: Any, *__: Any) -> tuple[str, str] | None:
    """A constructor as it is called: a rule's fields, an optimizer's arguments less the options of all."""
    if what != "class":
        return None
    if issubclass(value, Rule) and value is not Rule:
        signature = inspect.signature(value.__init__)
        parameters = list(signature.parameters.values())[1:]
    elif issubclass(value, FusedOptimizer):
        parameters = [p for key, p in inspect.signature(value).parameters.items() if key not in STEP_OPTIONS]
        parameters.append(inspect.Parameter("step_options", inspect.Parameter.VAR_KEYWORD))
    else:
        return None
    plain = [p.replace(annotation=inspect.Parameter.empty) for p in parameters]
    return str(inspect.Signature(plain)), ""


def setup(app: Sphinx) -> dict[str, bool]:
    """Read docstrings before napoleon does."""
    app.connect("autodoc-process-docstring", _process, priority=400)
    app.connect("autodoc-process-signature", _signature)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
