"""Numbers that are not known yet, and the operations on them, recorded one after another."""

from __future__ import annotations

import ast
import math
import numbers
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ._bind import HOST
from ._names import FUNCTIONS

__all__ = ["ALLOWED", "Mistake", "Symbol", "Trace", "as_number", "symbolic_namespace"]

ALLOWED = f"xp.{'/'.join(FUNCTIONS)}"
_SYMBOLS = {
    "add": "+", "sub": "-", "mul": "*", "truediv": "/", "floordiv": "//", "mod": "%", "pow": "**",
    "lt": "<", "le": "<=", "gt": ">", "ge": ">=", "eq": "==", "ne": "!=", "and": "&", "or": "|", "xor": "^",
}  # fmt: skip
_COMPARISONS = ("<", "<=", ">", ">=", "==", "!=")


class Mistake(Exception):  # noqa: N818 - turned into the error it is before anybody sees it
    """An obstacle to tracing; `fatal` where whole arrays cannot take it either."""

    def __init__(self, message: str, *, fatal: bool = False, line: tuple[str, int] | None = None) -> None:
        super().__init__(message)
        self.fatal, self.line = fatal, line


@dataclass
class Trace:
    """The operations of an update in order, each on inputs, earlier operations and numbers.

    Attributes:
        inputs: the names of the arguments.
        operations: each a symbol or function of `xp`, and its operands.
        results: what the update returns.
        literal: whether a kernel may run the source as it stands: arithmetic on conditions would widen.
    """

    inputs: list[str]
    operations: list[tuple[Any, ...]] = field(default_factory=list)
    results: list[Any] = field(default_factory=list)
    literal: bool = True
    _known: dict[tuple[Any, ...], int] = field(default_factory=dict)

    def record(self, operation: str, *operands: Any) -> Symbol:
        """The value of an operation, the same for the same operands."""
        entry = (operation, *map(self.operand, operands))
        if entry not in self._known:
            self._known[entry] = len(self.operations)
            self.operations.append(entry)
        condition = operation in _COMPARISONS or operation in ("&", "|", "^", "not")
        elementwise = any(isinstance(x, Symbol) and x.elementwise for x in operands)
        return Symbol(self, ("op", self._known[entry]), condition, elementwise)

    @staticmethod
    def operand(x: Any) -> Any:
        if isinstance(x, Symbol):
            return x.at
        return x if type(x) in (int, bool) else float(x).hex()

    def same_as(self, other: Trace) -> bool:
        """Whether both compute the same."""
        return (self.operations, self.results) == (other.operations, other.results)

    def text(self) -> str:
        """The source of a function `update` that computes this, for a compute type called `real`."""
        names = [name + "_" if name in ("real", "xp", "numpy") else name for name in self.inputs]
        prefix = "x"
        while any(name.startswith(prefix) for name in names):
            prefix += "x"

        def operand(at: Any) -> str:
            if isinstance(at, tuple):
                return names[at[1]] if at[0] == "in" else f"{prefix}{at[1]}"
            if isinstance(at, (int, bool)):
                return repr(at)
            number = float.fromhex(at)
            return "real(numpy.nan)" if math.isnan(number) else f"real({ast.unparse(ast.Constant(number))})"

        lines = [f"def update({', '.join(names)}):"]
        for k, (operation, *at) in enumerate(self.operations):
            parts = list(map(operand, at))
            if operation in FUNCTIONS:
                value = f"xp.{operation}({', '.join(parts)})"
            else:
                value = f"{operation} {parts[0]}" if len(parts) == 1 else f"{parts[0]} {operation} {parts[1]}"
            lines.append(f"    {prefix}{k} = {value}")
        lines.append(f"    return ({', '.join(map(operand, self.results))},)")
        return "\n".join(lines)


