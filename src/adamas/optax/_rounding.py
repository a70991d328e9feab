"""Stochastic rounding to 16 bits, in the text of the storage formats."""

from __future__ import annotations

import functools
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .. import formats
from ..backends import bind
from ..backends._draws import MULTIPLIERS
from ..rules._base import Slot

__all__ = ["Draws", "check_fit", "dtype_of", "narrow", "rounded"]

# What formats call `xp`, for traced arrays.
_BITS: Any = SimpleNamespace(
    bits=lambda x: lax.bitcast_convert_type(x, jnp.uint32),
    from_bits=lambda x: lax.bitcast_convert_type(x, jnp.float32),
    u16=lambda x: jnp.asarray(x).astype(jnp.uint16),
    u32=lambda x: jnp.asarray(np.uint32(x) if isinstance(x, int) else x).astype(jnp.uint32),
    f32=lambda x: jnp.asarray(x).astype(jnp.float32),
    where=jnp.where,
    maximum=jnp.maximum,
    minimum=jnp.minimum,
    float_to_half=lambda x: lax.bitcast_convert_type(x.astype(jnp.float16), jnp.uint16),
)


def narrow(dtype: Any) -> bool:
    """Whether a format rounds to this type."""
    name = np.dtype(dtype).name
    return name in formats.names() and not formats.get(name).scaled and formats.get(name).rounds


def dtype_of(name: Any) -> np.dtype[Any] | None:
    """The type of a storage format that JAX has too; None for float32, in which state is kept anyway.

    Raises:
        ValueError: there is no such format, or JAX has no type with its codes.
    """
    found = formats.find(name)
    if found == "float32":
        return None
    if formats.get(found).scaled or not narrow(found):
        known = [x for x in formats.names() if not formats.get(x).scaled and formats.get(x).rounds]
        raise ValueError(f"state_format must be float32, {', '.join(known)} or None, got {name!r}")
    return np.dtype(jnp.dtype(found))


def check_fit(dtype: Any, slots: Mapping[str, Slot]) -> None:
    """Raise a ValueError where a type is not fit for the slots of a rule."""
    if dtype is None:
        return
    for name, slot in slots.items():
        format = formats.get(dtype.name, slot.signed)
        if format.largest is not None and not slot.signed:
            raise ValueError(
                f"state_format={dtype.name!r} ends at {format.largest:g}, beyond which {name!r}, of squares "
                f"or magnitudes of gradients, would stop its parameters for ever; use 'bfloat16'"
            )
        if format.bits < slot.least_bits:
            raise ValueError(
                f"state_format={dtype.name!r} is too coarse for {name!r}, of which an element needs "
                f"{slot.least_bits} bits: its rounding would come back through the step; use 'float32'"
            )


@dataclass(frozen=True)
class Draws:
    """The random bits of one leaf in one step: a function of seed, step, name, array and element.

    They are made as in kernels for CPUs: a counter of elements with a key, mixed and multiplied. Elements of
    a sharded array are counted as those of the whole: its bits do not depend on the number of devices.
    """

    seed: Any
    count: Any
    name: str

    def bits(self, array: int, shape: tuple[int, ...]) -> Any:
        """32 bits for each element of one of the leaf's arrays, of which the upper ones are the better."""
        key = jax.random.fold_in(jax.random.key(self.seed), self.count)
        key = jax.random.fold_in(key, np.uint32(zlib.crc32(self.name.encode())))
        upper, lower = jax.random.bits(key, (2,), jnp.uint32)
        place, stride = jnp.zeros(shape, jnp.uint32), 1
        for axis in reversed(range(len(shape))):
            place = place + lax.broadcasted_iota(jnp.uint32, shape, axis) * np.uint32(stride & 0xFFFFFFFF)
            stride *= shape[axis]
        counter = upper + place * np.uint32(0x9E3779B9)
        return (counter ^ (counter >> 17) ^ lower) * np.uint32(MULTIPLIERS[array % len(MULTIPLIERS)])


def rounded(x: Any, dtype: Any, draws: Draws, array: int, signed: bool = True) -> Any:
    """Float32 values in a type of 16 bits, up or down at random so that the mean is kept.

    To any other type they are rounded to nearest. Derivatives pass straight through.
    """
    if not narrow(dtype):
        return x.astype(dtype)
    encode = _encode(np.dtype(dtype).name, signed)
    code = encode(lax.stop_gradient(x), draws.bits(array, x.shape))
    values = lax.bitcast_convert_type(code, dtype)
    # The sum is exact: the two are within a factor of two.
    through = x + (values.astype(x.dtype) - lax.stop_gradient(x))
    return jnp.where(jnp.isfinite(values), through.astype(dtype), values)


@functools.cache
def _encode(name: str, signed: bool) -> Any:
    format = formats.get(name, signed)
    assert format.encode is not None
    return bind(format.encode, _BITS)
