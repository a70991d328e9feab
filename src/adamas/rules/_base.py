"""What every update rule has: hyperparameters, slots, scalars of the step, and an elementwise update."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, cast, get_args, get_origin, get_type_hints

import numpy as np

# The array namespace inside every `update`. Backends rebind this one name (torch, jax.numpy, the
# compiled forms); called directly, a rule computes with NumPy.
xp: Any = np

Scalars = tuple[float, ...]
Update = Callable[..., Any]


@dataclass(frozen=True)
class Slot:
    """One state array of a parameter, of the parameter's shape.

    `signed`: whether values can be negative (a storage format spends no sign bit on a slot that
    cannot be). `initial`: the value of every element before the first step.
    """

    signed: bool
    initial: float = 0.0

    def filled(self, initial: float) -> Slot:
        """The same slot, starting at `initial` instead of zero."""
        return dataclasses.replace(self, initial=initial)


SIGNED = Slot(signed=True)
NONNEGATIVE = Slot(signed=False)


class Form(NamedTuple):
    """What a rule stores and computes: its slots in the order `update` takes them, and `update`."""

    slots: Mapping[str, Slot]
    update: Update


class Interval(NamedTuple):
    """The values a hyperparameter may take, in the notation of mathematics: "[0, 1)"."""

    text: str
    contains: Callable[[float], bool]


NonNegative = Annotated[float, Interval("[0, inf)", lambda x: 0 <= x < math.inf)]
Decay = Annotated[float, Interval("[0, 1)", lambda x: 0 <= x < 1)]
Fraction = Annotated[float, Interval("[0, 1]", lambda x: 0 <= x <= 1)]
Finite = Annotated[float, Interval("(-inf, inf)", math.isfinite)]


class Rule:
    """An update rule as a value: a frozen dataclass of hyperparameters and an elementwise function.

    A subclass is decorated with `@dataclass(frozen=True)` and has

    - fields, its hyperparameters, with defaults: floats (any finite one, or an interval:
      `NonNegative`, `Decay`), bools, or `Literal` strings; checked when the rule is made;
    - `slots`, the state arrays by name, in the order `update` takes them;
    - `scalars(t)`: all that depends on the hyperparameters and the step number t = 1, 2, ...
      alone, computed once a step, on the host, in float64;
    - `update(p, g, *slots, *scalars)`: the new `(p, *slots)`, written with operators and
      `xp.sqrt/abs/maximum/minimum/where/sign` only, so that one text serves arrays and kernels
      (both arguments of maximum and minimum are arrays: torch takes no number there).

    A rule that stores different things for different hyperparameters overrides `form`. A rule
    whose scalars need a running value that is no function of t (NAdam's product of momenta) names
    it in `carried`, advances it in `carry`, and gets it in `scalars`.

    Raises:
        ValueError: a hyperparameter is out of its range; it names the parameter, value and range.
    """

    lr: float
    slots: ClassVar[Mapping[str, Slot]] = {}
    carried: ClassVar[Mapping[str, float]] = {}
    counts_steps: ClassVar[bool] = True
    update: ClassVar[Update]

    def form(self) -> Form:
        """The slots and the update of this rule with these hyperparameters."""
        return Form(self.slots, type(self).update)

    # `*carried: Any, **_: Any` is what lets a type checker accept both scalars(t) and scalars(t, mu).
    def scalars(self, t: int, *carried: Any, **_: Any) -> Scalars:
        """The scalars of step t >= 1, in the order `update` takes them."""
        raise NotImplementedError(f"{type(self).__name__} does not define scalars(t)")

    def carry(self, t: int, *carried: Any, **_: Any) -> tuple[float, ...]:
        """The carried values of step t, from those of step t - 1."""
        return carried

    @classmethod
    def unchecked(cls, **fields: Any) -> Any:
        rule = object.__new__(cls)
        for name, value in fields.items():
            object.__setattr__(rule, name, value)
        return rule

    def __post_init__(self) -> None:
        for name, check in _checks(cast(Any, type(self))):
            # Stored as what it was checked to be: one float32 among the numbers, and `scalars`
            # would compute 1 - β^t in float32.
            object.__setattr__(self, name, check(f"{type(self).__name__}: {name}", getattr(self, name)))


@functools.cache
def _checks(rule: Any) -> list[tuple[str, Callable[[str, Any], Any]]]:
    """How each field of a rule is checked, read once from its annotations."""
    hints = get_type_hints(rule, include_extras=True)
    return [(field.name, _check(hints[field.name])) for field in dataclasses.fields(rule)]


def _check(hint: Any) -> Callable[[str, Any], Any]:
    if hint is bool:
        return functools.partial(_check_choice, (False, True))
    if get_origin(hint) is Literal:
        return functools.partial(_check_choice, get_args(hint))
    if hint is float:
        hint = Finite
    if get_origin(hint) is Annotated:
        (interval,) = (x for x in get_args(hint) if isinstance(x, Interval))
        return functools.partial(_check_interval, interval)
    raise TypeError(f"a hyperparameter is a float, an interval, a bool or a Literal, not {hint!r}")


def _check_choice(choices: tuple[Any, ...], name: str, value: object) -> Any:
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, got {value!r}")
    return choices[choices.index(value)]


def _check_interval(interval: Interval, name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, np.floating, np.integer)):
        raise ValueError(f"{name} must be a number in {interval.text}, got {value!r}")
    number = float(value)
    if not interval.contains(number):
        raise ValueError(f"{name} must lie in {interval.text}, got {value!r}")
    return number
