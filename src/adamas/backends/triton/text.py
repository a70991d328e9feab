"""A rule's update and a format's codes as the text of Triton functions, an operation a line.

Both are run once on symbols. Every operation is rounded once: division and roots are those to nearest, and a
power is a product or a root.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import FunctionType, SimpleNamespace
from typing import Any

import numpy as np

from ...formats import Format
from .._base import RuleSourceError
from .._symbols import Trace

__all__ = ["format_text", "scalars_text", "update_text"]

_OPERATORS = {"+", "-", "*", "<", "<=", ">", ">=", "==", "!=", "&", "|", "^"}


def update_text(found: Trace, n_arrays: int, wide: bool) -> str:
    """The function `update` of what a trace has found, in float64 where `wide`, else in float32.

    Raises:
        RuleSourceError: it has an operation that kernels for GPUs do not have.
    """
    spell = _Spelling(found, wide)
    lines = spell.lines()
    varying = _varying(found, n_arrays)
    results = [
        spell.operand(at) if varying(at) else f"tl.where(p == p, {spell.operand(at)}, {spell.operand(at)})"
        for at in found.results
    ]
    names = ", ".join(spell.names)
    return "\n".join(["@triton.jit", f"def update({names}):", *lines, f"    return ({', '.join(results)},)"])


def scalars_text(name: str, found: Trace) -> str:
    """The function of a trace in float64, once a row: it has all powers, and whole quotients.

    Raises:
        RuleSourceError: it has an operation that kernels for GPUs do not have.
    """
    spell = _Spelling(found, True, like="t_")
    results = "".join(f"{spell.operand(at)}, " for at in found.results)
    head = ["@triton.jit", f"def {name}({', '.join(spell.names)}):"]
    return "\n".join([*head, *spell.lines(), f"    return ({results.rstrip(' ')})"])


def _varying(found: Trace, n_arrays: int) -> Callable[[Any], bool]:
    """Whether an operand differs from element to element."""
    known: list[bool] = []

    def varying(at: Any) -> bool:
        if not isinstance(at, tuple):
            return False
        return at[1] < n_arrays if at[0] == "in" else known[at[1]]

    for _, *operands in found.operations:
        known.append(any(map(varying, operands)))
    return varying


class _Spelling:
    """How Triton spells the operations of a trace."""

    def __init__(self, found: Trace, wide: bool, like: str | None = None) -> None:
        # "x" and a number are the names of results; "real" and "tl" have their meaning.
        arrays = ("p", "g")
        self.names = [name if name in arrays else f"{name}_" for name in found.inputs]
        self.operations, self.wide, self.like = found.operations, wide, like

    def lines(self) -> list[str]:
        return [f"    x{k} = {self.operation(*each)}" for k, each in enumerate(self.operations)]

    def operand(self, at: Any) -> str:
        if isinstance(at, tuple):
            return self.names[at[1]] if at[0] == "in" else f"x{at[1]}"
        if isinstance(at, bool):
            return repr(at)
        number = float(at) if isinstance(at, int) else float.fromhex(at)
        # The interpreter does not broadcast conditions without a shape.
        return f"tl.full({'[]' if self.like is None else f'{self.like}.shape'}, {_literal(number)}, real)"

    def operation(self, symbol: str, *at: Any) -> str:
        if symbol == "**":
            return self._power(*at)
        parts = list(map(self.operand, at))
        if symbol in ("//", "%") and self.like:
            return f"{'remainder' if symbol == '%' else 'floor_quotient'}({', '.join(parts)})"
        if symbol == "/":
            return f"{parts[0]} / {parts[1]}" if self.wide else f"tl.div_rn({parts[0]}, {parts[1]})"
        if symbol == "sqrt":
            return self._root(parts[0])
        if symbol in _OPERATORS:
            return f"-{parts[0]}" if len(parts) == 1 else f"{parts[0]} {symbol} {parts[1]}"
        calls = {"abs": "tl.abs", "where": "tl.where", "not": "negated"}
        if symbol == "log" and self.like:
            return f"tl.log({parts[0]})"
        if symbol in calls or symbol in ("maximum", "minimum", "sign", "atan2"):
            return f"{calls.get(symbol, symbol)}({', '.join(parts)})"
        raise RuleSourceError(f"kernels for GPUs have no operator {symbol!r}")

    def _root(self, x: str) -> str:
        return f"tl.sqrt({x})" if self.wide else f"tl.sqrt_rn({x})"

    def _power(self, base: Any, exponent: Any) -> str:
        """A whole or half exponent; another function of the machine would differ from one to the next."""
        n = math.nan if isinstance(exponent, tuple) else float(exponent) if isinstance(exponent, int) else 0.0
        if isinstance(exponent, str):
            n = float.fromhex(exponent)
        x = self.operand(base)
        if n == 0.5:
            return self._root(x)
        if 0 <= n <= (2 if self.like else 64) and n == int(n):
            return f"whole_power({x}, {int(n)})"
        if self.like:
            return f"power({x}, {self.operand(exponent)})"
        raise RuleSourceError(
            "kernels for GPUs have the powers 0.5, 0, 1, 2, ... 64; write others by these, or by xp.sqrt"
        )


def _literal(x: float) -> str:
    return f'float("{x}")' if math.isnan(x) or math.isinf(x) else repr(x)


# Formats.


def format_text(name: str, format: Format) -> str:
    """The functions `decode_NAME` and `encode_NAME` of an array; "" where codes are the values."""
    if format.decode is None or format.encode is None:
        return ""
    decode = ["code", "scale"] if format.scaled else ["code"]
    encode = ["x", "inverse", "random"] if format.scaled else ["x", "random"]
    parts = [(f"decode_{name}", format.decode, decode), (f"encode_{name}", format.encode, encode)]
    return "\n\n\n".join(_function(*part) for part in parts)


def _function(name: str, function: Callable[..., Any], inputs: list[str]) -> str:
    lines: list[str] = []
    result = _rebound(function)(*(_Term(each, lines) for each in inputs))
    head = ["@triton.jit", f"def {name}({', '.join(inputs)}):"]
    return "\n".join([*head, *(f"    {line}" for line in lines), f"    return {_shown(result)}"])


class _Term:
    """A value of a format's code that is not known yet; each operation is a line of text."""

    def __init__(self, name: str, lines: list[str]) -> None:
        self.name, self.lines = name, lines

    def let(self, text: str) -> _Term:
        """Another term, with this text as its value."""
        name = f"t{len(self.lines)}"
        self.lines.append(f"{name} = {text}")
        return _Term(name, self.lines)

    def __neg__(self) -> _Term:
        return self.let(f"-{self.name}")

    __hash__ = object.__hash__


