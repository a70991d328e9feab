"""The operations of a trace as JavaScript statements.

An operation is a statement where the rule gave it a name or where it is used twice; else it stands inside
of the one that uses it. Brackets keep the order of operations, on which the last bits depend.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .._symbols import Trace

__all__ = ["Body", "identifier", "number"]

# How tightly an operator binds: a text is in brackets where its surroundings bind tighter.
_CHOICE, _UNARY, _ATOM = 1, 10, 12
_OPERATORS = {
    "|": ("||", 2), "&": ("&&", 3), "^": ("!==", 5), "==": ("===", 5), "!=": ("!==", 5),
    "<": ("<", 6), "<=": ("<=", 6), ">": (">", 6), ">=": (">=", 6),
    "+": ("+", 8), "-": ("-", 8), "*": ("*", 9), "/": ("/", 9),
}  # fmt: skip
_FUNCTIONS = {"**": "pow", "//": "floor_quotient", "%": "remainder"}
_RESERVED_WORDS = """
    arguments await break case catch class const continue debugger default delete do else enum eval export
    extends false finally for function h if implements import in instanceof interface let new null package
    private protected public return static super switch this throw true try typeof undefined var void while
    with xp yield Infinity NaN
"""
_RESERVED = frozenset(_RESERVED_WORDS.split())


def identifier(name: str) -> str:
    """A name of Python as one of JavaScript."""
    return f"{name}_" if name in _RESERVED else name


def number(x: float) -> str:
    """A number as JavaScript writes it, with all its digits."""
    if math.isnan(x):
        return "NaN"
    if math.isinf(x):
        return "Infinity" if x > 0 else "-Infinity"
    return re.sub(r"e([+-]?)0*(\d)", r"e\1\2", repr(float(x))).removesuffix(".0")


class Body:
    """The statements of one function.

    Args:
        found: what it computes.
        names: the names of operations, by their places.
        also: names that stand for something else all through the function.
    """

    def __init__(self, found: Trace, names: Mapping[int, str], also: Sequence[str] = ()) -> None:
        self._operations, self._results = found.operations, found.results
        self.inputs = [identifier(name) for name in found.inputs]
        self._bound: dict[Any, str] = {("in", k): name for k, name in enumerate(self.inputs)}
        self._taken = {*self.inputs, *also}
        uses = self._uses()
        self._kept = [k for k in sorted(uses) if k in names or uses[k] > 1]
        self._wanted = {k: identifier(names.get(k, "x1")) for k in self._kept}
        self._reads = [set(self._read(*self._operations[k][1:])) for k in self._kept]
        self._reads.append(set(self._read(*self._results)))

    def used(self) -> set[int]:
        """The places of the inputs that it reads."""
        return {at[1] for reads in self._reads for at in reads if at[0] == "in"}

    def lines(self) -> list[str]:
        """The statements, the last of which returns the results as an array."""
        written: list[tuple[str, str]] = []
        for place, k in enumerate(self._kept):
            value = self._operation(k)[0]
            name = self._name(k, place)
            written.append((name, value))
        results = ", ".join(self.expression(at) for at in self._results)
        return [*self._declared(written), f"return [{results}];"]

    def expression(self, at: Any, least: int = 0) -> str:
        """An operand, in brackets where it binds less tightly than `least`."""
        if isinstance(at, tuple):
            text, tightness = (self._bound[at], _ATOM) if at in self._bound else self._operation(at[1])
        elif isinstance(at, bool):
            text, tightness = repr(at).lower(), _ATOM
        else:
            text = number(float.fromhex(at) if isinstance(at, str) else at)
            tightness = _UNARY if text.startswith("-") else _ATOM
        return f"({text})" if tightness < least else text

    def _operation(self, k: int) -> tuple[str, int]:
        """The text of an operation, and how tightly it binds."""
        symbol, *at = self._operations[k]
        if symbol == "where":
            condition, one, other = (self.expression(each, _CHOICE + 1) for each in at)
            return f"{condition} ? {one} : {other}", _CHOICE
        if symbol == "not" or (symbol == "-" and len(at) == 1):
            # Brackets around a second sign: two are another operator.
            return f"{'!' if symbol == 'not' else '-'}{self.expression(at[0], _UNARY + 1)}", _UNARY
        if symbol in _OPERATORS:
            operator, tightness = _OPERATORS[symbol]
            left, right = self.expression(at[0], tightness), self.expression(at[1], tightness + 1)
            return f"{left} {operator} {right}", tightness
        return f"xp.{_FUNCTIONS.get(symbol, symbol)}({', '.join(map(self.expression, at))})", _ATOM

    def _uses(self) -> dict[int, int]:
        """How often each operation that matters is used."""
        counts: dict[int, int] = {}
        left = list(self._results)
        while left:
            at = left.pop()
            if isinstance(at, tuple) and at[0] == "op":
                counts[at[1]] = counts.get(at[1], 0) + 1
                if counts[at[1]] == 1:
                    left += self._operations[at[1]][1:]
        return counts

    def _read(self, *operands: Any) -> Iterator[Any]:
        """The inputs and kept operations that operands are made of."""
        for at in operands:
            if isinstance(at, tuple) and at[0] == "op" and at[1] not in self._wanted:
                yield from self._read(*self._operations[at[1]][1:])
            elif isinstance(at, tuple):
                yield at

    def _name(self, k: int, place: int) -> str:
        """Bind an operation to its name, or to another while a value of that name is still read later."""
        later = set().union(*self._reads[place + 1 :])
        name, tries = self._wanted[k], 1
        while any(name == other and at in later for at, other in self._bound.items()) or (
            name in self._taken and name not in self._bound.values()
        ):
            tries += 1
            name = f"x{tries}" if self._wanted[k] == "x1" else f"{self._wanted[k]}_{tries}"
        self._bound = {at: other for at, other in self._bound.items() if other != name}
        self._bound["op", k] = name
        return name

    def _declared(self, written: Sequence[tuple[str, str]]) -> Iterator[str]:
        seen = set(self.inputs)
        for place, (name, value) in enumerate(written):
            again = any(name == other for other, _ in written[place + 1 :])
            declared = "" if name in seen else "let " if again else "const "
            seen.add(name)
            yield f"{declared}{name} = {value};"
