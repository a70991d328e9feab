"""The formula of a rule as LaTeX, found by running its `update` and `scalars` on symbols.

Nothing is typed in by hand: the lines are those operations that a kernel has, under the names that the rule's
own text gives them.
"""

from __future__ import annotations

import functools
import inspect
import math
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from types import FrameType
from typing import Any

from adamas.backends import check_rule, host_carry, host_scalars, trace_scalars
from adamas.backends._check import input_names, trace_measure
from adamas.backends._sums import counts_of
from adamas.backends._symbols import Symbol, Trace
from adamas.backends._trace import trace
from adamas.rules import Rule

__all__ = ["formula_lines", "formula_of"]

# An expression: ("number", x), ("symbol", its LaTeX), or an operation and its operands.
Expression = tuple[Any, ...]

_LETTERS = {
    "p": r"\theta", "eps": r"\varepsilon", "lr": r"\alpha", "momentum": r"\mu", "rho": r"\rho", "mu": r"\mu",
    "step": r"\alpha", "delta": r"\Delta", "dampening": r"\tau", "lr_decay": r"\eta",
    "momentum_decay": r"\psi",
    "mean": r"\bar g", "v_max": r"\bar v", "mu_product": r"\Pi", "rho_inf": r"\rho^\infty", "ahead": r"\mu^+",
    "eps_inside": r"\varepsilon^\mathrm{in}", "step_g": r"\alpha^{g}", "step_m": r"\alpha^{m}",
    "weight_decay": r"\lambda", "correction1": "c_1", "correction2": "c_2",
    "beta": r"\beta", "beta1": r"\beta_1", "beta2": r"\beta_2", "beta3": r"\beta_3", "d0": "d_0",
    "alpha": r"\alpha", "gamma": r"\gamma",
}  # fmt: skip
_RELATIONS = {"<": "<", "<=": r"\le", ">": ">", ">=": r"\ge", "==": "=", "!=": r"\ne"}
_CONNECTIVES = {"&": r"\wedge", "|": r"\vee", "^": r"\oplus"}


def formula_of(rule: Rule) -> str:
    """The formula of a rule as one aligned block of LaTeX."""
    lines = [f"{left} &= {right}" for left, right in formula_lines(rule)]
    return "\\begin{split}\n" + " \\\\\n".join(lines) + "\n\\end{split}"


def formula_lines(rule: Rule) -> list[tuple[str, str]]:
    """Both sides of each equation, in the order of computation: scalars of the step, slots, the parameter."""
    form = check_rule(rule)
    inputs = input_names(rule, form)
    arrays = 2 + len(form.slots)
    n_factors = counts_of(form, host_scalars(rule, 1, *host_carry(rule, 1, *rule.carried.values())))[1]
    n_scalars = len(inputs) - arrays - n_factors
    scalar_lines, scalars = _scalar_lines(rule, inputs[arrays : arrays + n_scalars])
    with _locals_of(form.update.__name__) as found:
        traced = trace(type(rule).__name__, form.update, inputs, arrays)
    known = [_subscript(_letter(name), "t-1") for name in inputs[:arrays]]
    known[1] = "g_t"
    values: list[Expression] = [("symbol", each) for each in known] + scalars
    if form.reduction is not None:
        factors = [_subscript(_letter(name), "t") for name in inputs[arrays + n_scalars :]]
        scalar_lines += _sum_lines(rule, values, scalars, factors)
        values += [("symbol", each) for each in factors]
    names = {at: _subscript(_letter(name), "t") for name, at in found.items() if name not in ("p", "g")}
    slots = zip(form.slots, traced.results[1:], strict=True)
    names |= {at: _subscript(_letter(name), "t") for name, at in slots if _is_operation(at)}
    kept = {*filter(_is_operation, traced.results[1:]), *_repeated(traced, names)}
    tree = _Tree(traced, values, {at: name for at, name in names.items() if at in kept})
    lines = [*tree.lines(), (r"\theta_t", render(tree.definition(traced.results[0])))]
    return scalar_lines + lines


def _sum_lines(
    rule: Rule, values: Sequence[Expression], scalars: Sequence[Expression], factors: Sequence[str]
) -> list[tuple[str, str]]:
    """The equations of what a rule measures, and of what it makes of the sums."""
    form, title = check_rule(rule), type(rule).__name__
    assert form.reduction is not None
    kept = [("symbol", _subscript(_letter(name), "t-1")) for name in form.reduction.kept]
    measured = trace_measure(rule, form)
    names = list(inspect.signature(form.reduction.factors).parameters)
    sums = [_letter(name) for name in names[: len(measured.results)]]
    terms = _Tree(measured, [*values, *kept], {})
    lines = [
        (left, rf"\sum {render(terms.definition(at), 2)}")
        for left, at in zip(sums, measured.results, strict=True)
    ]
    with _locals_of(form.reduction.factors.__name__) as found:
        made = trace(title, form.reduction.factors, names, 0, results=len(factors))
    named = _repeated(made, {at: _subscript(_letter(name), "t") for name, at in found.items()})
    results = dict(zip(made.results, factors, strict=True))
    named |= {at: name for at, name in results.items() if _is_operation(at)}
    tree = _Tree(made, [*(("symbol", each) for each in sums), *scalars, *kept], named)
    plain = [(name, render(tree.definition(at))) for at, name in results.items() if not _is_operation(at)]
    return [*lines, *tree.lines(), *plain]


