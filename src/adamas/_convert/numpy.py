"""The neutral form itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ._state import ParamState, States, check_names

__all__ = ["owns", "read", "write"]


def owns(value: Any) -> bool:
    """Whether it is what `adamas.convert` returns for NumPy."""
    return isinstance(value, Mapping) and all(isinstance(x, ParamState) for x in value.values())


def read(value: Any) -> States:
    """A copy whose entries may be replaced."""
    return dict(value)


def write(states: States, like: Any) -> States:
    """The states, if they are of the same parameters."""
    check_names(states, like)
    return states
