"""Sums over a tensor that a step depends on: what is summed, over what, and what becomes of the sums."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple, get_args

__all__ = ["SCOPES", "Reduction", "Scope", "reduction_of"]

Scope = Literal["tensor", "row", "group"]
SCOPES: tuple[str, ...] = get_args(Scope)


class Reduction(NamedTuple):
    """The sums of a rule. A step of it is two passes: one that measures, and one that updates.

    Attributes:
        scope: over what is summed. "tensor": a parameter, all its shards. "row": an index of dimension 0 of a
            parameter; one of fewer than two dimensions is one row. "group": all parameters of a group that
            have a gradient.
        measure: `measure(p, g, *slots, *scalars, *kept)`, a tuple of elementwise terms, each summed in
            float64; p, g and slots are those that `update` will take. A term of 1.0 counts elements.
        factors: `factors(*sums, *scalars, *kept)`, a tuple: first the new kept values, then what else
            `update` needs, which takes all of them, last. It uses operators and `xp`, as `scalars` does.
        kept: the numbers that are kept from one step to the next for each sum, and what each is at first.
    """

    scope: Scope
    measure: Callable[..., Any]
    factors: Callable[..., Any]
    kept: Mapping[str, float] = {}


def reduction_of(cls: Any) -> Reduction | None:
    """The sums of a class of rules by its attributes; None where it has none.

    Raises:
        TypeError, ValueError: its attributes do not go together; the message says what to write.
    """
    measure, factors = getattr(cls, "measure", None), getattr(cls, "factors", None)
    if measure is None and factors is None:
        if cls.kept:
            raise TypeError(f"{cls.__name__}: kept values are what factors(...) returns first: write it")
        return None
    if measure is None or factors is None:
        missing = "measure" if measure is None else "factors"
        raise TypeError(f"{cls.__name__}: measure and factors go together, and there is no {missing}")
    if cls.scope not in SCOPES:
        raise ValueError(f"{cls.__name__}: scope is one of {', '.join(SCOPES)}, not {cls.scope!r}")
    return Reduction(cls.scope, measure, factors, cls.kept)
