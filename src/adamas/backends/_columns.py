"""The arrays of a kernel: the columns of its table, their names in its text, and the type it computes in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..formats import Format

__all__ = ["COPY", "columns", "names_of_columns", "reads_of_columns", "real_of", "sizes"]

# The name of the array that the new parameters are written to once more, in fewer bits; no slot has it.
COPY = "p_copied"


def columns(formats: Mapping[str, Format], average: bool) -> tuple[str, ...]:
    """The columns of a kernel's table: every array, one that is scaled followed by its scales."""
    found = []
    for name, format in formats.items():
        found += [name, f"{name}_scales"] if format.scaled else [name]
    return (*found, *(["average"] if average else []))


def names_of_columns(formats: Mapping[str, Format], average: bool) -> list[str]:
    """The names of the columns' addresses in a kernel's text."""
    found = []
    for name, format in formats.items():
        found += [f"at_{name}", f"scales_{name}"] if format.scaled else [f"at_{name}"]
    return [*found, *(["at_average"] if average else [])]


def reads_of_columns(names: Sequence[str], width: int | None = None) -> list[str]:
    """The lines that read the columns' addresses of one tensor; the first of `width` columns, if not all."""
    width = width or len(names)
    return [f"{name} = int_at(table, {width} * tensor + {k})" for k, name in enumerate(names)]


def sizes(formats: Mapping[str, Format], average: bool) -> dict[str, int]:
    """The bytes of an element of each array, but for scales."""
    found = {name: format.stored.itemsize for name, format in formats.items()}
    return found | ({"average": 8 if real_of(formats) == "float64" else 4} if average else {})


def real_of(formats: Mapping[str, Format]) -> str:
    """The type of the computation: float64 where any format computes in it."""
    return max(format.compute.name for format in formats.values())