def _scalar_lines(rule: Rule, names: Sequence[str]) -> tuple[list[tuple[str, str]], list[Expression]]:
    """The equations of a step's scalars, and what stands for each of them in `update`."""
    hyper = [field.name for field in fields(rule) if type(getattr(rule, field.name)) is float]  # type: ignore[arg-type]
    fixed = {f.name: getattr(rule, f.name) for f in fields(rule) if f.name not in hyper}  # type: ignore[arg-type]

    def make(live: Sequence[Any]) -> tuple[Rule, Sequence[Any]]:
        return type(rule).unchecked(**dict(zip(hyper, live, strict=True)), **fixed), ()

    values = [getattr(rule, name) for name in hyper]
    with _locals_of("scalars") as found:
        carried, scalars = trace_scalars(make, values, list(rule.carried))
    letters = {name: _letter(name) for name in hyper}
    if "alpha" in letters and "lr" in letters:
        letters["lr"] = r"\gamma"
    known = [letters[name] for name in hyper] + ["t"]

    def inputs(when: str) -> list[Expression]:
        running = [_subscript(_letter(name), when) for name in rule.carried]
        return [("symbol", each) for each in known + running]

    lines = []
    before = _Tree(carried, inputs("t-1"), {})
    for name, at in zip(rule.carried, carried.results, strict=True):
        lines.append((_subscript(_letter(name), "t"), render(before.definition(at))))
    repeated = _repeated(scalars, {at: _subscript(_letter(name), "t") for name, at in found.items()})
    tree = _Tree(scalars, inputs("t"), repeated)
    lines += tree.lines()
    stands = []
    for name, at in zip(names, scalars.results, strict=True):
        value = tree.value(at)
        if _is_short(value):
            stands.append(value)
        else:
            left = _subscript(_letter(name), "t")
            lines.append((left, render(value)))
            stands.append(("symbol", left))
    return lines, stands


@contextmanager
def _locals_of(name: str) -> Iterator[dict[str, Any]]:
    """The operations that the local names of a function of this name stand for as it returns."""
    found: dict[str, Any] = {}

    def look(frame: FrameType, event: str, _: Any) -> None:
        if event == "return" and frame.f_code.co_name == name:
            symbols = {key: x.at for key, x in frame.f_locals.items() if isinstance(x, Symbol)}
            found.update({key: at for key, at in symbols.items() if _is_operation(at)})

    before = sys.getprofile()
    sys.setprofile(look)
    try:
        yield found
    finally:
        sys.setprofile(before)


def _repeated(found: Trace, names: Mapping[Any, str]) -> dict[Any, str]:
    """Those named operations that are used more than once, and are worth a line of their own."""
    uses = Counter(at for _, *operands in found.operations for at in operands)
    uses.update(found.results)
    return {at: name for at, name in names.items() if uses[at] > 1}


class _Tree:
    """The operations of a trace as expressions, with a symbol for those that have a line of their own."""

    def __init__(self, found: Trace, inputs: Sequence[Expression], names: Mapping[Any, str]) -> None:
        self.found, self.inputs, self.names = found, inputs, names

    def lines(self) -> list[tuple[str, str]]:
        """The equations of the named operations, in the order of computation."""
        # A named operation that only renames another, or is an input, needs no line.
        return [(self.names[at], render(self.definition(at))) for at in sorted(self.names)]

    def value(self, at: Any) -> Expression:
        return ("symbol", self.names[at]) if at in self.names else self.definition(at)

    def definition(self, at: Any) -> Expression:
        if not isinstance(at, tuple):
            return ("number", float.fromhex(at) if isinstance(at, str) else at)
        if at[0] == "in":
            return self.inputs[at[1]]
        operation, *operands = self.found.operations[at[1]]
        return simplified(operation, *map(self.value, operands))


def simplified(operation: str, *x: Expression) -> Expression:
    """An operation, less what leaves its operand as it is: adding 0, multiplying by 1."""
    zero, one = ("number", 0.0), ("number", 1.0)
    if operation in ("+", "-") and len(x) == 2 and x[1] == zero:
        return x[0]
    if operation == "+" and x[0] == zero:
        return x[1]
    if operation in ("*", "/") and x[1] == one:
        return x[0]
    if operation == "*" and x[0] == one:
        return x[1]
    if operation == "*" and zero in x:
        return zero
    return (operation, *x)


