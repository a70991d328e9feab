"""What every update rule has: hyperparameters, slots, scalars of the step, and an elementwise update."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import (
    Annotated,
    Any,
    ClassVar,
    Literal,
    NamedTuple,
    NoReturn,
    Self,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)

import numpy as np

from .._tools.intervals import as_number, check_choice, check_number, interval_of
from ._coast import Coast
from ._gauge import Gauge
from ._ranges import Decay as Decay
from ._ranges import Finite as Finite
from ._ranges import Fraction as Fraction
from ._ranges import NonNegative as NonNegative
from ._ranges import Positive as Positive
from ._reduction import Reduction, Scope, reduction_of

# The array namespace inside every rule, which backends rebind; called directly, a rule uses NumPy.
xp: Any = np

Scalars = tuple[float, ...]
Update = Callable[..., Any]


@dataclass(frozen=True)
class Slot:
    """One state array of a parameter, of the parameter's shape.

    `signed`: whether values can be negative (a storage format spends no sign bit on a slot that
    cannot be). `initial`: the value of every element before the first step. `least_bits`: how many bits
    an element needs, where rounding comes back through `update`: a difference to something almost equal, of
    which nothing would be left, or a slot that is made of this one.
    """

    signed: bool
    initial: float = 0.0
    least_bits: int = 0

    def filled(self, initial: float) -> Slot:
        """The same slot, starting at `initial` instead of zero."""
        return dataclasses.replace(self, initial=initial)

    def of_at_least(self, bits: int) -> Slot:
        """The same slot, of which an element needs so many bits."""
        return dataclasses.replace(self, least_bits=bits)


SIGNED = Slot(signed=True)
NONNEGATIVE = Slot(signed=False)


class Form(NamedTuple):
    """What a rule stores and computes: its slots in the order `update` takes them, `update`, and its sums."""

    slots: Mapping[str, Slot]
    update: Update
    reduction: Reduction | None = None


# Names in a parameter's state or options that a slot of the same name would overwrite or hide.
_RESERVED = frozenset(
    [
        "p",
        "g",
        "step",
        "average",
        "master",
        "p_copied",
        "params",
        "param_names",
        "lr",
        "weight_decay",
        "decoupled_weight_decay",
        "maximize",
        "differentiable",
        "foreach",
        "fused",
        "capturable",
    ]
)


class Live:
    """A hyperparameter whose value may change without anybody being told: a number of a device, say.

    A rule that is made of such numbers is traced, to be computed where they are.
    """


class Rule:
    """An update rule as a value: a frozen dataclass of hyperparameters and an elementwise function.

    A subclass is decorated with `@dataclass(frozen=True)` and has

    - fields, its hyperparameters, with defaults: floats (any finite one, or a range: `NonNegative`,
      `Decay`, `Annotated[float, annotated_types.Gt(0)]`), bools, or `Literal` strings; checked when
      the rule is made;
    - `slots`, the state arrays by name, in the order `update` takes them;
    - `scalars(t)`: a tuple of all that depends on the hyperparameters and the step number
      t = 1, 2, ... alone, computed once a step in float64. It uses operators and `xp.where/sqrt/
      maximum/minimum/abs/sign/log/atan2`, and no `if` on t, so that it takes a number, an array of numbers
      or a traced one; an `if` on a bool or `Literal` field is fine;
    - `update(p, g, *slots, *scalars)`: the new `(p, *slots)`, written with operators and
      `xp.sqrt/abs/maximum/minimum/where/sign/log/atan2` only, so that one text serves arrays and kernels.

    A rule that stores different things for different hyperparameters overrides `form`. A rule
    whose scalars need a running value that is no function of t (NAdam's product of momenta) names
    it in `carried`, advances it in `carry`, and gets it in `scalars`. A rule whose scalars tell only
    t = 1 from later steps says `counts_steps = False`: nobody then needs to keep count.

    A rule whose step depends on sums has `measure` and `factors`, and says by `scope` over what they go; see
    `Reduction`. A number that it keeps for each sum, from one step to the next, is in `kept`.

    A rule that keeps an average of its iterates returns it from `averaged(p, *slots)`. One that has a field
    `weight_decay` decays the parameter itself: optimizers pass the decay of a group to it, and apply none.

    `coast(*scalars)` says what a step does where the gradient is zero, for exact steps with sparse gradients;
    `gauge(t)` says where its state has a mean and a denominator, for reports.

    A field named `eps` is taken to be added to the root of a NONNEGATIVE slot, or inside it. Where it is
    large enough to hide the roots of subnormal numbers, kernels set those to zero at once; with
    `eps_hides = False`, because it is multiplied by something small, they do not.

    Raises:
        ValueError: a hyperparameter is out of its range; it names the parameter, value and range.
        TypeError: the class is no rule; it says what to write.
    """

    lr: float
    slots: ClassVar[Mapping[str, Slot]] = {}
    carried: ClassVar[Mapping[str, float]] = {}
    # The bits of carried values, as the front end of PyTorch keeps them: 64 for sums over all steps.
    carried_bits: ClassVar[int] = 32
    counts_steps: ClassVar[bool] = True
    eps_hides: ClassVar[bool] = True
    update: ClassVar[Update]
    scope: ClassVar[Scope] = "tensor"
    kept: ClassVar[Mapping[str, float]] = {}

    def __new__(cls, *args: Any, **_: Any) -> Self:
        """Refuse parameters: whoever passes them wants an optimizer."""
        if args and _holds_tensors(args[0]):
            raise TypeError(
                f"adamas.{cls.__name__} is an update rule and takes no parameters; "
                f"the optimizers for PyTorch are in adamas.torch: adamas.torch.{cls.__name__}(params)"
            )
        return super().__new__(cls)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # A dataclass, and a class with a constructor of its own, does not come here.
        raise TypeError(f"{type(self).__name__}: write @dataclass(frozen=True) above the class")

    @property
    def init(self) -> NoReturn:
        """Refuse what optax asks of a gradient transformation: a rule is none yet."""
        name = type(self).__name__
        raise TypeError(
            f"{name}(...) is an update rule, not a gradient transformation of optax: "
            f"write adamas.optax.from_rule({name}(...))"
        )

    def form(self) -> Form:
        """The slots and the update of this rule with these hyperparameters."""
        return Form(self.slots, cast(Update, getattr(type(self), "update", None)), reduction_of(type(self)))

    # `*carried: Any, **_: Any` is what lets a type checker accept both scalars(t) and scalars(t, mu).
    def scalars(self, t: int, *carried: Any, **_: Any) -> Scalars:
        """The scalars of step t >= 1, in the order `update` takes them."""
        raise NotImplementedError(f"{type(self).__name__} does not define scalars(t)")

    def carry(self, t: int, *carried: Any, **_: Any) -> tuple[float, ...]:
        """The carried values of step t, from those of step t - 1."""
        return carried

    def coast(self, *scalars: float) -> Coast | None:
        """What a step with these scalars does where the gradient is zero; None where nobody has said.

        Whole runs of such steps, of the rows that a sparse gradient leaves out, are then taken at once.
        """
        return None

    def gauge(self, t: int) -> Gauge:
        """How to read the state after step t >= 1; reports leave out what it does not say."""
        return Gauge()

    def averaged(self, p: Any, *slots: Any) -> Any:
        """The parameter to evaluate, of a rule that keeps an average of its iterates; None of others."""
        return None

    def __post_init__(self) -> None:
        for name, check, _ in _fields(cast(Any, type(self))):
            # Stored as what it was checked to be: one float32 among the numbers, and `scalars`
            # would compute 1 - β^t in float32.
            object.__setattr__(self, name, check(f"{type(self).__name__}: {name}", getattr(self, name)))

    @classmethod
    def unchecked(cls, **fields: Any) -> Self:
        """A rule whose hyperparameters are not held to their ranges; numbers of any kind become floats.

        A schedule may end at a learning rate of -2e-18 by rounding, and the step is still well defined.

        Raises:
            TypeError: a field without default is missing, or there is no such field.
            ValueError: a number is none.
        """
        rule = object.__new__(cls)
        for name, check, default in _fields(cast(Any, cls)):
            value = fields.pop(name, default)
            if value is dataclasses.MISSING:
                raise TypeError(f"{cls.__name__}.unchecked() misses the field {name!r}")
            number_wanted = cast(Any, check).func is check_number
            if type(value) is not float and number_wanted and not isinstance(value, Live):
                number = as_number(value)
                if number is None:
                    raise ValueError(f"{cls.__name__}: {name} must be a number, got {value!r}")
                value = number
            object.__setattr__(rule, name, value)
        if fields:
            raise TypeError(f"{cls.__name__} has no field {next(iter(fields))!r}")
        return rule


_Check = Callable[[str, Any], Any]


@functools.cache
def _fields(rule: Any) -> list[tuple[str, _Check, Any]]:
    """Name, check and default of each field, read once from the annotations of a class that is checked."""
    check_class(rule)
    hints = get_type_hints(rule, include_extras=True)
    return [
        (field.name, _check(f"{rule.__name__}.{field.name}", hints[field.name]), field.default)
        for field in dataclasses.fields(rule)
    ]


def _check(name: str, hint: Any) -> _Check:
    if hint is bool:
        return functools.partial(check_choice, (False, True))
    if get_origin(hint) is Literal:
        return functools.partial(check_choice, get_args(hint))
    if hint is float:
        hint = Finite
    if get_origin(hint) is Annotated and get_args(hint)[0] is float:
        return functools.partial(check_number, interval_of(hint))
    raise TypeError(
        f"{name}: annotate it as float, Annotated[float, annotated_types.Ge(0)], bool or Literal, not "
        f"{getattr(hint, '__name__', hint)}"
    )


def check_class(cls: type[Rule]) -> None:
    """Raise a TypeError or ValueError that says what to write where a class is not a rule."""
    name, own = cls.__name__, cls.__dict__
    annotated = own.get("__annotations__", {}).values()
    if "__dataclass_fields__" not in own and any("ClassVar" not in str(hint) for hint in annotated):
        raise TypeError(f"{name}: write @dataclass(frozen=True) above the class, for its own fields")
    if not cast(Any, cls).__dataclass_params__.frozen:
        raise TypeError(f"{name}: write @dataclass(frozen=True), not @dataclass: a rule is a value")
    for attribute, value in own.items():
        holds_slots = isinstance(value, Mapping) and any(isinstance(x, Slot) for x in value.values())
        if holds_slots and attribute != "slots":
            raise TypeError(f"{name}: {attribute} = {{...}} has no effect; write slots = {{...}}")
    if cls.form is Rule.form:
        check_slots(cls, cls.slots)


def check_slots(cls: type[Rule], slots: Any) -> None:
    """Raise a TypeError or ValueError that says what to write where slots are not slots."""
    name = cls.__name__
    if not isinstance(slots, Mapping):
        raise TypeError(f'{name}: slots is a mapping, such as slots = {{"m": SIGNED}}, not {slots!r}')
    fields = getattr(cls, "__dataclass_fields__", {})
    for slot, kind in slots.items():
        if not isinstance(kind, Slot):
            raise TypeError(
                f"{name}: slot {slot!r} is SIGNED or NONNEGATIVE (from adamas.rules), not {kind!r}"
            )
        if not isinstance(slot, str) or not slot.isidentifier():
            raise ValueError(f"{name}: slot {slot!r} must be named like a variable")
        if slot in _RESERVED or slot in fields or slot in cls.carried:
            raise ValueError(
                f"{name}: slot {slot!r} has the name of an option or of other state; rename the slot"
            )


def _holds_tensors(value: Any) -> bool:
    """Whether a value is what optimizers take first: a generator, or tensors or groups in a list."""
    if isinstance(value, (list, tuple)) and value:
        return hasattr(value[0], "requires_grad") or isinstance(value[0], (dict, tuple))
    if isinstance(value, Iterator):
        return True
    return hasattr(value, "requires_grad") and getattr(value, "ndim", 0) > 0
