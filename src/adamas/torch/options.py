"""The options of a step and of parameter groups, as values: read, checked, and turned into numbers."""

from __future__ import annotations

import functools
import math
import numbers
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..rules import Rule
from .state import StateFormat, checked_state_format

__all__ = ["AVERAGE", "Groups", "StepInfo", "StepOptions", "as_float", "group_envelope"]

# The key in `state[p]` of the running average of a parameter.
AVERAGE = "average"


class StepInfo(NamedTuple):
    """What the last step found.

    Attributes:
        grad_norm: the global 2-norm of the gradients, unscaled and before clipping; None where neither
            clipping nor skipping needs it. `clip_norm=math.inf` measures it and clips nothing.
        clip_factor: the factor that clipping applied to the gradients; 1 if the norm was within `clip_norm`.
        skipped: whether the step was skipped because a gradient was not finite.
    """

    grad_norm: float | None
    clip_factor: float
    skipped: bool


class OneOfMany:
    """The process group of an optimizer that has a part of a model's parameters; no copy can take it along.

    Raises:
        ValueError: it is no process group.
    """

    def __init__(self, group: Any) -> None:
        distributed = getattr(torch.distributed, "ProcessGroup", None)
        if distributed is None or not isinstance(group, distributed):
            raise ValueError(
                f"process_group must be a ProcessGroup, such as torch.distributed.group.WORLD, got {group!r}"
            )
        self.group = group

    def __repr__(self) -> str:
        """Its size, which is what a reader wants to know."""
        return f"<process group of {self.group.size()}>"

    def __deepcopy__(self, memo: Any) -> OneOfMany:
        return self

    def __reduce__(self) -> Any:
        raise TypeError("an optimizer with process_group= cannot be pickled: save its state_dict() instead")


@dataclass(frozen=True)
class StepOptions:
    """The keyword arguments that every optimizer of this package takes beyond torch's.

    Their meaning stands in `adamas.torch.Optimizer`.

    Raises:
        ValueError: an argument is out of its range.
    """

    backend: str = "auto"
    state_format: StateFormat | None = None
    clip_norm: float | None = None
    skip_nonfinite: bool = False
    average: float | None = None
    seed: int = 0
    warn_after_skips: int | None = 10
    process_group: Any = None
    key_by: Any = "number"

    def __post_init__(self) -> None:
        object.__setattr__(self, "state_format", checked_state_format(self.state_format))
        self._check_number("clip_norm", "(0, inf]", lambda x: x > 0)
        self._check_number("average", "[0, 1)", lambda x: 0 <= x < 1)
        skip: Any = self.skip_nonfinite
        if not isinstance(skip, bool):
            raise ValueError(f"skip_nonfinite must be True or False, got {skip!r}")
        self._check_integer("seed", "an integer", lambda n: True)
        self._check_processes()
        if self.warn_after_skips is not None:
            self._check_integer("warn_after_skips", "a positive integer or None", lambda n: n > 0)

    def _check_number(self, name: str, interval: str, contains: Callable[[float], bool]) -> None:
        value = getattr(self, name)
        if value is None:
            return
        if isinstance(value, bool) or not isinstance(value, numbers.Real) or not contains(float(value)):
            raise ValueError(f"{name} must lie in {interval}, got {value!r}")
        # A NumPy float32 scalar would pull later arithmetic down to float32.
        object.__setattr__(self, name, float(value))

    def _check_integer(self, name: str, kind: str, allowed: Callable[[int], bool]) -> None:
        value = getattr(self, name)
        if isinstance(value, bool) or not isinstance(value, numbers.Integral) or not allowed(int(value)):
            raise ValueError(f"{name} must be {kind}, got {value!r}")
        object.__setattr__(self, name, int(value))

    def _check_processes(self) -> None:
        group, key_by = self.process_group, self.key_by
        if group is not None and not isinstance(group, OneOfMany):
            object.__setattr__(self, "process_group", OneOfMany(group))
        if isinstance(key_by, Mapping):
            if not all(isinstance(p, Tensor) for p in key_by.values()):
                raise ValueError(
                    "key_by must map names to parameters, as dict(model.named_parameters()) does"
                )
        elif key_by not in ("number", "name"):
            raise ValueError(
                f"key_by must be 'number', 'name', or dict(model.named_parameters()), got {key_by!r}"
            )

    @functools.cached_property
    def needs_grad_norm(self) -> bool:
        """Whether a step needs the norm of the gradients."""
        return self.clip_norm is not None or self.skip_nonfinite

    def average_weight(self, t: int) -> float:
        """The weight of step t in the average, (1 - β) / (1 - β^t): the bias correction of section 3."""
        return 0.0 if self.average is None else (1 - self.average) / (1 - math.pow(self.average, t))

    def key(self, t: int) -> int:
        """The key of the random bits of step t, 63 bits."""
        # A different multiplier from tile_key's: (seed, tensor i+1) cannot collide with (seed', tensor i).
        return (self.seed * 0xA3EC647659359ACD + t * 0xD1B54A32D192ED03) & 0x7FFFFFFFFFFFFFFF