def render(x: Expression, above: int = 0) -> str:
    """An expression as LaTeX; in parentheses where it binds less than `above`."""
    strength, text = _rendered(x)
    if strength >= above:
        return text
    tall = r"\frac" in text or r"\begin" in text
    return rf"\left({text}\right)" if tall else f"({text})"


def _rendered(x: Expression) -> tuple[int, str]:
    operation, *parts = x
    if operation == "symbol":
        # One that has a superscript takes no second one.
        return (4 if "^" in parts[0] else 5), parts[0]
    if operation == "number":
        return (5 if parts[0] >= 0 else 3), _number(parts[0])
    if operation in _RELATIONS or operation in _CONNECTIVES:
        sign = (_RELATIONS | _CONNECTIVES)[operation]
        return 0, f"{render(parts[0], 1)} {sign} {render(parts[1], 1)}"
    if operation in "+-":
        if len(parts) == 1:
            return 3, f"-{render(parts[0], 3)}"
        return 1, f"{render(parts[0], 1)} {operation} {render(parts[1], 2)}"
    if operation == "*":
        return 2, _product(x)
    if operation == "/":
        return 4, rf"\frac{{{render(parts[0])}}}{{{render(parts[1])}}}"
    if operation == "**":
        return _power(*parts)
    return _FUNCTIONS[operation](*parts)


def _power(base: Expression, exponent: Expression) -> tuple[int, str]:
    if exponent == ("number", 0.5):
        return 5, rf"\sqrt{{{render(base)}}}"
    return 4, f"{render(base, 5)}^{{{render(exponent)}}}"


def _product(x: Expression) -> str:
    """Factors in their order, equal ones as a power."""
    factors: Counter[Expression] = Counter()
    left = [x]
    while left:
        each = left.pop()
        if each[0] == "*":
            left += [each[2], each[1]]
        else:
            factors[each] += 1
    numbers = [each for each in factors if each[0] == "number"]
    ordered = numbers + [each for each in factors if each[0] != "number"]
    parts = [f"{render(f, 5)}^{{{factors[f]}}}" if factors[f] > 1 else render(f, 3) for f in ordered]
    return functools.reduce(lambda a, b: a + (r" \cdot " if b[0].isdigit() else r" \, ") + b, parts)


def _where(condition: Expression, yes: Expression, no: Expression) -> tuple[int, str]:
    rows = rf"{render(yes)} & \text{{if }} {render(condition)} \\ {render(no)} & \text{{else}}"
    return 5, rf"\begin{{cases}} {rows} \end{{cases}}"


def _call(name: str) -> Callable[..., tuple[int, str]]:
    return lambda *x: (5, f"{name}({', '.join(map(render, x))})")


_FUNCTIONS: Mapping[str, Callable[..., tuple[int, str]]] = {
    "sqrt": lambda x: (5, rf"\sqrt{{{render(x)}}}"),
    "abs": lambda x: (5, rf"\left|{render(x)}\right|"),
    "maximum": _call(r"\max"),
    "minimum": _call(r"\min"),
    "atan2": _call(r"\mathrm{atan2}"),
    "log": _call(r"\ln"),
    "sign": _call(r"\mathrm{sign}"),
    "not": lambda x: (3, rf"\neg {render(x, 5)}"),
    "where": _where,
    "//": lambda a, b: (5, rf"\left\lfloor\frac{{{render(a)}}}{{{render(b)}}}\right\rfloor"),
    "%": lambda a, b: (2, rf"{render(a, 3)} \bmod {render(b, 3)}"),
}


def _number(x: float) -> str:
    if math.isinf(x):
        return r"\infty" if x > 0 else r"-\infty"
    return str(int(x)) if float(x).is_integer() and abs(x) < 1e6 else f"{x:g}"


def _letter(name: str) -> str:
    if name in _LETTERS:
        return _LETTERS[name]
    spaced = name.replace("_", r"\ ")
    return name if len(name) == 1 else rf"\mathrm{{{spaced}}}"


def _subscript(letter: str, when: str) -> str:
    base, _, index = letter.partition("_")
    return rf"{base}_{{{index + ', ' if index else ''}{when}}}"


def _is_operation(at: Any) -> bool:
    return isinstance(at, tuple) and at[0] == "op"


def _is_short(x: Expression) -> bool:
    """Whether an expression is read as easily in its place: a symbol, a number, or 1 less a symbol."""
    plain = ("symbol", "number")
    return x[0] in plain or (x[0] == "-" and len(x) == 3 and x[1] == ("number", 1.0) and x[2][0] == "symbol")
