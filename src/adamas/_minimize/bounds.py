"""Bounds as two vectors, from SciPy's `Bounds` or a list of pairs."""

from __future__ import annotations

from typing import Any

import numpy as np

from .trees import Array, Layout

__all__ = ["box_of"]


def box_of(bounds: Any, layout: Layout) -> tuple[Array, Array] | None:
    """The lower and upper bounds of each element, in the type of x; None where nothing is bounded.

    Args:
        bounds: None; `scipy.optimize.Bounds`; a pair (low, high), None for none, for each element.
        layout: the structure of x.

    Raises:
        TypeError: they are nothing of the kind.
        ValueError: they are not as many as x has elements, or no x is within.
    """
    if bounds is None:
        return None
    low, high = _sides(bounds, layout.size)
    if np.isnan(low).any() or np.isnan(high).any():
        raise ValueError("bounds must not be NaN; None or an infinity leaves a side open")
    bad = np.flatnonzero(low > high)
    if bad.size:
        k = int(bad[0])
        raise ValueError(f"bounds are infeasible: element {k} would be from {low[k]:g} to {high[k]:g}")
    low, high = low.astype(layout.dtype), high.astype(layout.dtype)
    return None if np.isneginf(low).all() and np.isposinf(high).all() else (low, high)


def _sides(bounds: Any, size: int) -> tuple[Array, Array]:
    if hasattr(bounds, "lb") and hasattr(bounds, "ub"):
        sides = bounds.lb, bounds.ub
    else:
        try:
            pairs = [(a, b) for a, b in bounds]
        except (TypeError, ValueError):
            raise TypeError(
                f"bounds must be scipy.optimize.Bounds or a list of pairs (low, high), got {bounds!r}"[:200]
            ) from None
        sides = (
            [-np.inf if a is None else a for a, _ in pairs],
            [np.inf if b is None else b for _, b in pairs],
        )
    found = []
    for side in sides:
        array = np.asarray(side, np.float64).ravel()
        if array.size not in (1, size) or (array.size != size and isinstance(side, list)):
            raise ValueError(f"bounds must be as many as x0 has elements, {size}, got {array.size}")
        found.append(np.broadcast_to(array, (size,)))
    return found[0], found[1]
