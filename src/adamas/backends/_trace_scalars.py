"""The arithmetic of a rule's scalars, found by running it on symbols for t and for hyperparameters."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..rules import Rule
from ..rules._base import Live
from ._base import RuleSourceError
from ._bind import HOST, array_carry, array_scalars
from ._symbols import Mistake, Symbol, Trace, as_number, symbolic_namespace
from ._trace import place, raised_at

__all__ = ["LiveTrace", "trace_scalars"]

_OPERATORS: Mapping[str, Callable[..., Any]] = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv, "**": operator.pow,
    "//": operator.floordiv, "%": operator.mod, "<": operator.lt, "<=": operator.le, ">": operator.gt,
    ">=": operator.ge, "==": operator.eq, "!=": operator.ne, "&": operator.and_, "|": operator.or_,
    "^": operator.xor, "not": operator.not_,
}  # fmt: skip


@dataclass
class LiveTrace(Trace):
    """A trace whose inputs are live hyperparameters and then others, of which nothing is known.

    A branch on a hyperparameter takes the way of its value now, and is noted.

    Attributes:
        values: those of the hyperparameters as the trace was made.
        decisions: what was branched on, and which way.
    """

    values: list[float] = field(default_factory=list)
    decisions: dict[Any, bool] = field(default_factory=dict)

    def record(self, operation: str, *operands: Any) -> Symbol:
        """The value of an operation, which is live where its operands are."""
        found = super().record(operation, *operands)
        live = all(not isinstance(x, Symbol) or isinstance(x, LiveSymbol) for x in operands)
        return LiveSymbol(self, found.at, found.condition, False) if live else found

    def hyperparameters(self) -> list[LiveSymbol]:
        """The symbols of the live inputs."""
        return [LiveSymbol(self, ("in", k), False, False) for k in range(len(self.values))]

    def others(self) -> list[Symbol]:
        """The symbols of the other inputs."""
        return [Symbol(self, ("in", k), False, False) for k in range(len(self.values), len(self.inputs))]

    def decide(self, at: Any) -> bool:
        """Which way a branch goes."""
        if at not in self.decisions:
            self.decisions[at] = bool(self._value(at, self.values))
        return self.decisions[at]

    def holds(self, values: Sequence[float]) -> bool:
        """Whether the branches go the same way with other hyperparameters."""
        return all(bool(self._value(at, values)) == way for at, way in self.decisions.items())

    def decided_by(self) -> set[int]:
        """The places of the inputs on which a branch depends."""
        found: set[int] = set()
        left = list(self.decisions)
        while left:
            at = left.pop()
            if isinstance(at, tuple) and at[0] == "in":
                found.add(at[1])
            elif isinstance(at, tuple):
                left += self.operations[at[1]][1:]
        return found

    def _value(self, at: Any, values: Sequence[float]) -> Any:
        if not isinstance(at, tuple):
            return at if isinstance(at, (int, bool)) else float.fromhex(at)
        if at[0] == "in":
            return values[at[1]]
        operation, *operands = self.operations[at[1]]
        parts = [self._value(operand, values) for operand in operands]
        try:
            if operation == "-" and len(parts) == 1:
                return -parts[0]
            return (_OPERATORS.get(operation) or getattr(HOST, operation))(*parts)
        except (ArithmeticError, ValueError):
            return math.nan

    @property
    def key(self) -> Any:
        """Equal for traces that compute the same."""
        return tuple(self.inputs), tuple(self.operations), tuple(self.results)


class LiveSymbol(Symbol, Live):
    """A hyperparameter, or what is computed of hyperparameters alone."""

    def __bool__(self) -> bool:
        assert isinstance(self.owner, LiveTrace)
        return self.owner.decide(self.at)


def trace_scalars(
    make: Callable[[Sequence[Any]], tuple[Rule, Sequence[Any]]],
    values: Sequence[float],
    carried: Sequence[str],
) -> tuple[LiveTrace, LiveTrace]:
    """The traces of a step's carried values and of its scalars.

    Their inputs are the hyperparameters h0, h1, ..., then t, then the carried values, of the step before for
    the first and of this one for the second. The results of the second begin with what else `make` returns.

    Args:
        make: the rule, and other numbers, of live hyperparameters.
        values: their values now, which branches go by.
        carried: the names of the rule's carried values.

    Raises:
        RuleSourceError: the scalars do something that a device cannot; the message says what to write.
    """
    names = [f"h{k}" for k in range(len(values))] + ["t", *(f"c{k}" for k in range(len(carried)))]
    traces = []
    for step in (_carry, _scalars):
        found = LiveTrace(list(names), values=list(values))
        title = "a rule"
        try:
            rule, first = make(found.hyperparameters())
            title = type(rule).__name__
            results = [*(first if step is _scalars else ()), *_called(step, rule, found.others())]
            found.results = [Trace.operand(as_number(x)) for x in results]
        except Mistake as mistake:
            line = mistake.line or raised_at(mistake)
            name = "scalars" if step is _scalars else "carry"
            raise RuleSourceError(f"{title}.{name}: {mistake}{place(line)}") from None
        traces.append(found)
    return traces[0], traces[1]


def _called(step: Callable[..., Sequence[Any]], rule: Rule, others: Sequence[Symbol]) -> Sequence[Any]:
    try:
        return step(rule, *others)
    except Mistake:
        raise
    except Exception as error:
        raise Mistake(f"{type(error).__name__}: {error}"[:120], line=raised_at(error)) from error


def _carry(rule: Rule, t: Any, *carried: Any) -> Sequence[Any]:
    return array_carry(rule, t, *carried, xp=symbolic_namespace()) if carried else ()


def _scalars(rule: Rule, t: Any, *carried: Any) -> Sequence[Any]:
    return array_scalars(rule, t, *carried, xp=symbolic_namespace())
