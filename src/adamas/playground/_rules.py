"""The texts of a rule for every one of its options, among which the page chooses."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin, get_type_hints

from ..backends.javascript import emit
from ..rules import Rule

__all__ = ["variants"]

# Values of a number that a rule branches on: none, and one within every range.
_ANCHORS = (0.0, 0.5)


def variants(rule: Rule) -> list[str]:
    """The texts of `emit`, that of the rule as it is first, then those with other options.

    A hyperparameter that the rule branches on is tried at 0 and at one half.

    Raises:
        RuleSourceError, TypeError, ValueError: as of `emit`.
    """
    found = [emit(rule)]
    for changes in _options(rule):
        for text in _branches(rule, changes):
            if _but_numbers(text) not in map(_but_numbers, found):
                found.append(text)
    return found


def _options(rule: Rule) -> Iterator[dict[str, Any]]:
    """The combinations of bools and `Literal`s."""
    hints = get_type_hints(type(rule), include_extras=True)
    choices: dict[str, tuple[Any, ...]] = {}
    for field in dataclasses.fields(rule):  # type: ignore[arg-type]
        hint = hints[field.name]
        if hint is bool:
            choices[field.name] = (True, False)
        elif get_origin(hint) is Literal:
            choices[field.name] = get_args(hint)
    for values in itertools.product(*choices.values()):
        yield dict(zip(choices, values, strict=True))


def _branches(rule: Rule, changes: dict[str, Any]) -> Iterator[str]:
    """The texts with these options, one for each way that branches on numbers go."""
    numbers = [
        field.name
        for field in dataclasses.fields(rule)  # type: ignore[arg-type]
        if type(getattr(rule, field.name)) is float
    ]
    given = [{}, *({name: x} for name in numbers for x in _ANCHORS)]
    for each in given:
        try:
            text = emit(dataclasses.replace(rule, **changes, **each))  # type: ignore[type-var]
        except ValueError:  # options that do not go together
            continue
        if "  holds(" in text or not each:
            yield text
        if not each and "  holds(" not in text:
            return


def _but_numbers(text: str) -> str:
    """A text without its default values."""
    return "\n".join(line for line in text.splitlines() if not line.startswith("  hyperparameters:"))
