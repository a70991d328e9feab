"""The output of commands, and their exit status."""

from __future__ import annotations

import contextlib
import json
import math
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.text import Text

from adamas._tools.text import encodable, is_unicode

from ._table import show_text

FAILED, BAD_INPUT, INTERRUPTED = 1, 2, 130
# The styles of verdicts on a terminal.
VERDICTS = {
    "holds": "green",
    "holds here only partly": "yellow",
    "undecided": "cyan",
    "fails": "bold red",
    "not measured": "dim",
}


def console() -> Console:
    """Return the console on standard output: as wide as the terminal, else COLUMNS, else 80."""
    return Console(highlight=False)


def progress_console() -> Console:
    """Return the console on standard error, for progress and error messages."""
    return Console(stderr=True)


def spinner(console: Console) -> str:
    """Return the name of a spinner whose characters this console has."""
    return "dots" if is_unicode(console.encoding) else "line"


def say(console: Console, message: str) -> None:
    """Print one line as it is, however long."""
    console.print(encodable(message, console.encoding), markup=False, highlight=False, soft_wrap=True)


def show_finding(out: Console, verdict: str, claim: str, details: Mapping[str, str] | None = None) -> None:
    """Print a claim behind its verdict, which has a colour on a terminal, and details below it."""
    first = Text(f"{verdict}: ", style=VERDICTS.get(verdict, ""))
    show_text(out, first + Text(encodable(claim, out.encoding)))
    for name, value in (details or {}).items():
        show_text(out, f"{name}: {value}", indent=2)


def show_json(value: Any) -> None:
    """Print JSON: numbers that are not finite are null, and a stream without a character has its escape."""
    escaped = not is_unicode(getattr(sys.stdout, "encoding", None))
    print(json.dumps(_finite(value), indent=1, allow_nan=False, ensure_ascii=escaped))


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _finite(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


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
        fail(console, error)
    except KeyboardInterrupt:
        kept = f"; what is done is in {results}: give the same command again to go on" if results else ""
        say(console, f"interrupted{kept}")
        raise typer.Exit(INTERRUPTED) from None


def fail(console: Console, error: Exception, status: int = BAD_INPUT) -> None:
    """Say what is wrong, in one line, and exit.

    Raises:
        typer.Exit: always.
    """
    say(console, f"adamas: {' '.join(str(error).split())}")
    raise typer.Exit(status) from None
