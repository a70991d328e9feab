"""The arithmetic of an update, found by running it once on symbols, whatever its source is."""

from __future__ import annotations

import dis
import numbers
import traceback
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..rules._base import Update
from ._base import RuleSourceError
from ._bind import bind
from ._names import FUNCTIONS, Name, names_of
from ._symbols import ALLOWED, Mistake, Symbol, Trace, as_number, symbolic_namespace

__all__ = ["line_of", "place", "raised_at", "trace"]

_BUILTINS = (abs, max, min, range, len, sum, enumerate, zip, tuple, list, float, int, pow, reversed, super)


def trace(
    title: str,
    update: Update,
    inputs: Sequence[str],
    n_arrays: int,
    namespace: Any = None,
    results: int | None = None,
) -> Trace:
    """Run `update` on symbols, of which the first `n_arrays` are elements of arrays.

    `results` says how many there are, and that the function is `measure`; p and slots for an update.

    Raises:
        RuleSourceError: it does something that a kernel cannot.
        TypeError: it does something that arrays cannot do either.
    """
    found, name = Trace(list(inputs)), "update" if results is None else "measure"
    symbols = [Symbol(found, ("in", k), False, k < n_arrays) for k in range(len(inputs))]
    try:
        if namespace is None:
            _scan(update, [])
            update = bind(update, symbolic_namespace())
        new = update(*symbols)
        if type(new) is not tuple or any(isinstance(x, Symbol) and x.condition for x in new):
            found.literal = False
        new = list(new) if isinstance(new, (tuple, list)) else [new] * (n_arrays > 2)
        if len(new) != (n_arrays - 1 if results is None else results):
            raise Mistake(_wrong_results(inputs[:n_arrays], new), fatal=True)
        found.results = [Trace.operand(as_number(x)) for x in new]
    except Mistake as mistake:
        line = (
            mistake.line
            or raised_at(mistake)
            or (update.__code__.co_filename, update.__code__.co_firstlineno)
        )
        message = f"{title}.{name}: {mistake}{place(line)}"
        raise (TypeError if mistake.fatal else RuleSourceError)(message) from None
    except Exception as error:
        text = f"{type(error).__name__}: {error}"[:120]
        raise RuleSourceError(
            f"{title}.{name} cannot be compiled: {text}{place(raised_at(error))}"
        ) from error
    return found


def _wrong_results(arrays: Sequence[str], results: list[Any]) -> str:
    slots = [name for name in arrays if name != "g"]
    wanted = f"return {', '.join(slots)}{',' if len(slots) == 1 else ''}"
    if not results or all(x is None for x in results):
        return f"it returns no tuple of {len(slots)}: write `{wanted}` at its end, new values in this order"
    return f"it returns {len(results)} instead of {len(slots)} values: write `{wanted}`, in this order"


def _scan(function: Update, seen: list[Any]) -> None:
    """Refuse what would be frozen into a kernel as it is now, or is not there at all."""
    seen.append(function)
    for name in names_of(function):
        if not _fits(name):
            shown = name.name if name.attribute is None else f"{name.name}.{name.attribute}"
            line = _line(function, name)
            if not name.defined and not name.is_xp:
                raise Mistake(f"the name {shown!r} is not defined", fatal=True, line=line)
            if name.is_xp:
                raise Mistake(f"{shown} is unknown: an update has operators and {ALLOWED}", line=line)
            raise Mistake(
                f"it uses {shown!r}; a kernel has numbers, Python functions, operators and {ALLOWED}",
                line=line,
            )
        value = name.resolved
        if not name.is_xp and isinstance(value, types.FunctionType) and value not in seen:
            _scan(value, seen)


def _fits(name: Name) -> bool:
    if name.is_xp:
        if name.attribute is None or name.attribute in FUNCTIONS:
            return True
        return name.name != "xp" and isinstance(name.resolved, numbers.Real)
    value = name.resolved
    if isinstance(value, (tuple, list)):
        return all(isinstance(x, numbers.Real) for x in value)
    if value is None or isinstance(value, (numbers.Real, types.FunctionType)) or value in _BUILTINS:
        return True
    return getattr(value, "ndim", None) == 0 and hasattr(value, "item")


def _line(function: Any, name: Name) -> tuple[str, int]:
    """Where a function looks a name up."""
    wanted = name.name if name.attribute is None else name.attribute
    for instruction in dis.get_instructions(function.__code__):
        if instruction.argval == wanted and instruction.positions and instruction.positions.lineno:
            return function.__code__.co_filename, instruction.positions.lineno
    return function.__code__.co_filename, function.__code__.co_firstlineno


def raised_at(error: BaseException) -> tuple[str, int] | None:
    """The last line outside of this package's own folder that an error passed through."""
    own = Path(__file__).parent
    frames = [f for f in traceback.extract_tb(error.__traceback__) if Path(f.filename).parent != own]
    return (frames[-1].filename, frames[-1].lineno or 0) if frames else None


def place(line: tuple[str, int] | None) -> str:
    """The clause " (file.py:12)" of a message."""
    return "" if line is None else f" ({Path(line[0]).name}:{line[1]})"


def line_of(function: Any) -> str:
    """The clause that names where a function begins."""
    code = getattr(function, "__code__", None)
    return "" if code is None else place((code.co_filename, code.co_firstlineno))