# Option values of these types cannot change in place.
_IMMUTABLE = (bool, int, float, str, type(None))


@dataclass(frozen=True)
class Groups:
    """The parts of an optimizer that a plan reads: its groups and state, live, and how it names its state.

    Attributes:
        param_groups, state: the optimizer's own list and dictionary.
        options: the options of the step.
        defaults: the options of a group and their defaults.
        state_names: the key in `state[p]` of each slot and carried value, where it is not its own name.
        keeps_steps: whether `state[p]["step"]` is kept.
        takes_sparse: whether a sparse gradient may be made dense.
        upstream: the class of torch.optim that the optimizer stands in for, if there is one.
        told: the reasons for a slow path already reported; each is warned of once.
    """

    param_groups: list[dict[str, Any]]
    state: dict[Tensor, Any]
    options: StepOptions
    defaults: Mapping[str, Any]
    state_names: Mapping[str, str]
    keeps_steps: bool
    takes_sparse: bool
    upstream: type[torch.optim.Optimizer] | None
    told: set[str]

    def slot_keys(self, rule: Rule) -> list[str]:
        """The keys in `state[p]` of the rule's slots, in the rule's order."""
        return [self.state_names.get(name, name) for name in rule.form().slots]


def is_constant(options: Sequence[Any]) -> bool:
    """Whether no option (or element of one) can change in place, as a tensor or a list can."""
    return all(isinstance(x, _IMMUTABLE) or (isinstance(x, tuple) and is_constant(x)) for x in options)


def as_float(x: Any, name: str = "an option") -> float:
    """An option that may be a tensor of one element, as torch allows, as a float: its value now.

    Raises:
        ValueError: it is no number.
    """
    try:
        if not isinstance(x, str) and (not isinstance(x, np.ndarray) or x.ndim == 0):
            return float(x.detach() if isinstance(x, Tensor) else x)
    except (TypeError, ValueError, RuntimeError):
        pass
    raise ValueError(f"{name} must be a number, got {x!r}")


def group_envelope(group: Mapping[str, Any]) -> tuple[float, float, float, float]:
    """The gradient scale, coupled decay and decay factor that a group's options stand for, and no average.

    Raises:
        ValueError: an option is to be differentiated.
    """
    if group.get("differentiable", False):
        _check_nothing_is_learned(group)
    scale = -1.0 if group.get("maximize", False) else 1.0
    decay = as_float(group.get("weight_decay", 0.0), "weight_decay")
    if group.get("decoupled_weight_decay", False):
        return scale, 0.0, 1 - as_float(group["lr"], "lr") * decay, 0.0
    return scale, decay, 1.0, 0.0


def check_group(group: Mapping[str, Any], optimizer: str) -> None:
    """Raise a ValueError for an option that a group of this class cannot have when it is added."""
    misplaced = [name for name in StepOptions.__dataclass_fields__ if name in group]
    if misplaced:
        raise ValueError(
            f"{misplaced[0]!r} is an option of the whole optimizer, not of a parameter group: "
            f"write {optimizer}(..., {misplaced[0]}={group[misplaced[0]]!r})"
        )
    if group.get("capturable"):
        raise ValueError("capturable=True (CUDA graphs) is not supported; leave it False")
    decay = as_float(group.get("weight_decay", 0.0), "weight_decay")
    if not 0 <= decay < math.inf:
        raise ValueError(f"weight_decay must lie in [0, inf), got {decay!r}")
    group_envelope(group)


def _check_nothing_is_learned(group: Mapping[str, Any]) -> None:
    for name, value in group.items():
        parts = value if isinstance(value, tuple) else (value,)
        if any(isinstance(x, Tensor) and x.requires_grad for x in parts):
            raise ValueError(
                f"{name} is a tensor with requires_grad=True, and a step is not differentiated with "
                f"respect to the options; pass {name}.detach()"
            )
