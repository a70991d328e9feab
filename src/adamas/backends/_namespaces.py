"""Namespaces for a rule's text: plain floats, torch, and what others lack of the functions of `xp`."""

from __future__ import annotations

import builtins
import math
from typing import Any

__all__ = ["HOST", "Named", "Torch"]


class _Host:
    """The namespace of plain floats. No array is made: scalars cost what their arithmetic costs."""

    sqrt = staticmethod(math.sqrt)
    abs = staticmethod(builtins.abs)
    log = staticmethod(math.log)
    atan2 = staticmethod(math.atan2)

    @staticmethod
    def where(condition: Any, x: Any, y: Any) -> Any:
        """`x` where the condition holds, else `y`."""
        return x if condition else y

    @staticmethod
    def maximum(x: Any, y: Any) -> Any:
        """The larger, or NaN where one is NaN."""
        return x if x > y or x != x else y

    @staticmethod
    def minimum(x: Any, y: Any) -> Any:
        """The smaller, or NaN where one is NaN."""
        return x if x < y or x != x else y

    @staticmethod
    def sign(x: Any) -> float:
        """-1, 0 or 1; NaN of NaN."""
        return x if x != x else float((x > 0) - (x < 0))


HOST: Any = _Host


class Named:
    """A namespace that calls `atan2` `arctan2`, as NumPy before 2.0 does."""

    def __init__(self, namespace: Any) -> None:
        self._namespace = namespace

    def __getattr__(self, name: str) -> Any:
        return getattr(self._namespace, "arctan2" if name == "atan2" else name)


class Torch:
    """torch with numbers in functions of two, and bools as conditions, neither of which it takes."""

    def __init__(self, torch: Any) -> None:
        self._torch = torch

    def __getattr__(self, name: str) -> Any:
        return getattr(self._torch, name)

    def maximum(self, x: Any, y: Any) -> Any:
        """The larger; at least one is a tensor."""
        return self._torch.maximum(*self._tensors(x, y))

    def minimum(self, x: Any, y: Any) -> Any:
        """The smaller; at least one is a tensor."""
        return self._torch.minimum(*self._tensors(x, y))

    def atan2(self, y: Any, x: Any) -> Any:
        """The angle of the point (x, y); at least one is a tensor."""
        return self._torch.atan2(*self._tensors(y, x))

    def where(self, condition: Any, x: Any, y: Any) -> Any:
        """`x` where the condition holds, else `y`."""
        if isinstance(condition, bool):
            return x if condition else y
        return self._torch.where(condition, x, y)

    def _tensors(self, x: Any, y: Any) -> tuple[Any, Any]:
        if isinstance(x, (int, float)):
            return self._torch.full_like(y, x), y
        return x, self._torch.full_like(x, y) if isinstance(y, (int, float)) else y
