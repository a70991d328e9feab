"""The options of a step and of parameter groups, as values: read, checked, and turned into numbers."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor

from ..rules import Rule
from ..rules._base import Live
from .host import Hosts
from .keywords import StepOptions
from .lagging import LaggingRows

__all__ = [
    "AVERAGE",
    "FIRST_LR",
    "LR_MAX_KEYS",
    "Groups",
    "RuleOf",
    "StepInfo",
    "as_float",
    "check_group",
    "group_envelope",
    "is_constant",
    "keep_first_lr",
    "options_of",
    "values_of",
]

RuleOf = Callable[[Mapping[str, Any]], Rule]

# The key in `state[p]` of the running average of a parameter.
AVERAGE = "average"


# The keys in a group of the largest lr of its schedule, of which the first that is there counts: OneCycleLR
# writes one, every scheduler the next, and an optimizer whose decay depends on it the lr of an added group.
LR_MAX_KEYS = ("max_lr", "initial_lr", "first_lr")
FIRST_LR = LR_MAX_KEYS[-1]


class StepInfo(NamedTuple):
    """What the last step found.

    Attributes:
        grad_norm: the global 2-norm of the gradients, unscaled and before clipping; None where neither
            clipping nor skipping needs it. `clip_norm=math.inf` measures it and clips nothing.
        clip_factor: the factor that clipping applied to the gradients; 1 if the norm was within `clip_norm`.
        skipped: whether the step was skipped.
        reason: why: "nonfinite", a gradient was not finite; "spike", see `skip_spikes`; None if it was not.
    """

    grad_norm: float | None
    clip_factor: float
    skipped: bool
    reason: str | None = None


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
        numbers: the numbers of parameters by their identity, where they are not to be counted here.
        hosts: what the host holds of each parameter, where they are offloaded.
        lagging: the rows of each parameter that is tracked.
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
    numbers: Mapping[int, int] | None = None
    hosts: Hosts | None = None
    lagging: Mapping[Tensor, LaggingRows] | None = None

    def slot_keys(self, rule: Rule) -> list[str]:
        """The keys in `state[p]` of the rule's slots, in the rule's order."""
        return [self.state_names.get(name, name) for name in rule.form().slots]


def is_constant(options: Sequence[Any]) -> bool:
    """Whether no option (or element of one) can change in place, as a tensor or a list can."""
    return all(isinstance(x, _IMMUTABLE) or (isinstance(x, tuple) and is_constant(x)) for x in options)


def values_of(names: Sequence[str]) -> Callable[[Mapping[str, Any]], tuple[Any, ...]]:
    """The values of these keys of a mapping, as a tuple even where there is one."""
    if len(names) == 1:
        return lambda mapping: (mapping[names[0]],)
    return operator.itemgetter(*names)


def options_of(groups: Groups) -> Callable[[Mapping[str, Any]], tuple[Any, ...]]:
    """What a step reads of a group, as a tuple."""
    own = values_of(list(groups.defaults))
    if not groups.options.needs_lr_max:
        return own
    return lambda group: (*own(group), *map(group.get, LR_MAX_KEYS))


def as_float(x: Any, name: str = "an option") -> float:
    """An option that may be a tensor of one element, as torch allows, as a float: its value now.

    A live number stays one.

    Raises:
        ValueError: it is no number.
    """
    if isinstance(x, Live):
        return cast(float, x)
    try:
        if not isinstance(x, str) and (not isinstance(x, np.ndarray) or x.ndim == 0):
            return float(x.detach() if isinstance(x, Tensor) else x)
    except (TypeError, ValueError, RuntimeError):
        pass
    raise ValueError(f"{name} must be a number, got {x!r}")


def group_envelope(group: Mapping[str, Any], options: StepOptions) -> tuple[float, ...]:
    """The gradient scale, coupled decay and decay factor that a group's options stand for, and no average.

    Last, where the decay is cautious, the decay of a step.

    Raises:
        ValueError: an option is to be differentiated, or there can be no such decay.
    """
    if group.get("differentiable", False):
        _check_nothing_is_learned(group)
    scale = -1.0 if group.get("maximize", False) else 1.0
    decay = as_float(group.get("weight_decay", 0.0), "weight_decay")
    decoupled = group.get("decoupled_weight_decay", False)  # None where the rule decays by itself
    last = (0.0,) if options.cautious_decay else ()
    if decoupled:
        taken = _decay_of_step(group, decay, options.decay_scaling)
        return (scale, 0.0, 1.0, 0.0, taken) if options.cautious_decay else (scale, 0.0, 1 - taken, 0.0)
    if (options.cautious_decay or options.needs_lr_max) and decay != 0:
        asked = (
            "cautious_decay=True" if options.cautious_decay else f"decay_scaling={options.decay_scaling!r}"
        )
        how = (
            "is added to the gradient: pass decoupled_weight_decay=True, which Optimizer(params, rule) takes"
        )
        if decoupled is None:
            how = "is the rule's own, which decays by itself: pass weight_decay=0, or do without that option"
        raise ValueError(f"{asked} is of decoupled decay, and weight_decay={decay!r} of this group {how}")
    return scale, 0.0 if decoupled is None else decay, 1.0, 0.0, *last


def _decay_of_step(group: Mapping[str, Any], decay: float, scaling: str) -> float:
    """The part of p that decoupled decay takes in a step, of λ, lr, and the largest lr.

    Raises:
        ValueError: lr is larger than the largest of its schedule, as far as that is known.
    """
    lr = as_float(group["lr"], "lr")
    if scaling == "lr":
        return lr * decay
    if decay == 0:
        return 0.0
    key = next((key for key in LR_MAX_KEYS if group.get(key) is not None), "lr")
    largest = as_float(group[key], key)
    if lr > largest * (1 + 1e-6):  # a schedule is rounded
        raise ValueError(
            f"decay_scaling={scaling!r} needs the largest lr of the schedule, and lr={lr!r} of this group is "
            f"above its {key}={largest!r}: set group['max_lr'] to the largest that it will have"
        )
    share = lr / largest if largest != 0 else 0.0
    return (lr * share if scaling == "squared" else share) * decay


def keep_first_lr(
    param_groups: Sequence[dict[str, Any]], kept: bool, before: Sequence[Mapping[str, Any]] = ()
) -> None:
    """Let every group know the lr that it was added with, if that is kept; else none.

    Args:
        param_groups: the groups; one without takes that of its place in `before`, or its lr now.
        kept: whether it is.
        before: the groups in whose place these were loaded.
    """
    for group, old in zip(param_groups, [*before, *[{}] * len(param_groups)], strict=False):
        if not kept:
            group.pop(FIRST_LR, None)
        elif group.get(FIRST_LR) is None:
            first = old.get(FIRST_LR)
            group[FIRST_LR] = as_float(group["lr"], "lr") if first is None else first


def check_group(group: Mapping[str, Any], optimizer: str, options: StepOptions) -> None:
    """Raise a ValueError for an option that a group of this class cannot have when it is added."""
    check_placed(group, optimizer)
    decay = as_float(group.get("weight_decay", 0.0), "weight_decay")
    if not 0 <= decay < math.inf:
        raise ValueError(f"weight_decay must lie in [0, inf), got {decay!r}")
    group_envelope(group, options)


def check_placed(group: Mapping[str, Any], optimizer: str) -> None:
    """Raise a ValueError for an option of the whole optimizer in a group, where it would do nothing."""
    misplaced = [name for name in StepOptions.__dataclass_fields__ if name in group]
    if misplaced:
        raise ValueError(
            f"{misplaced[0]!r} is an option of the whole optimizer, not of a parameter group: "
            f"write {optimizer}(..., {misplaced[0]}={group[misplaced[0]]!r})"
        )


def _check_nothing_is_learned(group: Mapping[str, Any]) -> None:
    for name, value in group.items():
        parts = value if isinstance(value, tuple) else (value,)
        if any(isinstance(x, Tensor) and x.requires_grad for x in parts):
            raise ValueError(
                f"{name} is a tensor with requires_grad=True, and a step is not differentiated with "
                f"respect to the options; pass {name}.detach()"
            )
