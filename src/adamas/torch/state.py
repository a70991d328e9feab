"""Which format a slot of the state has, and which formats torch's dtypes are."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from .. import formats
from ..formats import Format
from ..rules._base import Slot

__all__ = [
    "SMALLEST_SCALED",
    "StateFormat",
    "asked_format",
    "check_fit",
    "checked_state_format",
    "format_of_dtype",
    "is_native",
    "slot_format",
    "torch_dtype",
    "why_wide",
]

# The values users may give as state_format: a name for all slots, or one for each slot by its key.
StateFormat = str | Mapping[str, str]

# Small tensors (biases, norms) stay float32: they save almost nothing and are the most sensitive to rounding.
SMALLEST_SCALED = 4096


def checked_state_format(state_format: Any) -> StateFormat | None:
    """The formats chosen, by their own names: aliases ("bf16") and torch's dtypes are understood.

    Raises:
        ValueError: one of them is not a format for state; the message lists those that are.
    """
    if state_format is None:
        return None
    if isinstance(state_format, Mapping):
        return {key: _checked_name(name) for key, name in state_format.items()}
    return _checked_name(state_format)


def _checked_name(given: Any) -> str:
    allowed = [name for name in formats.names() if name != "float64"]
    try:
        name = formats.find(given)
    except ValueError:
        name = ""
    if name not in allowed:
        raise ValueError(f"state_format must be one of {', '.join(allowed)}, got {given!r}")
    format_of_dtype(torch_dtype(formats.get(name)))  # raises where that is not one of its own
    return name


@functools.cache
def torch_dtype(format: Format) -> torch.dtype:
    """The dtype of a stored element.

    Raises:
        TypeError: an unscaled format has none of its own.
    """
    own = format.stored.name if format.scaled else "uint8"
    dtype = getattr(torch, own if format.torch_dtype is None else format.torch_dtype)
    if not format.scaled and (dtype is torch.uint8 or dtype.itemsize != format.stored.itemsize):
        raise TypeError(
            f"format {format.name!r} needs a torch_dtype of its own, such as 'int16', not {dtype}"
        )
    assert isinstance(dtype, torch.dtype)
    return dtype


@functools.cache
def format_of_dtype(dtype: torch.dtype) -> str | None:
    """The format in which memory of a dtype is read, complex numbers as pairs; None where there is none.

    Raises:
        TypeError: two formats claim it, so that the state of one could be read as the other's.
    """
    if dtype.is_complex:
        dtype = dtype.to_real()
    every = map(formats.get, formats.names())
    found = [format.name for format in every if not format.scaled and torch_dtype(format) == dtype]
    if len(found) > 1:
        raise TypeError(
            f"formats {' and '.join(found)} both have {dtype}: give each a torch_dtype of its own"
        )
    return found[0] if found else None


def slot_format(p: Tensor, key: str, slot: Slot, state_format: StateFormat | None) -> Format:
    """The format of one slot of a parameter: the one asked for, unless `why_wide` says why not."""
    plain = "float64" if format_of_dtype(p.dtype) == "float64" else "float32"
    asked = asked_format(key, state_format) or plain
    return formats.get(plain if why_wide(p, asked) else asked, slot.signed)


def asked_format(key: str, state_format: StateFormat | None) -> str | None:
    """The format that the user asked for in a slot, if any."""
    return state_format if isinstance(state_format, str) else (state_format or {}).get(key)


def why_wide(p: Tensor, asked: str) -> str | None:
    """Why state of a parameter is not kept in the format asked for; None where it is."""
    if format_of_dtype(p.dtype) == "float64" or p.is_complex():
        return "float64 and complex parameters keep state of their own type"
    if formats.get(asked).scaled and p.numel() < SMALLEST_SCALED:
        return f"tensors of fewer than {SMALLEST_SCALED:,} elements are not scaled"
    return None


def is_native(format: Format) -> bool:
    """Whether torch itself knows the values of the format's elements."""
    return not format.scaled and torch_dtype(format).is_floating_point


def check_fit(slots: Mapping[str, Slot], state_format: StateFormat | None) -> None:
    """Raise a ValueError where a format is not fit for the slots of a rule, by their keys."""
    divides = any(not slot.signed for slot in slots.values())
    for key, slot in slots.items():
        name = state_format.get(key) if isinstance(state_format, Mapping) else state_format
        format = None if name is None else formats.get(name, slot.signed)
        if format is None:
            continue
        if format.largest is not None and not slot.signed:
            raise ValueError(
                f"state_format={name!r} ends at {format.largest:g}, beyond which {key!r}, of squares or "
                f"magnitudes of gradients, would stop its parameters for ever. Use 'bfloat16', or {name!r} "
                f"for signed slots alone, as in {{'exp_avg': {name!r}}}"
            )
        if format.bits < slot.least_bits:
            raise ValueError(
                f"state_format={name!r} is too coarse for {key!r}, of which an element needs "
                f"{slot.least_bits} bits here: its rounding would come back through the step. Use "
                f"{'float8' if slot.least_bits <= 8 else 'float32'!r} for it"
            )
        if format.needs_divisor and not divides:
            raise ValueError(
                f"state_format={name!r} is too coarse for a rule that does not divide by the root of a "
                f"second moment, as here; use 'float8'"
            )
