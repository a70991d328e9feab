"""A step of a rule on whole arrays, with the sums over a tensor that it may depend on."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..rules._base import Form, Rule
from ..rules._reduction import Reduction, Scope
from ._bind import bind
from ._cautious import update_in

__all__ = ["advance", "counts_of", "factors_of", "kept_shape", "row_elements", "state_shapes", "unit_count"]


def row_elements(shape: Sequence[int], scope: Scope) -> int:
    """The elements of a tensor of this shape over which one sum goes."""
    sizes = shape[1:] if scope == "row" and len(shape) > 1 else shape
    return functools.reduce(int.__mul__, sizes, 1)


def unit_count(shape: Sequence[int], scope: Scope) -> int:
    """How many sums of each term there are for a tensor of this shape; one for a tensor without elements."""
    return shape[0] if scope == "row" and len(shape) > 1 and 0 not in shape else 1


def kept_shape(shape: Sequence[int], scope: Scope) -> tuple[int, ...]:
    """The shape in which sums over a tensor go along with its elements."""
    return (unit_count(shape, scope), *[1] * (len(shape) - 1)) if shape else ()


def state_shapes(rule: Rule, shape: Sequence[int]) -> dict[str, tuple[int, ...]]:
    """The shapes of the state arrays of a parameter of this shape: slots, and what is kept of its sums."""
    form = rule.form()
    found = dict.fromkeys(form.slots, tuple(shape))
    if form.reduction is not None:
        found |= dict.fromkeys(form.reduction.kept, (unit_count(shape, form.reduction.scope),))
    return found


def advance(
    form: Form,
    p: Any,
    g: Any,
    state: Sequence[Any],
    scalars: Sequence[Any],
    xp: Any,
    cautious: float = 0.0,
) -> Any:
    """The new parameter, slots and kept values.

    Args:
        form: that of the rule.
        p, g: the parameter and its gradient, after the envelope.
        state: the slots, then the kept values, in `kept_shape`.
        scalars: those of the step.
        xp: the namespace of the arrays. A group, to them, is one array.
        cautious: the cautious decay.
    """
    update, reduction = bind(update_in(form, cautious != 0), xp), form.reduction
    decay = (cautious,) if cautious != 0 else ()
    if reduction is None:
        return tuple(update(p, g, *state, *decay, *scalars))
    slots, kept = state[: len(form.slots)], state[len(form.slots) :]
    terms = bind(reduction.measure, xp)(p, g, *slots, *scalars, *kept)
    sums = [_total(xp.zeros_like(p) + term, reduction.scope, xp) for term in terms]
    found = [_like(x, sums[0], p) for x in factors_of(reduction, sums, scalars, kept, xp)]
    return (*update(p, g, *slots, *decay, *scalars, *found), *found[: len(reduction.kept)])


def _total(term: Any, scope: Scope, xp: Any) -> Any:
    """The sums of a term, in float64 where arrays of another type do not have to be of it."""
    if 0 in term.shape:
        return xp.zeros(kept_shape(term.shape, scope), dtype=term.dtype)
    axes = tuple(range(scope == "row" and term.ndim > 1, term.ndim))
    wide = {"dtype": xp.float64} if getattr(xp, "__name__", "") in ("numpy", "torch") else {}
    return term.sum(axis=axes, keepdims=True, **wide) if axes else term


def _like(x: Any, total: Any, p: Any) -> Any:
    """A factor as an array in the type of the parameter."""
    x = x + 0 * total if not hasattr(x, "dtype") else x
    return x.astype(p.dtype) if hasattr(x, "astype") else x.to(p.dtype)


def factors_of(
    reduction: Reduction, sums: Sequence[Any], scalars: Sequence[Any], kept: Sequence[Any], xp: Any = np
) -> tuple[Any, ...]:
    """What `factors` makes of sums, arrays of `xp`; a division by 0 says nothing, as in kernels."""
    with np.errstate(all="ignore"):
        return tuple(_bound(reduction.factors, xp)(*sums, *scalars, *kept))


# A bound function sees constants change; making it takes longer than calling it.
_bound = functools.lru_cache(maxsize=256)(bind)


def counts_of(form: Form, scalars: Sequence[float]) -> tuple[int, int]:
    """How many terms the rule measures, and how many factors it makes of their sums.

    Raises:
        TypeError: it returns something else than a tuple of them.
    """
    reduction = form.reduction
    if reduction is None:
        return 0, 0
    one = np.ones(1)
    state = [one * slot.initial for slot in form.slots.values()]
    kept = [one * initial for initial in reduction.kept.values()]
    with np.errstate(all="ignore"):
        terms = bind(reduction.measure, np)(one, one, *state, *scalars, *kept)
        if not isinstance(terms, tuple) or not terms:
            raise TypeError("measure returns a tuple of terms, such as `return p * p,`")
        found = bind(reduction.factors, np)(*[one] * len(terms), *scalars, *kept)
    if not isinstance(found, tuple) or len(found) < max(1, len(kept)):
        names = "".join(f"{name}, " for name in reduction.kept)
        raise TypeError(f"factors returns a tuple, first the new kept values: `return {names}...,`")
    return len(terms), len(found)
