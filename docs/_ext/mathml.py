"""Mathematics as MathML, which browsers draw themselves: no script, no font, no request."""

from __future__ import annotations

from html import escape
from typing import Any

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx

__all__ = ["setup"]


def _mathml(latex: str, display: str) -> str:
    # Lines of a docstring's formula are aligned at their first equals signs.
    if display == "block" and r"\\" in latex and r"\begin" not in latex:
        lines = [line.replace("=", "&=", 1) for line in latex.split(r"\\")]
        latex = "\\begin{split}" + r"\\".join(lines) + "\\end{split}"
    return convert(latex, display=display)


def _inline(translator: Any, node: nodes.math) -> None:
    translator.body.append(_mathml(node.astext(), "inline"))
    raise nodes.SkipNode


def _block(translator: Any, node: nodes.math_block) -> None:
    text = node.astext()
    label = escape(" ".join(text.split()), quote=True)
    # The scroller takes the focus, so that a wide formula is read with the keyboard too.
    opening = f'<div class="math-block" tabindex="0" role="math" aria-label="{label}">'
    translator.body.append(f"{opening}{_mathml(text, 'block')}</div>")
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the renderer; `html_math_renderer = "mathml"` chooses it."""
    app.add_html_math_renderer("mathml", (_inline, None), (_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