class Symbol:
    """A number not known yet: an element of an array, a scalar of the step, or a result of both."""

    __array_ufunc__ = None  # NumPy's numbers then leave arithmetic with a symbol to the symbol
    __hash__ = object.__hash__

    def __init__(self, owner: Trace, at: tuple[str, int], condition: bool, elementwise: bool) -> None:
        self.owner, self.at, self.condition, self.elementwise = owner, at, condition, elementwise

    def number(self) -> Symbol:
        """The symbol for arithmetic: 1 and 0 for a condition."""
        if not self.condition:
            return self
        self.owner.literal = False
        return self.owner.record("where", self, 1.0, 0.0)

    def __neg__(self) -> Symbol:
        return self.owner.record("-", self.number())

    def __pos__(self) -> Symbol:
        return self

    def __abs__(self) -> Symbol:
        return self.owner.record("abs", self.number())

    def __invert__(self) -> Symbol:
        if not self.condition:
            raise Mistake("~ is for conditions", fatal=True)
        self.owner.literal = False
        return self.owner.record("not", self)

    def __bool__(self) -> bool:
        raise Mistake(
            "an `if`, `and`, `or` or chain of comparisons on numbers of the step: "
            "write xp.where(condition, a, b), and & or | between conditions",
            fatal=self.elementwise,
        )

    def __float__(self) -> float:
        raise Mistake(f"a function of one number, given an array: write {ALLOWED}", fatal=True)

    __int__ = __float__

    def __call__(self, *_: Any) -> Any:
        raise Mistake("a number is called like a function", fatal=True)

    def __iter__(self, *_: Any) -> Any:
        raise Mistake("an update sees one element at a time: nothing to index, count or run over", fatal=True)

    __len__ = __getitem__ = __iter__

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        instead = f"write xp.{name}(...)" if name in FUNCTIONS else f"an update has operators and {ALLOWED}"
        raise Mistake(f"'.{name}': {instead}")


def _operator(symbol: str, swapped: bool) -> Callable[[Symbol, Any], Any]:
    def apply(self: Symbol, other: Any) -> Any:
        if not isinstance(other, (Symbol, numbers.Real)):
            other = _as_constant(other)
        if symbol in "&|^":
            if not all(x.condition if isinstance(x, Symbol) else isinstance(x, bool) for x in (self, other)):
                raise Mistake(f"{symbol} is for conditions", fatal=True)
            return self.owner.record(symbol, *((other, self) if swapped else (self, other)))
        x, y = self.number(), other.number() if isinstance(other, Symbol) else other
        if not isinstance(y, Symbol) and not (symbol == "**" and type(y) is int and y >= 0 and not swapped):
            y = float(y)
        return self.owner.record(symbol, *((y, x) if swapped else (x, y)))

    return apply


for _name, _symbol in _SYMBOLS.items():
    setattr(Symbol, f"__{_name}__", _operator(_symbol, False))
    if _symbol not in _COMPARISONS:
        setattr(Symbol, f"__r{_name}__", _operator(_symbol, True))


def _as_constant(x: Any) -> float:
    if getattr(x, "ndim", None) == 0 and hasattr(x, "item"):
        return float(x.item())
    raise Mistake(f"a constant of type {type(x).__name__}: write numbers")


class _Namespace:
    """The `xp` of symbols."""

    def __getattr__(self, name: str) -> Any:
        if name not in FUNCTIONS:
            raise Mistake(f"xp.{name} is unknown: an update has operators and {ALLOWED}")

        def function(*operands: Any) -> Any:
            owner = next((x.owner for x in operands if isinstance(x, Symbol)), None)
            if owner is None:
                return getattr(HOST, name)(*operands)
            if name == "where":
                if not isinstance(operands[0], Symbol):
                    return HOST.where(*operands)
                condition = operands[0] if operands[0].condition else owner.record("!=", operands[0], 0.0)
                owner.literal = owner.literal and condition is operands[0]
                operands = condition, *map(as_number, operands[1:])
            else:
                operands = tuple(map(as_number, operands))
            if len(operands) != {"where": 3, "maximum": 2, "minimum": 2, "atan2": 2}.get(name, 1):
                raise Mistake(f"xp.{name} with {len(operands)} arguments", fatal=True)
            return owner.record(name, *operands)

        return function


def as_number(x: Any) -> Any:
    """A symbol of a number, or a float."""
    return (
        x.number() if isinstance(x, Symbol) else float(x if isinstance(x, numbers.Real) else _as_constant(x))
    )


def symbolic_namespace() -> Any:
    """The `xp` of symbols, for generated source that is to be traced."""
    return _Namespace()
