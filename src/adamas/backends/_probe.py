"""What a rule does to a few elements, on NumPy's arrays: mistakes that its text does not show."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ..rules import Rule
from ..rules._base import Form
from ._bind import bind, host_carry, host_scalars
from ._sums import advance, kept_shape
from ._trace import line_of

__all__ = ["check_elementwise", "check_functions", "check_signs"]

# Gradients of both signs and none, whose moments change sign.
_PROBE = np.array([[-1.0, 0.5, 0.0, 3.0], [0.25, -2.0, 0.0, 1e-3], [0.0, 0.0, 1.0, -3.0]])


def check_signs(rule: Rule, form: Form) -> None:
    """Take a few steps on NumPy's arrays and see that NONNEGATIVE slots are."""
    for slots in _probed(rule, form, _PROBE):
        for (name, slot), values in zip(form.slots.items(), slots[1 : 1 + len(form.slots)], strict=True):
            if not slot.signed and (values < 0).any():
                raise ValueError(
                    f"{type(rule).__name__}: slot {name!r} is NONNEGATIVE and becomes {values.min():.3g}; "
                    f"declare it SIGNED{line_of(form.update)}"
                )


def check_elementwise(rule: Rule, form: Form) -> None:
    """See that elements come out of a step alone as they do beside others."""
    whole, again = (list(_probed(rule, form, _PROBE)) for _ in range(2))
    if not _equal(whole, again):
        return  # it is random
    for k in range(_PROBE.shape[1]):
        alone = list(_probed(rule, form, _PROBE[:, k : k + 1]))
        if not _equal(alone, [tuple(x[k : k + 1] for x in state) for state in whole]):
            raise ValueError(
                f"{type(rule).__name__}.update is not elementwise: what becomes of one element depends on "
                f"others, as with a mean or a norm; an update sees one element at a time"
                f"{line_of(form.update)}"
            )


def check_functions(rule: Rule, form: Form, scalars: Sequence[float], n_factors: int) -> None:
    """See the same of what a rule with sums measures, and of its update with factors that are the same."""
    assert form.reduction is not None
    kept = form.reduction.kept.values()
    arrays = [*_PROBE[:2], *[np.abs(_PROBE[2])] * len(form.slots)]
    for name, function, numbers in (
        ("measure", form.reduction.measure, (*scalars, *kept)),
        ("update", form.update, (*scalars, *[1.0] * n_factors)),
    ):
        called = bind(function, np)

        def at(places: slice, called: Any = called, numbers: Any = numbers) -> list[tuple[Any, ...]]:
            given = [x[places] for x in arrays]
            with np.errstate(all="ignore"):
                return [tuple(np.broadcast_to(x, given[0].shape) for x in called(*given, *numbers))]

        try:
            whole, again = at(slice(None)), at(slice(None))
            alone = [at(slice(k, k + 1)) for k in range(len(arrays[0]))]
        except Exception:
            continue  # NumPy lacks what another namespace may have
        expected = [[tuple(x[k : k + 1] for x in whole[0])] for k in range(len(arrays[0]))]
        if _equal(whole, again) and not all(map(_equal, alone, expected)):
            raise ValueError(
                f"{type(rule).__name__}.{name} is not elementwise: what becomes of one element depends on "
                f"others; the terms of measure are summed after it, and update has the sums by factors"
                f"{line_of(function)}"
            )


def _probed(rule: Rule, form: Form, gradients: Any) -> Iterator[tuple[Any, ...]]:
    """`(p, *slots)` after each step, as far as NumPy can take them."""
    p = np.ones_like(gradients[0])
    state = p, *(np.full_like(p, slot.initial) for slot in form.slots.values())
    carried = tuple(rule.carried.values())
    if form.reduction is not None:
        kept = form.reduction.kept.values()
        state = (*state, *(np.full(kept_shape(p.shape, form.reduction.scope), x) for x in kept))
    for t, g in enumerate(gradients, start=1):
        try:
            with np.errstate(all="ignore"):
                carried = host_carry(rule, t, *carried)
                new = advance(form, state[0], g, state[1:], host_scalars(rule, t, *carried), np)
                pairs = zip(new, state, strict=True)
                state = tuple(np.broadcast_to(np.asarray(x, np.float64), old.shape) for x, old in pairs)
        except Exception:
            return  # NumPy lacks what another namespace may have, or a step is beyond these numbers
        yield state


def _equal(one: list[Any], other: list[Any]) -> bool:
    return len(one) == len(other) and all(
        np.allclose(a, b, rtol=1e-9, atol=0, equal_nan=True)
        for x, y in zip(one, other, strict=True)
        for a, b in zip(x, y, strict=True)
    )
