"""Where gradients come from: the function itself, a second function, differences or SPSA; all are counted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from .trees import Array, Layout

__all__ = ["Source", "source_of"]

Fun = Callable[..., Any]

# Spall (1998), "Implementation of the simultaneous perturbation algorithm for stochastic optimization":
# c_k = c / (k + 1)^γ, a_k = a / (A + k + 1)^α with A a tenth of the iterations.
GAMMA = 0.101
ALPHA = 0.602
# Elements of ±1 that are drawn at a time.
_DRAWN = 1 << 14


class Source(Protocol):
    """Values and gradients of one function, with the number of its evaluations."""

    nfev: int
    njev: int

    def __call__(self, x: Array, extra: tuple[Any, ...], t: int, out: Array) -> float:
        """Write the gradient at the vector `x` in iteration t = 1, 2, ... into `out`; return the value."""
        ...


class _Counted:
    def __init__(self, fun: Fun, layout: Layout) -> None:
        self._fun, self._layout, self._build = fun, layout, layout.build
        self.nfev = self.njev = 0

    def _value(self, x: Array, extra: tuple[Any, ...]) -> float:
        self.nfev += 1
        return _scalar(self._fun(self._build(x), *extra))


class _WithValue(_Counted):
    """`jac=True`: one call gives both."""

    def __call__(self, x: Array, extra: tuple[Any, ...], t: int, out: Array) -> float:
        self.nfev += 1
        self.njev += 1
        pair = self._fun(self._build(x), *extra)
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise TypeError(f"with jac=True, fun must return (value, gradient), got {type(pair).__name__}")
        value, g = pair
        self._layout.read("the gradient", g, out)
        return value if type(value) is float else _scalar(value)


class _Separate(_Counted):
    """`jac=` a function."""

    def __init__(self, fun: Fun, layout: Layout, jac: Fun) -> None:
        super().__init__(fun, layout)
        self._jac = jac

    def __call__(self, x: Array, extra: tuple[Any, ...], t: int, out: Array) -> float:
        value = self._value(x, extra)
        self.njev += 1
        self._layout.read("the gradient", self._jac(self._build(x), *extra), out)
        return value


class _TwoPoint(_Counted):
    """Forward differences: n + 1 evaluations; backward where forward would leave the bounds."""

    def __init__(self, fun: Fun, layout: Layout, step: float | None, box: tuple[Array, Array] | None) -> None:
        super().__init__(fun, layout)
        self._relative = step or float(np.finfo(layout.dtype).eps) ** 0.5
        self._box = box

    def __call__(self, x: Array, extra: tuple[Any, ...], t: int, out: Array) -> float:
        value = self._value(x, extra)
        moved = x.copy()
        steps = self._relative * np.maximum(1, np.abs(x))
        if self._box is not None:
            low, high = self._box
            steps = np.where((x + steps > high) & (x - low > high - x), -steps, steps)
            steps = np.clip(x + steps, low, high) - x
        for k in range(x.size):
            moved[k] = x[k] + steps[k]
            width = float(moved[k]) - float(x[k])
            out[k] = (self._value(moved, extra) - value) / width if width else 0.0
            moved[k] = x[k]
        return value


class _Spsa(_Counted):
    """Spall's simultaneous perturbation: two evaluations whatever n is, at x ± c_k Δ with Δ of signs.

    The signs of iteration t are a function of the seed and t, so that nothing of them is part of the state.
    """

    def __init__(
        self, fun: Fun, layout: Layout, c: float, seed: int, box: tuple[Array, Array] | None
    ) -> None:
        super().__init__(fun, layout)
        self._c, self._seed, self._box = c, seed, box
        self._rows = max(1, _DRAWN // layout.size)
        self._block, self._signs = -1, np.empty((0, layout.size), layout.dtype)

    def __call__(self, x: Array, extra: tuple[Any, ...], t: int, out: Array) -> float:
        step = self._c / t**GAMMA * self._delta(t)
        above, below = x + step, x - step
        if self._box is not None:
            above, below = np.clip(above, *self._box), np.clip(below, *self._box)
        high, low = self._value(above, extra), self._value(below, extra)
        width = above - below
        np.divide(high - low, width, out=out, where=width != 0, casting="same_kind")
        out[width == 0] = 0
        return (high + low) / 2

    def _delta(self, t: int) -> Array:
        block, row = divmod(t, self._rows)
        if block != self._block:
            random = np.random.default_rng([self._seed, 2, block])
            signs = random.integers(0, 2, (self._rows, self._layout.size), dtype=np.int8)
            self._block, self._signs = block, (2 * signs - 1).astype(self._layout.dtype)
        chosen: Array = self._signs[row]
        return chosen


def source_of(
    fun: Fun,
    jac: Any,
    layout: Layout,
    *,
    step: float | None,
    lr: float,
    seed: int,
    box: tuple[Array, Array] | None,
) -> Source:
    """The source that `jac` names.

    Args:
        fun, jac: as of `minimize`; None is "spsa".
        layout: the structure of x.
        step: c of SPSA, twice `lr` by default, or the relative step of differences, the root of the type's ε.
        lr: the step size of the rule.
        seed: of the random signs.
        box: the bounds.

    Raises:
        TypeError: `fun` or `jac` is nothing of the kind.
        ValueError: `jac` is another string.
    """
    if not callable(fun):
        raise TypeError(f"fun must be a function, got {type(fun).__name__}")
    if jac is True:
        return _WithValue(fun, layout)
    if callable(jac):
        return _Separate(fun, layout, jac)
    if jac == "2-point":
        return _TwoPoint(fun, layout, step, box)
    if jac is None or jac == "spsa":
        return _Spsa(fun, layout, step or 2 * lr, seed, box)
    raise ValueError(f'jac must be True, a function, "spsa", "2-point" or None, got {jac!r}')


def _scalar(value: Any) -> float:
    if isinstance(value, (float, int)) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, (tuple, list)):
        hint = "; if that is its gradient beside it, say jac=True" if len(value) == 2 else ""
        raise TypeError(f"fun must return one real number, got a {type(value).__name__}{hint}")
    array = np.asarray(value)
    if array.size != 1 or array.dtype.kind not in "fiu":
        found = f"an array of shape {array.shape}" if array.ndim else f"{type(value).__name__} {value!r}"[:60]
        raise TypeError(f"fun must return one real number, got {found}")
    return float(array.item())
