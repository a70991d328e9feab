"""One step of a rule on one leaf of a tree: an array, its gradient and its state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ..backends import bind, to_zero, unit_count
from ..rules._base import Slot, Update
from ..rules._reduction import Reduction
from ._numbers import Scalars, value_of
from ._pairs import widest
from ._rounding import Draws, narrow, rounded

__all__ = ["Leaf", "check_dtype", "path_name"]


@dataclass(frozen=True)
class Leaf:
    """What is done to each leaf.

    Attributes:
        title: the name of the rule.
        slots, update: those of the rule; `update` over JAX's arrays.
        stored: the type of slots of real parameters of 32 bits or fewer; None for float32.
        decays, decoupled, cautious: whether there is a weight decay, whether it is not of the gradient, and
            whether it is only of elements that the step leads towards zero.
        shifts: whether `update` does nothing with p but to add to it, so that it may be 0.
        averages: whether a running average is kept.
        stochastic: whether parameters of 16 bits are rounded stochastically.
        seed: of that rounding, and of that of the slots.
        reduction: the sums of the rule, if it has any.
    """

    title: str
    slots: Mapping[str, Slot]
    update: Update
    stored: np.dtype[Any] | None
    decays: bool
    decoupled: bool
    cautious: bool
    shifts: bool
    averages: bool
    stochastic: bool
    seed: Any
    reduction: Reduction | None = None

    @property
    def kept(self) -> Mapping[str, float]:
        """What the rule keeps of its sums, and what that is at first."""
        return {} if self.reduction is None else self.reduction.kept

    @property
    def needs_params(self) -> str | None:
        """For what a step needs the parameters; None where it does not."""
        if self.decays:
            return "for its weight decay"
        if self.averages:
            return "for their average"
        if self.reduction is not None:
            return "for its sums"
        if self.stochastic:
            return "to round them"
        return None if self.shifts else "because its update does more than to add to them"

    def initial(self, p: Any, value: Any) -> Any:
        """A slot before the first step, all of one value."""
        dtype = _state_dtype(p)
        value = jnp.asarray(value).astype(_real(dtype))
        if jnp.issubdtype(dtype, jnp.complexfloating):
            return jnp.full_like(p, jax.lax.complex(value, value), dtype=dtype)
        stored = self.stored if dtype == jnp.float32 and self.stored is not None else dtype
        return jnp.full_like(p, value, dtype=stored)

    def initial_kept(self, p: Any, value: float) -> Any:
        """What the rule keeps of each sum over a parameter, before the first step."""
        assert self.reduction is not None
        shape = (unit_count(jnp.shape(p), self.reduction.scope),)
        return jnp.full(shape, value, _real(_state_dtype(p)))

    def initial_average(self, p: Any) -> Any:
        """The average before the first step: the parameter, in memory of its own."""
        return jnp.array(p, dtype=_state_dtype(p), copy=True)

    def step(
        self,
        scalars: Scalars,
        count: Any,
        name: str,
        p: Any,
        g: Any,
        slots: Sequence[Any],
        average: Any,
        factors: Sequence[Any],
    ) -> tuple[Any, ...]:
        """What is added to the parameter, the new average or None, and the new slots."""
        own = self._own(name, p, g, slots)
        g, p = jnp.asarray(g), None if p is None else jnp.asarray(p)
        dtype = own.dtype
        wide = _real(_state_dtype(own))
        u, *new = self._in_reals(scalars, wide, dtype, p, g, slots, factors)
        draws = Draws(self.seed, count, name)
        if self.stochastic and narrow(dtype):
            u = rounded(p + u, dtype, draws, 0).astype(wide) - p.astype(wide)
        else:
            # Without the parameter its type is not known, if its state is wider.
            u = u.astype(jnp.promote_types(dtype if p is not None else _state_dtype(own), g.dtype))
        kinds = zip(new, slots, self.slots.values(), strict=True)
        stored = [
            rounded(x, old.dtype, draws, k, slot.signed) if narrow(old.dtype) else x.astype(old.dtype)
            for k, (x, old, slot) in enumerate(kinds, start=1)
        ]
        if average is not None:
            weight = value_of(scalars.average, wide)
            moved = optax.apply_updates(p, u).astype(average.dtype)
            average = average + weight * (moved - average)
        return u, average, *stored

    def _own(self, name: str, p: Any, g: Any, slots: Sequence[Any]) -> Any:
        """What says the type of a parameter: itself, or what there is of its state, or its gradient."""
        check_dtype(f"the gradient of {name!r}", g)
        own = jnp.asarray(p) if p is not None else slots[0] if slots else jnp.asarray(g)
        _check_alike(name, own, jnp.asarray(g))
        return own

    def sums(
        self, scalars: Scalars, name: str, p: Any, g: Any, slots: Sequence[Any], kept: Sequence[Any]
    ) -> list[Any]:
        """The sums of what the rule measures, each of shape (units,), in JAX's widest float."""
        assert self.reduction is not None
        own = self._own(name, p, g, slots)
        wide = _real(_state_dtype(own))
        p, g, held, numbers, decay = self._inputs(scalars, wide, own.dtype, p, g, slots)
        p = p if decay is None or self.cautious else p - decay
        units = unit_count(own.shape, self.reduction.scope)
        along = [self._along(x, own, g) for x in kept]
        found = bind(self.reduction.measure, jnp)(p, g, *held, *numbers, *along)
        first = g.ndim - own.ndim  # complex numbers are pairs, and those come first
        axes = [k for k in range(g.ndim) if not (self.by_rows(own) and k == first)]
        sums = [jnp.sum(jnp.zeros_like(g) + term, axis=axes, dtype=widest()) for term in found]
        return [jnp.reshape(x, (units,)) for x in sums]

    def by_rows(self, own: Any) -> bool:
        """Whether there are sums for each row of a parameter."""
        return self.reduction is not None and unit_count(own.shape, self.reduction.scope) != 1

    def _along(self, x: Any, own: Any, g: Any) -> Any:
        """Numbers of units as an array that goes along with the elements of a parameter."""
        first, after = g.ndim - own.ndim, max(own.ndim - 1, 0)
        shape = (*[1] * first, own.shape[0], *[1] * after) if self.by_rows(own) else [1] * g.ndim
        return jnp.reshape(x, shape)

    def _inputs(
        self, scalars: Scalars, wide: Any, dtype: Any, p: Any, g: Any, slots: Sequence[Any]
    ) -> tuple[Any, Any, list[Any], list[Any], Any]:
        """Parameter, gradient, slots and scalars in real numbers, and what decoupled decay takes of p."""
        is_complex = jnp.issubdtype(dtype, jnp.complexfloating)

        def reals(x: Any) -> Any:
            x = jnp.asarray(x)
            return jnp.stack([x.real, x.imag]).astype(wide) if is_complex else x.astype(wide)

        g, held = reals(g), [reals(x) for x in slots]
        p = None if p is None else reals(p)
        rate = value_of(scalars.decay, wide)
        if self.decays and not self.decoupled:
            g = g + rate * p
        decay = rate * p if self.decays and self.decoupled else None
        return p, g, held, [value_of(x, wide) for x in scalars.update], decay

    def _in_reals(
        self,
        scalars: Scalars,
        wide: Any,
        dtype: Any,
        p: Any,
        g: Any,
        slots: Sequence[Any],
        factors: Sequence[Any],
    ) -> list[Any]:
        """The rule over real numbers: what is added to p, then the new slots, in a type that is wide enough.

        Complex numbers are pairs of reals, which the rules update independently, as torch does.
        """
        is_complex, shape, own = jnp.issubdtype(dtype, jnp.complexfloating), jnp.shape(g), jnp.asarray(g)
        p, g, held, numbers, decay = self._inputs(scalars, wide, dtype, p, g, slots)

        def back(x: Any) -> Any:
            x = jnp.broadcast_to(jnp.asarray(x, wide), (2, *shape) if is_complex else shape)
            return jax.lax.complex(x[0], x[1]) if is_complex else x

        along = [self._along(jnp.asarray(x, wide), own, g) for x in factors]
        # With 0 in the place of p the step itself comes out, which a large p would round.
        after = self.shifts or self.cautious
        at = jnp.zeros_like(g) if self.shifts else p if decay is None or after else p - decay
        moved, *new = self.update(at, g, *held, *numbers, *along)
        u = moved if self.shifts else moved - p
        if decay is not None and after:
            u = u - (jnp.where(to_zero(p, u), decay, 0) if self.cautious else decay)
        return [back(x) for x in (u, *new)]


