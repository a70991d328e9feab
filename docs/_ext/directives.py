"""Directives of the pages: lines of a generated kernel, the measurements, and the playground."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import measured
from docutils import nodes
from docutils.parsers.rst import directives
from kernels import numba_text
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from adamas.playground import page
from adamas.rules._found import rule_classes

__all__ = ["setup"]


class Kernel(SphinxDirective):
    """The lines of a rule's kernel from the first that contains a text to the next that contains another."""

    required_arguments = 1
    option_spec: ClassVar = {
        "from": directives.unchanged_required,
        "to": directives.unchanged_required,
        "format": directives.unchanged,
    }

    def run(self) -> list[nodes.Node]:
        self.env.note_reread()  # the generator is no file of the page
        rule = rule_classes()[self.arguments[0]]()
        name = self.options.get("format")
        slots = dict.fromkeys(rule.form().slots, name) if name else None
        text = lines_between(
            numba_text(rule, slots=slots), self.options["from"], self.options.get("to", self.options["from"])
        )
        return [nodes.literal_block(text, text, language="python")]


def lines_between(text: str, first: str, last: str) -> str:
    """Those lines of a text, less the indentation they share.

    Raises:
        ValueError: no line contains one of them: the page speaks of a text that is no more.
    """
    lines = text.splitlines()
    start = next((k for k, line in enumerate(lines) if first in line), None)
    if start is None:
        raise ValueError(f"the kernel has no line with {first!r}")
    end = next((k for k in range(start, len(lines)) if last in lines[k]), None)
    if end is None:
        raise ValueError(f"the kernel has no line with {last!r} after {first!r}")
    chosen = lines[start : end + 1]
    indent = min(len(line) - len(line.lstrip()) for line in chosen if line.strip())
    return "\n".join(line[indent:] for line in chosen)


class Measurements(SphinxDirective):
    """The tables of the record, each with the command that measures it; `family` is that of the rules."""

    optional_arguments = 1

    def run(self) -> list[nodes.Node]:
        path = Path(self.env.srcdir) / "measurements.json"
        self.env.note_reread()
        table = measured.family_table if self.arguments else measured.long_table
        return self.parse_text_to_nodes(table(measured.read(path)))


class Playground(SphinxDirective):
    """A frame with the playground, and a link to its whole page."""

    def run(self) -> list[nodes.Node]:
        frame = '<iframe class="playground-frame" src="playground-page.html" title="The playground"></iframe>'
        link = '<p><a href="playground-page.html">Open the playground on a page of its own</a></p>'
        return [nodes.raw("", frame + link, format="html")]


def _write_playground(app: Sphinx, error: Exception | None) -> None:
    if error is None and app.builder.format == "html":
        Path(app.outdir, "playground-page.html").write_text(page(), encoding="utf-8")


def setup(app: Sphinx) -> dict[str, bool]:
    """Register them."""
    app.add_directive("kernel", Kernel)
    app.add_directive("measurements", Measurements)
    app.add_directive("playground", Playground)
    app.connect("build-finished", _write_playground)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
