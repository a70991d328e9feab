"""Why a step is skipped, and the window of norms by which one is told to be a spike.

The window has the norms of the last 128 steps, skipped ones too: a tuple, replaced at each step, so that a
state dictionary taken before stays as it is. It lies in the first parameter group, though it is no option,
because `torch.distributed.checkpoint` keeps nothing but the groups and the state of parameters.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

from .gradients import dense_grad
from .mesh import local
from .options import Groups, StepInfo

__all__ = [
    "NONFINITE",
    "SPIKE",
    "WINDOW_KEY",
    "first_nonfinite",
    "is_spike",
    "keep_window",
    "reason_to_skip",
    "record",
    "told",
]

NONFINITE, SPIKE = "nonfinite", "spike"
# The key in the first parameter group.
WINDOW_KEY = "recent_grad_norms"
_LONGEST, _SHORTEST = 128, 32
# The least that a deviation counts as, in units of the mean. Norms that are all the same, as after
# `clip_grad_norm_`, differ by rounding alone, and any of them may lie many such deviations above their mean.
_LEAST_DEVIATION = 0.01


def is_spike(norm: float, window: Sequence[float], deviations: float) -> bool:
    """Whether a norm lies more than so many standard deviations above the mean of those before it."""
    count = len(window)
    if count < _SHORTEST or not math.isfinite(norm):
        return False
    mean = sum(window) / count
    deviation = math.dist(window, (mean,) * count) / math.sqrt(count)
    return norm - mean > deviations * max(deviation, _LEAST_DEVIATION * mean)


def reason_to_skip(groups: Groups, norm: float | None, found_inf: bool) -> str | None:
    """Why the step is skipped that has this norm of the gradients, unscaled and before clipping, if it is.

    It depends on the norm and the window alone, which are the same in all processes.
    """
    options = groups.options
    if found_inf:
        return NONFINITE
    if norm is None:
        return None
    if options.skip_nonfinite and not math.isfinite(norm):
        return NONFINITE
    if options.skip_spikes is None:
        return None
    return SPIKE if is_spike(norm, groups.param_groups[0].get(WINDOW_KEY, ()), options.skip_spikes) else None


def record(groups: Groups, norm: float | None) -> None:
    """Let the window take the norm of a step.

    A norm of 0 says nothing of the next ones; `torch.distributed.checkpoint` makes a step with gradients of 0
    to have the state of a new optimizer.
    """
    if groups.options.skip_spikes is not None and norm is not None and 0 < norm < math.inf:
        first = groups.param_groups[0]
        first[WINDOW_KEY] = (*first.get(WINDOW_KEY, ()), norm)[-_LONGEST:]


def keep_window(param_groups: Sequence[dict[str, Any]], kept: bool) -> None:
    """Let the first group have a window, empty if there was none, if one is kept; and no other group."""
    for k, group in enumerate(param_groups):
        if kept and k == 0:
            group[WINDOW_KEY] = tuple(group.get(WINDOW_KEY, ()))
        else:
            group.pop(WINDOW_KEY, None)


def first_nonfinite(groups: Groups) -> str | None:
    """The name, or the place, of the first parameter whose gradient is not finite."""
    for k, group in enumerate(groups.param_groups):
        given = map(repr, group.get("param_names", ()))
        names = itertools.chain(given, (f"parameter {n} of group {k}" for n in itertools.count()))
        for name, p in zip(names, group["params"], strict=False):
            if p.grad is not None and not bool(dense_grad(local(p.grad), True).isfinite().all()):
                return name
    return None


def told(info: StepInfo, row: int, groups: Groups) -> str:
    """The warning after so many skipped steps in a row."""
    if info.reason == SPIKE:
        return (
            f"{row} steps in a row were skipped, the last because the norm of its gradients, "
            f"{info.grad_norm:.4g}, is a spike beside those before it. Lower the stepsize, look at the data, "
            f"or raise skip_spikes"
        )
    name = first_nonfinite(groups) or "none here and now; another process, or the loss scale, says so"
    return (
        f"{row} steps in a row were skipped because of a gradient that is not "
        f"finite; the first: {name}. Lower the stepsize, clip, or look for the cause in that layer"
    )
