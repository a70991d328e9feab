"""A report as text for people: tables of 80 columns, in which parameters that are alike share a line."""

from __future__ import annotations

import itertools
import math
import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor

from ..._tools.text import format_size, format_value
from ..options import AVERAGE
from .values import ParamReport, Report

__all__ = ["COLUMNS", "Column", "amount", "extremes", "fold", "heading", "lines", "settings", "shown_columns"]

_WIDTH = 80
_HEAD = ("parameter", "count", "shape", "elements", "state", "")
_INDENT = "    "
# The room for names beside the usual columns of what is measured.
_ROOM = 24

# What a column shows: its head, the quantity, whether that is a share, and what it is, in words.
Column = tuple[str, str, bool, str]

# Those of which no parameter has a value, or, from "largest" on, none but 0, are left out.
COLUMNS: tuple[Column, ...] = (
    ("grad", "grad_norm", False, "norm of the gradient"),
    ("weight", "param_norm", False, "norm of the parameter"),
    ("move", "update_ratio", False, "norm of the update over that of the parameter"),
    ("step", "step_rms", False, "update over the learning rate, root mean square"),
    ("signal", "signal_50", False, "median of |m| / sqrt(v)"),
    ("eps", "share_hidden", True, "elements with sqrt(v) < eps"),
    ("bound", "share_at_bound", True, "elements at the bound of a step"),
    ("bad", "nonfinite", False, "elements of the gradient that are NaN or infinite"),
    ("oldest", "oldest_row", False, "steps since the row untouched longest had a gradient"),
    ("behind", "behind", False, "steps missed for want of a gradient"),
)
_ONLY_IF_SOME = {"nonfinite", "oldest_row", "behind"}


def lines(report: Report) -> Iterator[str]:
    """The lines of the text."""
    yield from _wrapped(heading(report))
    yield f"{amount(report.params)}; {_memory(report.params)}; backend {report.backend}"
    yield from ("", *_static(report))
    yield from _dynamic(report)
    for each in report.warnings:
        yield from ("", *_wrapped(f"! {each.kind}: {each}"))
    if not report.watched and report.params:
        call = "optimizer.watch() measures steps: gradients, updates and what may be wrong"
        yield from ("", call)


def heading(report: Report) -> str:
    """The optimizer, with the options that all groups share."""
    shared = {
        key: value
        for group in report.groups[:1]
        for key, value in group.options.items()
        if key not in group.differing and value is not None and value is not False
    }
    return f"{report.optimizer}: {settings({**shared, **report.options})}"


# What each parameter is stepped with.


def _static(report: Report) -> Iterator[str]:
    groups = _numbered([_rows(group.params) for group in report.groups])
    marks = {note: "" for *_, note in itertools.chain(*groups) if note}
    marks = {note: f"[{k}]" for k, note in enumerate(marks, 1)}
    rows = [[(*cells, marks.get(note, "")) for *cells, note in group] for group in groups]
    widths = [max(map(len, column)) for column in zip(_HEAD, *itertools.chain(*rows), strict=True)]
    # Names have what the other columns leave.
    widths[0] = min(widths[0], _WIDTH - sum(widths[1:]) - 2 * len(widths))
    yield _row(_HEAD, widths)
    for k, (group, mine) in enumerate(zip(report.groups, rows, strict=True)):
        differing = f": {settings(group.differing)}" if group.differing else ""
        yield from _wrapped(f"group {k}{differing}; {amount(group.params)}")
        yield from (_row(cells, widths) for cells in mine)
    for note, mark in marks.items():
        yield from _wrapped(f"{mark} {note}")


def fold(params: Sequence[ParamReport]) -> list[tuple[str, list[ParamReport]]]:
    """Parameters that are alike, their names differing by a number alone, under one name."""
    alike: dict[tuple[Any, ...], list[ParamReport]] = {}
    for param in params:
        name = None if param.name is None else re.sub(r"(?<![^.])\d+(?![^.])", "*", param.name)
        key = name, param.shape, param.backend, tuple(param.formats.items()), param.notes
        alike.setdefault(key, []).append(param)
    return [(_name_of(name, same), same) for (name, *_), same in alike.items()]


def _name_of(name: str | None, same: Sequence[ParamReport]) -> str:
    first, last = same[0], same[-1]
    if len(same) == 1:
        return first.label
    return f"{first.label} ... {last.label}" if name is None else name


def _rows(params: Sequence[ParamReport]) -> list[tuple[str, ...]]:
    """The cells of each line, and its notes."""
    return [_cells(name, same) for name, same in fold(params)]


def _cells(name: str, same: Sequence[ParamReport]) -> tuple[str, ...]:
    first = same[0]
    shape = " x ".join(map(str, first.shape)) or "scalar"
    slots = {key: format for key, format in first.formats.items() if key != AVERAGE}
    alike = len(set(slots.values())) < 2
    state = next(iter(slots.values()), "none") if alike else "mixed"
    mixed = [] if alike else [", ".join(f"{key} in {format}" for key, format in slots.items())]
    note = "; ".join([*mixed, *first.notes])
    return name, str(len(same)), _end(shape, 18), f"{_elements(same):,}", state, note