def _shown(x: Any) -> str:
    """A term, or a number."""
    if isinstance(x, _Term):
        return x.name
    if isinstance(x, (float, np.floating)):
        return f"tl.full([], {_literal(float(x))}, tl.float32)"
    return str(int(x))


def _between(symbol: str, swapped: bool) -> Callable[[_Term, Any], _Term]:
    def apply(self: _Term, other: Any) -> _Term:
        pair = (_shown(other), self.name) if swapped else (self.name, _shown(other))
        return self.let(f"{pair[0]} {symbol} {pair[1]}")

    return apply


for _name, _symbol in {
    "add": "+", "sub": "-", "mul": "*", "and": "&", "or": "|", "xor": "^", "lshift": "<<", "rshift": ">>",
    "lt": "<", "le": "<=", "gt": ">", "ge": ">=", "eq": "==", "ne": "!=",
}.items():  # fmt: skip
    setattr(_Term, f"__{_name}__", _between(_symbol, False))
    if _symbol not in ("<", "<=", ">", ">=", "==", "!="):
        setattr(_Term, f"__r{_name}__", _between(_symbol, True))


def _to(dtype: str, numpy_type: Any, suffix: str = "") -> Callable[[Any], Any]:
    """A conversion of terms, and of numbers at once."""

    def convert(x: Any) -> Any:
        if isinstance(x, _Term):
            return x.let(f"{x.name}.to(tl.{dtype}{suffix})")
        return float(numpy_type(x)) if dtype == "float32" else int(x)

    return convert


def _call(name: str) -> Callable[..., _Term]:
    def call(*x: Any) -> _Term:
        term: _Term = next(each for each in x if isinstance(each, _Term))
        return term.let(f"{name}({', '.join(map(_shown, x))})")

    return call


_BITS = ", bitcast=True"
# The `xp` of formats.
_XP = SimpleNamespace(
    bits=_to("uint32", np.uint32, _BITS),
    from_bits=_to("float32", np.float32, _BITS),
    i8=_to("int8", np.int8),
    i32=_to("int32", np.int32),
    u8=_to("uint8", np.uint8),
    u16=_to("uint16", np.uint16),
    u32=_to("uint32", np.uint32),
    f32=_to("float32", np.float32),
    fma=_call("fused"),
    where=_call("tl.where"),
    minimum=_call("minimum"),
    maximum=_call("maximum"),
    half_to_float=lambda code: code.let(f"{code.name}.to(tl.float16{_BITS}).to(tl.float32)"),
    float_to_half=lambda x: x.let(f"{x.name}.to(tl.float16).to(tl.uint16{_BITS})"),
)


def _rebound(function: Any) -> Any:
    """A format's function, and those that it calls, over terms."""
    names: Mapping[str, Any] = {**function.__globals__, "xp": _XP}
    own = {
        name: _rebound(value)
        for name in function.__code__.co_names
        if isinstance(value := names.get(name), FunctionType)
    }
    scope = {**names, **own}
    return FunctionType(function.__code__, scope, function.__name__, function.__defaults__)
