"""Storage formats, one a file: how state and parameters are kept in fewer bits than they are computed in."""

from __future__ import annotations

import functools
import importlib
import pkgutil

from ._base import BLOCK, Format

__all__ = ["BLOCK", "Format", "get", "names"]


@functools.cache
def names() -> tuple[str, ...]:
    """The formats there are: the files of this folder."""
    return tuple(m.name for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_"))


@functools.cache
def get(name: str, signed: bool = True) -> Format:
    """The format of that name, for values that may be negative or not.

    Raises:
        ValueError: there is none of that name.
    """
    if name not in names():
        raise ValueError(f"unknown format {name!r}; there are {', '.join(names())}")
    format: Format = importlib.import_module(f"{__name__}.{name}").FORMATS[signed]
    return format


def find(name):
    text = str(name).removeprefix("torch.")
    for each in names():
        if text == each or text in get(each).aliases: return each
    raise ValueError(f"unknown format {name!r}; there are {', '.join(names())}")
