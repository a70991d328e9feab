"""The tables of all commands: as wide as the terminal, else as COLUMNS; nothing is ever cut."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from adamas._tools.text import encodable, format_value, is_unicode

__all__ = ["show_facts", "show_table", "show_text"]

Styles = Mapping[str, str]
_GAP = 2
# Texts up to this long stay on one line: numbers with their units, identifiers.
_WHOLE = 9


@dataclass(frozen=True)
class _Column:
    """The texts of a column, the first of which is its head."""

    cells: Sequence[str]
    numbers: bool

    @property
    def width(self) -> int:
        return max(map(cell_len, self.cells))

    @property
    def least(self) -> int:
        """The width of the longest part that is not to be broken."""
        head, *cells = self.cells
        return max(_longest_word(head), *(_unbroken(cell) for cell in cells))


def show_text(out: Console, text: str | Text, style: str = "", indent: int = 0) -> None:
    """Print a text, broken between words where it is wider than the console; all lines are indented."""
    if isinstance(text, str):
        text = Text(encodable(text, out.encoding), style=style)
    for line in _wrapped(out, text, out.width - indent):
        _print(out, Text(" " * indent) + line)


def show_table(
    out: Console, title: str | None, rows: Sequence[Mapping[str, Any]], styles: Styles | None = None
) -> None:
    """Print rows of one form; numbers have four digits, an absent value is a dash.

    Columns without any value are left out. Columns of text are broken between words where the table is too
    wide; where even words do not fit, columns follow in a second table, behind the first one again.

    Args:
        out: the console.
        title: a line above.
        rows: a value for each column; none of them may lack one.
        styles: the style of a cell with this text, as "red" for "fails".
    """
    if title:
        show_text(out, title)
    if not rows:
        return
    columns = [
        _column(out, name, [row[name] for row in rows])
        for name in rows[0]
        if any(row[name] not in (None, "") for row in rows)
    ]
    for part in _parts(columns, out.width):
        if sum(column.least + _GAP for column in part) - _GAP > out.width:
            for cells in zip(*(column.cells[1:] for column in part), strict=True):
                names = [column.cells[0] for column in part]
                show_facts(out, dict(zip(names, cells, strict=True)), styles)
                out.print()
        else:
            _show(out, part, styles or {})


def show_facts(out: Console, facts: Mapping[str, Any], styles: Styles | None = None) -> None:
    """Print names and values, a line each; long values go on below themselves."""
    texts = [
        (encodable(name.replace("_", " "), out.encoding), encodable(format_value(value), out.encoding))
        for name, value in facts.items()
    ]
    # The names may have a third.
    left = min(max((cell_len(name) for name, _ in texts), default=0), max(out.width // 3, 1))
    for name, value in texts:
        cells = [Text(name, style="bold"), Text(value, style=(styles or {}).get(value, ""))]
        _print_row(out, cells, [left, out.width - left - _GAP], [False, False])


def _column(out: Console, name: str, values: Sequence[Any]) -> _Column:
    numbers = any(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    texts = [encodable(format_value(value), out.encoding) for value in values]
    return _Column([encodable(name.replace("_", " "), out.encoding), *texts], numbers)


def _parts(columns: Sequence[_Column], width: int) -> list[list[_Column]]:
    """Return the columns in as many tables as they need, the first in each."""
    first, parts, used = columns[0], [[columns[0]]], columns[0].least
    for column in columns[1:]:
        if used + _GAP + column.least > width and len(parts[-1]) > 1:
            parts.append([first])
            used = first.least
        parts[-1].append(column)
        used += _GAP + column.least
    return parts


def _show(out: Console, columns: Sequence[_Column], styles: Styles) -> None:
    widths, right = _widths(columns, out.width), [column.numbers for column in columns]
    head, *rows = zip(*(column.cells for column in columns), strict=True)
    _print_row(out, [Text(name, style="bold") for name in head], widths, right)
    _print(out, Text(("─" if is_unicode(out.encoding) else "-") * (sum(widths) + _GAP * (len(widths) - 1))))
    for row in rows:
        _print_row(out, [Text(cell, style=styles.get(cell, "")) for cell in row], widths, right)
    out.print()


def _widths(columns: Sequence[_Column], width: int) -> list[int]:
    """Return widths that fit, by making the widest narrower."""
    widths, least = [column.width for column in columns], [column.least for column in columns]
    while sum(widths) + _GAP * (len(widths) - 1) > width:
        widest = max((k for k, each in enumerate(widths) if each > least[k]), key=widths.__getitem__)
        widths[widest] -= 1
    return widths


def _longest_word(text: str) -> int:
    return max((cell_len(word) for word in text.split()), default=0)


def _unbroken(text: str) -> int:
    whole = cell_len(text)
    return whole if whole <= _WHOLE else _longest_word(text)


def _print_row(out: Console, cells: Iterable[Text], widths: Sequence[int], right: Sequence[bool]) -> None:
    wrapped = [_wrapped(out, cell, width) for cell, width in zip(cells, widths, strict=True)]
    for pieces in zip_longest(*wrapped, fillvalue=Text("")):
        line = Text("")
        for piece, width, on_right in zip(pieces, widths, right, strict=True):
            space = " " * (width - piece.cell_len)
            line += Text(space) + piece if on_right else piece + Text(space)
            line += Text(" " * _GAP)
        _print(out, line)


def _wrapped(out: Console, text: Text, width: int) -> list[Text]:
    """Return the lines of a text, without what would only be blank at their ends."""
    lines = list(text.wrap(out, max(width, 1), overflow="fold"))
    for line in lines:
        line.rstrip()
    return lines or [Text("")]


def _print(out: Console, line: Text) -> None:
    line.rstrip()
    out.print(line, soft_wrap=True)
