"""A rule as the text of a JavaScript object; see `emit`."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from ...rules import Rule
from .._base import RuleSourceError
from .._check import check_rule, input_names
from .._symbols import Trace
from .._trace import trace
from .._trace_scalars import LiveTrace, trace_scalars
from .names import watched
from .text import Body, identifier, number

__all__ = ["RUNTIME", "emit"]

# Defines `xp` and `trajectory`.
RUNTIME = files(__package__).joinpath("runtime.js").read_text(encoding="utf-8")


def emit(rule: Rule | type[Rule]) -> str:
    """The rule as an object expression of JavaScript, which computes in float64 what Python does.

    Its parts are `name`; `hyperparameters`, the numbers that `scalars` depends on; `variant`, the other
    fields, at whose values the text was written; `slots`, each with its value before the first step and
    whether it can be negative; `scalars(h, t, ...)` and, where the rule carries values, `carried` and
    `carry(h, t, ...)`; and `update(p, g, ...)`, which returns the new p and slots of one element. Where
    `scalars` or `carry` branch on hyperparameters, `holds(h)` tells whether the text is right for others.

    Every operation is one of float64, in the rule's order, so all bits are those of `backends.reference`, but
    for these: a power is rounded to nearest, where C's `pow`, which Python calls, is now and then the number
    beside it, and so are a logarithm and the browser's atan2; the larger of two zeros may be the other one.

    Args:
        rule: an update rule, or its class, of which the defaults are taken.

    Raises:
        RuleSourceError: the rule does something that cannot be traced; the message says what to write.
        TypeError, ValueError: it is no rule.
    """
    rule = rule() if isinstance(rule, type) else rule
    form = check_rule(rule)
    if form.reduction is not None:
        raise RuleSourceError(
            f"{type(rule).__name__} needs sums over a tensor, and the page steps points, each by itself"
        )
    live = [name for name, value in _fields(rule).items() if type(value) is float]
    with watched() as names:
        update = trace(type(rule).__name__, form.update, input_names(rule, form), 2 + len(form.slots))
        carry, scalars = _live(rule, live)
    step = Body(update, names.of(update))
    of_t = {name: Body(found, names.of(found)) for name, found in (("carry", carry), ("scalars", scalars))}
    used = {k for each in of_t.values() for k in each.used() if k < len(live)}
    used |= {k for found in (carry, scalars) for k in found.decided_by()}
    own = {name for k, name in enumerate(live) if k in used}
    parts = [
        f"name: {json.dumps(type(rule).__name__)}",
        f"hyperparameters: {_record({k: x for k, x in _fields(rule).items() if k in own})}",
        f"variant: {_record({k: x for k, x in _fields(rule).items() if k not in own})}",
        f"slots: {_slots(form.slots)}",
    ]
    if rule.carried:
        parts += [f"carried: {_record(rule.carried)}", _method("carry", of_t["carry"], len(live))]
    parts += [*_holds((carry, scalars), len(live)), _method("scalars", of_t["scalars"], len(live))]
    parts.append(_function("update", step.inputs, step.lines()))
    return "{\n" + "".join(f"  {part},\n" for part in parts) + "}"


def _fields(rule: Rule) -> dict[str, Any]:
    return {field.name: getattr(rule, field.name) for field in dataclasses.fields(rule)}  # type: ignore[arg-type]


def _live(rule: Rule, live: Sequence[str]) -> tuple[LiveTrace, LiveTrace]:
    """The traces of carried values and scalars, whose inputs have their names."""

    def make(numbers: Sequence[Any]) -> tuple[Rule, Sequence[Any]]:
        changed = dict(zip(live, numbers, strict=True))
        return type(rule).unchecked(**{**_fields(rule), **changed}), ()

    found = trace_scalars(make, [getattr(rule, name) for name in live], list(rule.carried))
    for each in found:
        each.inputs = [*live, "t", *rule.carried]
    return found


def _record(values: Any) -> str:
    """An object of numbers, bools and strings on one line."""
    parts = [
        f"{identifier(name)}: {number(x) if type(x) is float else json.dumps(x, ensure_ascii=False)}"
        for name, x in values.items()
    ]
    return f"{{ {', '.join(parts)} }}" if parts else "{}"


def _slots(slots: Any) -> str:
    parts = [
        f"{identifier(name)}: {_record({'initial': float(slot.initial), 'signed': slot.signed})}"
        for name, slot in slots.items()
    ]
    return f"{{ {', '.join(parts)} }}" if parts else "{}"


def _method(name: str, body: Body, live: int) -> str:
    """`scalars` or `carry`: the hyperparameters that it reads come out of `h`."""
    read = [body.inputs[k] for k in sorted(body.used()) if k < live]
    lines = body.lines()
    if read:
        # One of them may get another value, as a variable of the rule does that has its name.
        kind = "let" if any(line.split(" ")[0] in read for line in lines) else "const"
        lines.insert(0, f"{kind} {{ {', '.join(read)} }} = h;")
    return _function(name, ["h", *body.inputs[live:]], lines)


def _function(name: str, arguments: Sequence[str], lines: Sequence[str]) -> str:
    return f"{name}({', '.join(arguments)}) {{\n" + "".join(f"    {line}\n" for line in lines) + "  }"


def _holds(traces: Sequence[LiveTrace], live: int) -> list[str]:
    """`holds(h)`, where anything has branched on hyperparameters."""
    conditions: dict[str, None] = {}
    read: set[str] = set()
    for found in traces:
        decided = Trace(found.inputs, found.operations, list(found.decisions))
        body = Body(decided, {})
        read |= {body.inputs[k] for k in body.used() if k < live}
        for at, way in found.decisions.items():
            text = body.expression(at, 0 if way else 11)
            conditions[text if way else f"!{text}"] = None
    if not conditions:
        return []
    joined = " && ".join(f"({each})" if len(conditions) > 1 else each for each in conditions)
    lines = [f"const {{ {', '.join(sorted(read))} }} = h;", f"return {joined};"]
    return [_function("holds", ["h"], lines)]