def path_name(path: Sequence[Any]) -> str:
    """The place of a leaf as a name: "layers.0.kernel"."""
    parts = [getattr(x, "key", getattr(x, "idx", getattr(x, "name", x))) for x in path]
    return ".".join(map(str, parts))


def check_dtype(what: str, x: Any) -> None:
    """Raise a TypeError for an array that no step can move."""
    if not jnp.issubdtype(getattr(x, "dtype", type(x)), jnp.inexact):
        raise TypeError(
            f"{what} is of type {getattr(x, 'dtype', type(x).__name__)}, and a step needs floats: leave "
            f"it to optax.set_to_zero() by optax.multi_transform, or out of the tree"
        )


def _check_alike(name: str, own: Any, g: Any) -> None:
    if jnp.shape(own) != jnp.shape(g):
        raise ValueError(
            f"the gradient of {name!r} has shape {jnp.shape(g)}, the parameter or its state {jnp.shape(own)}"
        )
    complex_ones = [jnp.issubdtype(jnp.result_type(x), jnp.complexfloating) for x in (own, g)]
    if complex_ones == [False, True]:
        raise TypeError(f"the gradient of {name!r} is complex, and the parameter is not")


def _state_dtype(p: Any) -> np.dtype[Any]:
    """The type of a parameter's state and of the computation: at least float32."""
    dtype = p.dtype if hasattr(p, "dtype") else jnp.result_type(p)
    return np.dtype(jnp.promote_types(jax.dtypes.canonicalize_dtype(dtype), jnp.float32))


def _real(dtype: Any) -> np.dtype[Any]:
    """The type of the parts of complex numbers; of others it is their own."""
    return np.finfo(dtype).dtype
