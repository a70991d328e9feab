"""Storage formats, one a file: how state and parameters are kept in fewer bits than they are computed in."""

from __future__ import annotations

import functools
import importlib
import pkgutil
from typing import Any

from ._base import Format
from ._blocks import BLOCK, packed_shape, row_length, scales_shape

__all__ = ["BLOCK", "Format", "find", "get", "names", "packed_shape", "row_length", "scales_shape"]


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


def find(name: Any) -> str:
    """The name of the format that a name, an alias ("bf16") or a dtype (`torch.bfloat16`) stands for.

    Raises:
        ValueError: it stands for none; the message lists those there are.
    """
    written = str(name).removeprefix("torch.")
    found = _aliases().get(written)
    if found is None:
        listed = ", ".join("/".join([known, *get(known).aliases]) for known in names())
        raise ValueError(f"unknown format {name!r}; there are {listed}")
    return found


@functools.cache
def _aliases() -> dict[str, str]:
    return {written: name for name in names() for written in (name, *get(name).aliases)}
