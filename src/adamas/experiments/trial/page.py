"""The page of the playground with the rules of a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from adamas._tools.files import write_atomically
from adamas.backends.javascript import emit
from adamas.playground import page
from adamas.rules import Rule

__all__ = ["write"]


def write(rules: Sequence[Rule], path: Path) -> dict[str, str]:
    """Write the page, and return why it lacks a rule, by name.

    A rule that JavaScript does not take is left out; without any there is no page.
    """
    lacking, taken = {}, []
    for rule in rules:
        try:
            emit(rule)
            taken.append(rule)
        except (TypeError, ValueError) as error:
            lacking[type(rule).__name__] = " ".join(str(error).split())
    if not taken:
        return lacking
    try:
        write_atomically(path, page(taken).encode())
    except ModuleNotFoundError as error:
        lacking |= {type(rule).__name__: str(error) for rule in taken}
    except OSError as error:
        why = f"{path} cannot be written: {error.strerror or error}"
        lacking |= {type(rule).__name__: why for rule in taken}
    return lacking
