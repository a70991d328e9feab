"""Mistakes in a rule's definition, found before its first step, with what to write instead."""

from __future__ import annotations

import inspect
import types
from collections.abc import Mapping
from typing import Any

from ..rules import SIGNED, Rule
from ..rules._base import Form, check_slots
from ._base import RuleSourceError
from ._probe import check_elementwise, check_functions, check_signs
from ._sums import counts_of
from ._symbols import Trace
from ._trace import line_of, trace

__all__ = ["check_rule", "input_names", "measure_names", "only_shifts", "trace_measure"]

# Rules found right, by class, code of the update and slots: that code, which has to stay alive for its id,
# and the names of its arguments where they do not depend on how many scalars there are.
_RIGHT: dict[tuple[Any, ...], tuple[Any, list[str] | None]] = {}


def check_rule(rule: Rule) -> Form:
    """The rule's form, once it has been seen that slots, scalars and `update` fit together.

    Raises:
        TypeError, ValueError: they do not; one sentence names the rule, the line, and what to write.
    """
    form = rule.form()
    slots, update = form.slots, form.update
    key = _key(rule, form)
    if key in _RIGHT:
        return form
    check_slots(type(rule), slots)
    if form.reduction is not None:
        kept = form.reduction.kept
        if not isinstance(kept, Mapping) or not all(isinstance(x, (int, float)) for x in kept.values()):
            raise TypeError(f"{type(rule).__name__}: kept is a mapping from names to numbers, not {kept!r}")
        check_slots(type(rule), {**dict.fromkeys(kept, SIGNED), **slots})
        if set(kept) & set(slots):
            raise ValueError(
                f"{type(rule).__name__}: {sorted(set(kept) & set(slots))[0]!r} is kept and a slot"
            )
    names = input_names(rule, form)
    try:
        trace(type(rule).__name__, update, names, 2 + len(slots))
        if form.reduction is not None:
            trace_measure(rule, form)
    except RuleSourceError:  # arrays may take what a kernel cannot, a mean for example
        if form.reduction is None:
            check_elementwise(rule, form)
        else:
            scalars = _scalars(rule)
            check_functions(rule, form, scalars, _counts(rule, form, scalars)[1])
    check_signs(rule, form)
    parameters = inspect.signature(update).parameters.values()
    fixed = all(p.kind is not p.VAR_POSITIONAL and p.default is p.empty for p in parameters)
    _RIGHT[key] = _codes(form), names if fixed else None
    return form


def _codes(form: Form) -> list[Any]:
    """The code of the functions of a form."""
    functions = [form.update, *([] if form.reduction is None else form.reduction[1:3])]
    return [getattr(function, "__code__", None) for function in functions]


def _key(rule: Rule, form: Form) -> tuple[Any, ...]:
    return type(rule), tuple(form.slots), *map(id, _codes(form))


def only_shifts(rule: Rule) -> bool:
    """Whether a rule does nothing with p but to add to it, so that its update of p = 0 is the step alone."""
    form = check_rule(rule)
    try:
        found = trace(type(rule).__name__, form.update, input_names(rule, form), 2 + len(form.slots))
    except RuleSourceError:
        return False
    p, moved = ("in", 0), found.results[0]
    uses = [k for k, (_, *operands) in enumerate(found.operations) if p in operands]
    if len(uses) != 1 or moved != ("op", uses[0]) or p in found.results or moved in found.results[1:]:
        return False
    operation, *operands = found.operations[uses[0]]
    added = operation == "+" or (operation == "-" and operands[0] == p)
    later = any(moved in operands for _, *operands in found.operations)
    return added and operands.count(p) == 1 and not later


def input_names(rule: Rule, form: Form) -> list[str]:
    """The names of `update`'s arguments, one for each array and scalar.

    Raises:
        TypeError: they are not p, g, the slots in order, and one for each scalar.
    """
    title, update = type(rule).__name__, form.update
    found = _RIGHT.get(_key(rule, form))
    if found is not None and found[1] is not None:
        return found[1]
    if not isinstance(update, types.FunctionType):
        raise TypeError(
            f"{title}: update is a Python function, update(p, g, *slots, *scalars), "
            f"not {type(update).__name__}"
        )
    line = line_of(update)
    parameters = inspect.signature(update).parameters.values()
    names = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    needed = sum(p.default is p.empty for p in parameters if p.name in names)
    rest = next((p.name for p in parameters if p.kind is p.VAR_POSITIONAL), None)
    if any(p.kind is p.KEYWORD_ONLY and p.default is p.empty for p in parameters):
        raise TypeError(f"{title}.update takes positional arguments alone, without a * between them{line}")
    arrays = ["p", "g", *form.slots]
    if names[:1] == ["self"]:
        raise TypeError(
            f"{title}.update takes no self: write @staticmethod above it and "
            f"update({', '.join(arrays)}, ...){line}"
        )
    if names[: len(arrays)] != arrays[: len(names)] or (len(names) < len(arrays) and rest is None):
        raise TypeError(
            f"{title}.update takes ({', '.join(arrays)}, ...) by the names and order of slots, "
            f"not ({', '.join(names)}){line}"
        )
    scalars = _scalars(rule)
    _, factors = _counts(rule, form, scalars)
    count = len(arrays) + len(scalars) + factors
    if count < needed or (count > len(names) and rest is None):
        also = f", factors(...) {factors}," if form.reduction is not None else ""
        raise TypeError(
            f"{title}: scalars(t) returns {len(scalars)}{also} and update takes "
            f"{len(names) - len(arrays)} after {', '.join(arrays)}: make them agree, "
            f"or name a state array in slots{line}"
        )
    return [*names[:count], *(f"{rest}_{k}" for k in range(count - len(names)))]


