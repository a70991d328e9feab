"""Other launch parameters of our kernels for GPUs, tried beside those that they have."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from ..pairs import UnavailableError

__all__ = ["VARIANTS", "varied"]


def _chunks(size: int) -> dict[str, Any]:
    return {"chunk_size": lambda elements: size}


# By their names in `adamas.backends.triton`.
VARIANTS: dict[str, Mapping[str, Any]] = {
    "as they are": {},
    "64 threads": {"THREADS": 64},
    "256 threads": {"THREADS": 256},
    **{f"chunks of {size}": _chunks(size) for size in (1 << 11, 1 << 12, 1 << 13, 1 << 14, 1 << 15)},
}


@contextlib.contextmanager
def varied(changes: Mapping[str, Any]) -> Iterator[None]:
    """Within, optimizers that are made launch with these.

    Raises:
        UnavailableError: there is no Triton, or no such parameter.
    """
    try:
        from adamas.backends import triton
    except ImportError as error:
        raise UnavailableError(str(error)) from error
    absent = [name for name in changes if not hasattr(triton, name)]
    if absent:
        raise UnavailableError(f"kernels for GPUs have no {absent[0]}")
    before = {name: getattr(triton, name) for name in changes}
    try:
        vars(triton).update(changes)
        yield
    finally:
        vars(triton).update(before)
