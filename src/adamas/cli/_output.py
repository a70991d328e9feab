"""The output of commands, and their exit status."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import typer
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from adamas._tools.text import format_value

FAILED, BAD_INPUT, INTERRUPTED = 1, 2, 130


def progress_console() -> Console:
    """Return the console on standard error, for progress and error messages."""
    return Console(stderr=True)


def say(console: Console, message: str) -> None:
    """Print one line as it is."""
    console.print(message, markup=False, highlight=False, soft_wrap=True)


@contextlib.contextmanager
def ending(
    console: Console,
    *mistakes: type[Exception],
    results: Path | None = None,
) -> Iterator[None]:
    """Turn the user's `mistakes` and an interrupt into one line and an exit status.

    Args:
        console: the console for that line.
        mistakes: the exceptions that bad input raises.
        results: the folder with the finished runs, from which an interrupted command can continue.
    """
    try:
        yield
    except BrokenPipeError:  # an OSError, but no mistake: the reader has left, as `head` does
        raise
    except mistakes as error:
        say(console, f"adamas: {error}")
        raise typer.Exit(BAD_INPUT) from None
    except KeyboardInterrupt:
        kept = f"; what is done is in {results}: give the same command again to go on" if results else ""
        say(console, f"interrupted{kept}")
        raise typer.Exit(INTERRUPTED) from None


def console(width: int = 140) -> Console:
    """Return the console on standard output: as wide as the terminal, or this where there is none."""
    return Console(width=None if sys.stdout.isatty() else width)


def table(title: str | None, rows: Sequence[Mapping[str, Any]]) -> Table:
    """Return rows of one form as a table; numbers have four digits, an absent value is a dash.

    What is too long for its column goes on in the next line, and is never cut.
    """
    shown = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name in rows[0]:
        numbers = any(isinstance(row[name], float) for row in rows)
        shown.add_column(name.replace("_", " "), justify="right" if numbers else "left", overflow="fold")
    for row in rows:
        shown.add_row(*(escape(format_value(value)) for value in row.values()))
    return shown
