"""`adamas play`: the playground, in a browser."""

from __future__ import annotations

import webbrowser
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from ._app import app
from ._output import console, ending, progress_console, say


@app.command()
def play(
    file: Annotated[
        Path | None,
        typer.Argument(help="A Python file with rules of your own, to play with too.", show_default="none"),
    ] = None,
    output: Annotated[Path, typer.Option(help="The page to write.")] = Path("adamas-playground.html"),
    no_open: Annotated[bool, typer.Option("--no-open", help="Write the page, and open no browser.")] = False,
) -> None:
    """Write the playground and open it: every rule in your browser, on functions of two variables.

    One HTML file that needs no network: drag the start, move the stepsize and the decays, watch the path, m,
    v and the effective step, type in a rule. The page's address holds the view, for others to open.

    Exit status: 0 written; 2 bad input: a file without rules or with one that cannot become JavaScript, a
    path that cannot be written, or plotly is missing (the extra 'play').
    """
    from adamas._tools.files import write_atomically
    from adamas.playground import page
    from adamas.rules._file import opened

    with ending(progress_console(), ValueError, TypeError, OSError, ModuleNotFoundError):
        with opened(file) if file else nullcontext() as rules:
            text = page(rules)
        write_atomically(output, text.encode())
    say(console(), str(output))
    if not no_open:
        webbrowser.open(output.resolve().as_uri())
