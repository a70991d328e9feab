"""The sums of a rule over the leaves of a tree, and what it makes of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp

from ..backends import factors_of
from ._leaf import Leaf
from ._numbers import Scalars, value_of
from ._pairs import widest

__all__ = ["factors_of_leaves"]


def factors_of_leaves(
    leaf: Leaf,
    scalars: Scalars,
    names: Sequence[str],
    gradients: Sequence[Any],
    columns: Sequence[Sequence[Any]],
    kept: Sequence[Sequence[Any]],
) -> list[list[Any]]:
    """What the rule makes of its sums, for each leaf, each of shape (units,); the new kept values first.

    Args:
        leaf: what is done to each leaf; its rule has sums.
        scalars: those of the step.
        names, gradients: of each leaf.
        columns: the parameters, the averages and the slots, each a leaf a place.
        kept: what it has kept of its sums.
    """
    assert leaf.reduction is not None
    found, old = [], [[x[k] for x in kept] for k in range(len(names))]
    for k, (name, g) in enumerate(zip(names, gradients, strict=True)):
        p, _, *slots = (column[k] for column in columns)
        found.append(leaf.sums(scalars, name, p, g, slots, old[k]))
    if leaf.reduction.scope == "group":
        totals = [sum(column) for column in zip(*found, strict=True)]
        found = [totals] * len(names)
    numbers = [value_of(x, widest()) for x in scalars.update]
    made = []
    for sums, values in zip(found, old, strict=True):
        wide = [x.astype(widest()) for x in values]
        results = factors_of(leaf.reduction, sums, numbers, wide, jnp)
        factors = [jnp.broadcast_to(jnp.asarray(x), sums[0].shape) for x in results]
        # Rounded to what is stored, so that resuming gives the same bits.
        stored = [x.astype(y.dtype) for x, y in zip(factors, values, strict=False)]
        made.append([*stored, *factors[len(stored) :]])
    return made