def _row(cells: Sequence[str], widths: Sequence[int]) -> str:
    name, *numbers, state, mark = cells
    right = [text.rjust(width) for text, width in zip(numbers, widths[1:], strict=False)]
    row = [_end(name, widths[0]).ljust(widths[0]), *right, state.ljust(widths[-2]), mark]
    return ("  " + "  ".join(row)).rstrip()


# What was measured of it.


def _dynamic(report: Report) -> Iterator[str]:
    shown = shown_columns(report.params)
    if not shown:
        return
    read = "read from parameters and state now"
    yield from ("", read if report.step is None else f"measured at step {report.step:,}")
    groups = [list(_measured_rows(group.params, shown)) for group in report.groups]
    rows = [row for group in _numbered(groups) for row in group]
    head = ("parameter", *(column[0] for column in shown))
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    widths[0] = min(widths[0], _WIDTH - sum(widths[1:]) - 2 * len(widths))
    for name, *cells in (head, *rows):
        right = [cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True)]
        start = name.rjust(widths[0]) if name == _UP_TO else _end(name, widths[0]).ljust(widths[0])
        yield ("  " + "  ".join([start, *right])).rstrip()
    yield from _wrapped("; ".join(f"{name}: {meaning}" for name, _, _, meaning in shown))


_UP_TO = "up to"


def _numbered(groups: Sequence[Sequence[tuple[str, ...]]]) -> list[list[tuple[str, ...]]]:
    """Rows with numbers before their names, by which those of both tables are told where names are cut."""
    names = [row[0] for row in itertools.chain(*groups) if row[0] != _UP_TO]
    if max(map(len, names), default=0) <= _ROOM:
        return [list(group) for group in groups]
    numbers = itertools.count(1)

    def numbered(row: tuple[str, ...]) -> tuple[str, ...]:
        name, *cells = row
        return row if name == _UP_TO else (f"{next(numbers):{len(str(len(names)))}} {name}", *cells)

    return [list(map(numbered, group)) for group in groups]


def shown_columns(params: Sequence[ParamReport]) -> list[Column]:
    """The columns that have something to show."""
    every = [value_of(param) for param in params]

    def shows(name: str) -> bool:
        values = [each[name] for each in every if each[name] is not None]
        return any(values) if name in _ONLY_IF_SOME else bool(values)

    return [column for column in COLUMNS if shows(column[1])]


def value_of(param: ParamReport) -> dict[str, float | None]:
    """The values of a parameter by the quantities of columns."""
    return param.quantities() | {"behind": param.behind}


def _measured_rows(params: Sequence[ParamReport], shown: Sequence[Column]) -> Iterator[tuple[str, ...]]:
    """A line for parameters that are alike, or two: of the smallest values and of the largest."""
    for name, same in fold(params):
        ranges = [extremes(same, column) for column in shown]
        lows, highs = (tuple(each[k] for each in ranges) for k in (0, 1))
        yield name, *lows
        if lows != highs:
            yield _UP_TO, *highs


def extremes(params: Sequence[ParamReport], column: Column) -> tuple[str, str]:
    """The smallest and the largest value in a column, as text; NaN is larger than all."""
    values = [value for param in params if (value := value_of(param)[column[1]]) is not None]
    if not values:
        return "-", "-"
    in_order = sorted(values, key=lambda x: (math.isnan(x), x))
    show = _percent if column[2] else _number
    return show(in_order[0]), show(in_order[-1])


def _number(x: float) -> str:
    """A number in at most six characters, or seven with its sign."""
    if isinstance(x, int) and x < 1_000_000:
        return str(x)
    if x == 0 or 1e-2 <= abs(x) < 999.5 or not math.isfinite(x):
        return f"{x:.3g}"
    mantissa, exponent = f"{x:.1e}".split("e")
    return f"{mantissa}e{int(exponent)}"


def _percent(x: float) -> str:
    if 0 < x < 0.005:
        return "<1%"
    return ">99%" if 0.995 <= x < 1 else f"{100 * x:.0f}%"


# Words.


def _end(text: str, width: int) -> str:
    """The end of a text, which tells names of parameters apart, where it is too long; and its number."""
    number = re.match(r" *\d+ |", text)
    start = "" if number is None else number[0]
    cut = len(text) + 3 - width + len(start)
    return text if len(text) <= width else f"{start}...{text[cut:]}"


def _elements(params: Iterable[ParamReport]) -> int:
    return sum(math.prod(param.shape) for param in params)


def amount(params: Sequence[ParamReport]) -> str:
    """How many parameters there are, of how many elements."""
    plural = "" if len(params) == 1 else "s"
    return f"{len(params):,} tensor{plural} of {_elements(params):,} elements"


def _memory(params: Iterable[ParamReport]) -> str:
    own, state = (sum(getattr(p, name) for p in params) for name in ("param_bytes", "state_bytes"))
    return f"{format_size(own)} + state {format_size(state)}"


def settings(options: Mapping[str, Any]) -> str:
    """Options with their values, on one line."""
    return ", ".join(f"{key} {_text(value)}" for key, value in options.items()) or "no options"


def _text(value: Any) -> str:
    """An option on one line."""
    if isinstance(value, Tensor) and value.numel() == 1 and not value.is_meta:
        value = value.item()
    return textwrap.shorten(format_value(value), 60, placeholder="...")


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, subsequent_indent=_INDENT)
