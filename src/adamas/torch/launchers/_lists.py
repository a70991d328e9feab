"""Arithmetic on lists of tensors, so that a rule's text runs once for all parameters of one type."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from .._compat import foreach

__all__ = ["Lists", "lists_xp"]


class Lists:
    """Tensors that go through the same arithmetic, each operation one call of torch for all of them.

    The other operand of an operator is another `Lists` of as many tensors, or one number for all.
    """

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        self.tensors = list(tensors)

    def __neg__(self) -> Lists:
        return Lists(foreach("neg", self.tensors))

    def __abs__(self) -> Lists:
        return Lists(foreach("abs", self.tensors))

    def __add__(self, other: Any) -> Lists:
        return Lists(foreach("add", self.tensors, _operand(other)))

    def __sub__(self, other: Any) -> Lists:
        return Lists(foreach("sub", self.tensors, _operand(other)))

    def __mul__(self, other: Any) -> Lists:
        return Lists(foreach("mul", self.tensors, _operand(other)))

    def __truediv__(self, other: Any) -> Lists:
        return Lists(foreach("div", self.tensors, _operand(other)))

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

    def __rpow__(self, other: Any) -> Lists:
        return Lists([other**x for x in self.tensors])

    def __eq__(self, other: object) -> Lists:  # type: ignore[override]
        return self._each(Tensor.__eq__, other)

    def __ne__(self, other: object) -> Lists:  # type: ignore[override]
        return self._each(Tensor.__ne__, other)

    def __lt__(self, other: Any) -> Lists:
        return self._each(Tensor.__lt__, other)

    def __le__(self, other: Any) -> Lists:
        return self._each(Tensor.__le__, other)

    def __gt__(self, other: Any) -> Lists:
        return self._each(Tensor.__gt__, other)

    def __ge__(self, other: Any) -> Lists:
        return self._each(Tensor.__ge__, other)

    def __and__(self, other: Any) -> Lists:
        return self._each(Tensor.__and__, other)

    def __or__(self, other: Any) -> Lists:
        return self._each(Tensor.__or__, other)

    def __invert__(self) -> Lists:
        return Lists([~x for x in self.tensors])

    __hash__ = None  # type: ignore[assignment]

    @classmethod
    def __torch_function__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Lists:
        """Apply any function of torch tensor by tensor, for rules that no kernel can run."""
        count = next(len(x.tensors) for x in args if isinstance(x, Lists))
        columns = (x.tensors if isinstance(x, Lists) else [x] * count for x in args)
        return cls([function(*row, **(kwargs or {})) for row in zip(*columns, strict=True)])

    def __getattr__(self, name: str) -> Any:
        """Any method of a tensor, a call a tensor."""
        if name.startswith("__") or not hasattr(Tensor, name):
            raise AttributeError(name)
        return lambda *args, **kwargs: self.__torch_function__(
            getattr(Tensor, name), (), (self, *args), kwargs
        )

    def _each(self, function: Callable[..., Tensor], other: Any) -> Lists:
        return Lists([function(*pair) for pair in zip(self.tensors, self._spread(other), strict=True)])

    def _spread(self, other: Any) -> Sequence[Any]:
        return other.tensors if isinstance(other, Lists) else [other] * len(self.tensors)


def _operand(x: Any) -> Any:
    return x.tensors if isinstance(x, Lists) else x


def _of_two(name: str) -> Callable[[Any, Any], Any]:
    """A function of two arrays, of which one may be a number."""

    def function(x: Any, y: Any) -> Any:
        if not isinstance(x, Lists):
            x, y = y, x
        if not isinstance(y, Lists):
            y = Lists([torch.full_like(each, y) for each in x.tensors])
        return Lists(foreach(name, x.tensors, y.tensors))

    return function


def _where(condition: Any, x: Any, y: Any) -> Any:
    if not isinstance(condition, Lists):
        return x if condition else y
    columns = condition.tensors, condition._spread(x), condition._spread(y)
    return Lists([torch.where(*row) for row in zip(*columns, strict=True)])


# The `xp` of a rule on lists of tensors.
lists_xp = SimpleNamespace(
    sqrt=lambda x: Lists(foreach("sqrt", x.tensors)),
    abs=lambda x: abs(x),
    sign=lambda x: Lists(foreach("sign", x.tensors)),
    maximum=_of_two("maximum"),
    minimum=_of_two("minimum"),
    where=_where,
)