def trace_measure(rule: Rule, form: Form) -> Trace:
    """The arithmetic of what a rule measures.

    Raises:
        RuleSourceError, TypeError: as of `trace`.
    """
    assert form.reduction is not None
    n_terms, _ = _counts(rule, form, _scalars(rule))
    names = measure_names(rule, form)
    return trace(type(rule).__name__, form.reduction.measure, names, 2 + len(form.slots), results=n_terms)


def measure_names(rule: Rule, form: Form) -> list[str]:
    """The names of the arguments of `measure`.

    Raises:
        TypeError: they are not p, g, the slots in order, one for each scalar, and the kept values in order.
    """
    assert form.reduction is not None
    measure, title = form.reduction.measure, type(rule).__name__
    names = list(inspect.signature(measure).parameters)
    arrays, kept, scalars = ["p", "g", *form.slots], list(form.reduction.kept), len(_scalars(rule))
    right = names[: len(arrays)] == arrays and names[len(names) - len(kept) :] == kept
    if not right or len(names) != len(arrays) + scalars + len(kept):
        raise TypeError(
            f"{title}.measure takes ({', '.join(arrays)}, ...{''.join(f', {name}' for name in kept)}) with "
            f"{scalars} scalars between, not ({', '.join(names)}){line_of(measure)}"
        )
    return names


def _counts(rule: Rule, form: Form, scalars: tuple[float, ...]) -> tuple[int, int]:
    """How many terms and factors a rule has."""
    if form.reduction is None:
        return 0, 0
    names = measure_names(rule, form)
    try:
        found = counts_of(form, scalars)
        _check_order(rule, form, names[2 + len(form.slots) :], *found)
        return found
    except Exception as error:
        text = f"{type(rule).__name__}: {error}"[:200]
        raise TypeError(f"{text}{line_of(form.reduction.measure)}") from error


def _check_order(rule: Rule, form: Form, wanted: list[str], n_terms: int, n_factors: int) -> None:
    """Raise a TypeError where `factors` or `update` has names in another order than `measure`."""
    assert form.reduction is not None
    kept = list(form.reduction.kept)
    scalars = wanted[: len(wanted) - len(kept)]
    of_update = list(inspect.signature(form.update).parameters)[2 + len(form.slots) :]
    for name, taken, right in (
        ("factors", list(inspect.signature(form.reduction.factors).parameters)[n_terms:], wanted),
        ("update", of_update[: len(of_update) - n_factors + len(kept)], [*scalars, *kept]),
    ):
        if taken != right:
            raise TypeError(
                f"{name} takes the scalars, then what is kept, by the names and order of measure: "
                f"{', '.join(right) or 'none'}, not {', '.join(taken) or 'none'}"
            )


def _scalars(rule: Rule) -> tuple[float, ...]:
    """The scalars of the first step, seen to be a tuple of as many numbers at every step."""
    title, function = type(rule).__name__, type(rule).scalars
    line = line_of(function)
    parameters = list(inspect.signature(function).parameters.values())
    if len([p for p in parameters if p.kind is not p.VAR_KEYWORD]) < 2:
        raise TypeError(f"{title}: write scalars(self, t): it takes the number of the step{line}")
    carried = rule.carry(1, *rule.carried.values())
    found = rule.scalars(1, *carried)
    if not isinstance(found, tuple):
        raise TypeError(
            f"{title}.scalars(t) returns a tuple, such as `return self.lr,`, not {type(found).__name__}{line}"
        )
    for k, x in enumerate(found):
        try:
            float(x)
        except (TypeError, ValueError):
            raise TypeError(
                f"{title}.scalars(t) returns numbers, and number {k + 1} is {str(x)[:60]!r}{line}"
            ) from None
    for t in (2, 3, 1000):
        try:
            later = rule.scalars(t, *carried)
        except Exception:
            break  # it is for the step that meets it to say so
        if len(later) != len(found):
            raise TypeError(
                f"{title}.scalars(t) returns {len(found)} numbers at t = 1 and {len(later)} at t = {t}{line}"
            )
    return found
