"""Arithmetic on lists of tensors, so that a rule's text runs once for all parameters of one type."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...backends import HOST
from .._compat import foreach

__all__ = ["Lists", "lists_xp"]


class Lists:
    """Tensors that go through the same arithmetic, each operation one call of torch for all of them.

    The other operand of an operator is another `Lists` of as many tensors, or one number for all.
    """

    def __init__(self, tensors: Sequence[Tensor], real: torch.dtype | None = None) -> None:
        """`real` is the type of the computation where the tensors are conditions."""
        self.tensors, self.real = list(tensors), real

    def __bool__(self) -> bool:
        raise TypeError("an update is elementwise: write xp.where(condition, x, y), not if, and, or, not")

    def __iter__(self) -> Any:
        raise TypeError("an update is elementwise: it can neither loop over its arrays nor index them")

    def _numbers(self) -> Sequence[Tensor]:
        """The tensors, conditions as zeros and ones in the type of the computation."""
        return self.tensors if self.real is None else [x.to(self.real) for x in self.tensors]

    def __neg__(self) -> Lists:
        return Lists(foreach("neg", self.tensors))

    def __abs__(self) -> Lists:
        return Lists(foreach("abs", self.tensors))

    def __add__(self, other: Any) -> Lists:
        return Lists(foreach("add", self._numbers(), _operand(other)))

    def __sub__(self, other: Any) -> Lists:
        return Lists(foreach("sub", self._numbers(), _operand(other)))

    def __mul__(self, other: Any) -> Lists:
        return Lists(foreach("mul", self._numbers(), _operand(other)))

    def __truediv__(self, other: Any) -> Lists:
        return Lists(foreach("div", self._numbers(), _operand(other)))

    def __pow__(self, other: Any) -> Lists:
        return Lists(foreach("pow", self.tensors, _operand(other)))

    def __radd__(self, other: Any) -> Lists:
        return self.__add__(other)

    def __rmul__(self, other: Any) -> Lists:
        return self.__mul__(other)

    def __rsub__(self, other: Any) -> Lists:
        return (-self).__add__(other)

    def __rtruediv__(self, other: Any) -> Lists:
        return Lists([other / x for x in self.tensors])

    def __mod__(self, other: Any) -> Lists:
        return self._each(torch.remainder, other)

    def __floordiv__(self, other: Any) -> Lists:
        return self._each(torch.floor_divide, other)

    def __rpow__(self, other: Any) -> Lists:
        return Lists([other**x for x in self.tensors])

    def __eq__(self, other: object) -> Lists:  # type: ignore[override]
        return self._compare(Tensor.__eq__, other)

    def __ne__(self, other: object) -> Lists:  # type: ignore[override]
        return self._compare(Tensor.__ne__, other)

    def __lt__(self, other: Any) -> Lists:
        return self._compare(Tensor.__lt__, other)

    def __le__(self, other: Any) -> Lists:
        return self._compare(Tensor.__le__, other)

    def __gt__(self, other: Any) -> Lists:
        return self._compare(Tensor.__gt__, other)

    def __ge__(self, other: Any) -> Lists:
        return self._compare(Tensor.__ge__, other)

    def __and__(self, other: Any) -> Lists:
        return Lists(self._each(Tensor.__and__, other).tensors, self.real)

    def __or__(self, other: Any) -> Lists:
        return Lists(self._each(Tensor.__or__, other).tensors, self.real)

    def __invert__(self) -> Lists:
        return Lists([~x for x in self.tensors], self.real)

    __hash__ = None  # type: ignore[assignment]

    @classmethod
    def __torch_function__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Lists:
        """Apply any function of torch tensor by tensor, for rules that no kernel can run."""
        named = dict(kwargs or {})
        count = next(len(x.tensors) for x in (*args, *named.values()) if isinstance(x, Lists))

        def at(k: int) -> Tensor:
            values = {name: x.tensors[k] if isinstance(x, Lists) else x for name, x in named.items()}
            result: Tensor = function(*(x.tensors[k] if isinstance(x, Lists) else x for x in args), **values)
            return result

        return cls(list(map(at, range(count))))

    def __getattr__(self, name: str) -> Any:
        """Any method of a tensor, a call a tensor."""
        if name.startswith("__") or not hasattr(Tensor, name):
            raise AttributeError(name)
        return lambda *args, **kwargs: self.__torch_function__(
            getattr(Tensor, name), (), (self, *args), kwargs
        )

    def _each(self, function: Callable[..., Tensor], other: Any) -> Lists:
        return Lists([function(*pair) for pair in zip(self.tensors, self._spread(other), strict=True)])

    def _compare(self, function: Callable[..., Tensor], other: Any) -> Lists:
        return Lists(self._each(function, other).tensors, self.real or self.tensors[0].dtype)

    def _spread(self, other: Any) -> Sequence[Any]:
        return other.tensors if isinstance(other, Lists) else [other] * len(self.tensors)


def _operand(x: Any) -> Any:
    if isinstance(x, Lists):
        return x._numbers()
    return x.item() if isinstance(x, np.ndarray) and x.ndim == 0 else x


def _of_one(name: str) -> Callable[[Any], Any]:
    """A function of an array, or of a number."""
    of_number: Callable[[Any], Any] = getattr(HOST, name)
    return lambda x: Lists(foreach(name, x.tensors)) if isinstance(x, Lists) else of_number(x)


def _of_two(name: str) -> Callable[[Any, Any], Any]:
    """A function of two arrays, of which one or both may be numbers."""

    def function(x: Any, y: Any) -> Any:
        if not isinstance(x, Lists):
            x, y = y, x
        if not isinstance(x, Lists):
            return getattr(HOST, name)(x, y)
        if not isinstance(y, Lists):
            y = Lists([torch.full_like(each, y) for each in x.tensors])
        return Lists(foreach(name, x.tensors, y.tensors))

    return function


def _where(condition: Any, x: Any, y: Any) -> Any:
    if not isinstance(condition, Lists):
        return x if condition else y
    if not isinstance(x, Lists) and not isinstance(y, Lists):
        # torch.where makes its default type of two numbers.
        x = Lists([torch.full_like(each, x, dtype=condition.real) for each in condition.tensors])
    columns = condition.tensors, condition._spread(x), condition._spread(y)
    return Lists([torch.where(*row) for row in zip(*columns, strict=True)])


def _angle(y: Any, x: Any) -> Any:
    """torch has no atan2 of lists."""
    like = y if isinstance(y, Lists) else x
    if not isinstance(like, Lists):
        return HOST.atan2(y, x)
    first, second = (
        z if isinstance(z, Lists) else Lists([torch.full_like(each, z) for each in like.tensors])
        for z in (y, x)
    )
    return first._each(torch.atan2, second)


# The `xp` of a rule on lists of tensors.
lists_xp = SimpleNamespace(
    sqrt=_of_one("sqrt"),
    abs=abs,
    sign=_of_one("sign"),
    log=_of_one("log"),
    maximum=_of_two("maximum"),
    minimum=_of_two("minimum"),
    where=_where,
    atan2=_angle,
)
