"""The options of a step: the keyword arguments that all optimizers take beyond torch's."""

from __future__ import annotations

import functools
import inspect
import math
import numbers
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .state import StateFormat, checked_state_format

__all__ = ["OPTIONS_DOC", "STEP_OPTIONS", "OneOfMany", "StepOptions", "with_step_options"]


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

    Their meaning stands below, and in the documentation of every optimizer.

    Raises:
        ValueError: an argument is out of its range.
    """

    backend: str = "auto"
    state_format: StateFormat | None = None
    clip_norm: float | None = None
    skip_nonfinite: bool = False
    skip_spikes: float | None = None
    average: float | None = None
    cautious_decay: bool = False
    decay_scaling: str = "lr"
    seed: int = 0
    warn_after_skips: int | None = 10
    process_group: Any = None
    key_by: Any = "number"
    offload: bool = False
    semantics: str = "exact"

    def __post_init__(self) -> None:
        object.__setattr__(self, "state_format", checked_state_format(self.state_format))
        self._check_number("clip_norm", "(0, inf]", lambda x: x > 0)
        self._check_number("skip_spikes", "(0, inf)", lambda x: 0 < x < math.inf)
        self._check_number("average", "[0, 1)", lambda x: 0 <= x < 1)
        for name in ("skip_nonfinite", "cautious_decay", "offload"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"{name} must be True or False, got {getattr(self, name)!r}")
        if self.semantics not in ("exact", "lazy"):
            raise ValueError(f"semantics must be 'exact' or 'lazy', got {self.semantics!r}")
        if self.decay_scaling not in ("lr", "squared", "independent"):
            raise ValueError(
                f"decay_scaling must be 'lr', 'squared' or 'independent', got {self.decay_scaling!r}"
            )
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
        return self.clip_norm is not None or self.skip_nonfinite or self.skip_spikes is not None

    @property
    def needs_lr_max(self) -> bool:
        """Whether the decay of a step depends on the largest lr of the schedule."""
        return self.decay_scaling != "lr"

    def clip_factor(self, norm: float) -> float:
        """The factor on gradients whose global norm is this."""
        # The 1e-6, and what becomes of NaN, are those of torch.nn.utils.clip_grad_norm_.
        factor = 1.0 if self.clip_norm is None else self.clip_norm / (norm + 1e-6)
        return 1.0 if factor > 1 else factor

    def average_weight(self, t: int) -> float:
        """The weight of step t in the average, (1 - β) / (1 - β^t): the bias correction of section 3."""
        return 0.0 if self.average is None else (1 - self.average) / (1 - math.pow(self.average, t))

    def key(self, t: int) -> int:
        """The key of the random bits of step t, 63 bits."""
        # A different multiplier from tile_key's: (seed, tensor i+1) cannot collide with (seed', tensor i).
        return (self.seed * 0xA3EC647659359ACD + t * 0xD1B54A32D192ED03) & 0x7FFFFFFFFFFFFFFF


# The keyword arguments of all optimizers beyond torch's.
STEP_OPTIONS = {
    name: parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
    for name, parameter in inspect.signature(StepOptions).parameters.items()
}


def with_step_options(signature: inspect.Signature, without: str = "") -> inspect.Signature:
    """A constructor's signature with the keyword arguments of all optimizers, less `**` and the one named."""
    own = [
        parameter
        for name, parameter in signature.parameters.items()
        if parameter.kind is not inspect.Parameter.VAR_KEYWORD and name != without
    ]
    return signature.replace(parameters=[*own, *STEP_OPTIONS.values()])


OPTIONS_DOC = """
All optimizers of this package take these keyword arguments too:

Args:
    backend: "auto", the fastest backend that can update a parameter, or one by name: {backends}.
    state_format: how slots are stored: "float32", "bfloat16", "float16", "float8" or "float4" (also "bf16",
        "fp8", `torch.bfloat16`, ...) for all, or a mapping from the key of a slot, as torch has it, to its
        format; float32 by default. Float64 and complex parameters keep state of their own type, and in float8
        and float4 tensors of fewer than 4,096 elements stay float32. Float16 is refused for slots of squares,
        and float4 for rules that do not divide by the root of one. A slot "exp_avg" in float8 is
        `state[p]["exp_avg_float8"]`, its codes, and `"exp_avg_float8_scale"`, their scales.
    clip_norm: the maximum global 2-norm of the gradients, as in `torch.nn.utils.clip_grad_norm_`, without
        writing to `p.grad`. `last_step.grad_norm` is the norm before clipping; `math.inf` computes it and
        clips nothing.
    skip_nonfinite: a step with a NaN or infinite gradient changes nothing, and is counted in
        `skipped_steps`.
    skip_spikes: a step whose norm of the gradients, before clipping, lies more than this many standard
        deviations above the mean of the last 128 is skipped in the same way; 6.0, say. None is before there
        are 32. A norm that is not finite is no spike.
    average: the decay β of a running average of the parameters after each step (Kingma & Ba 2014,
        section 7.2), with its bias correction; see `averaged_parameters`.
    cautious_decay: decoupled weight decay only where an element's step and the element itself before the step
        have one sign, or it does not move (Chen et al. 2025, "Cautious Weight Decay"). Tracked embeddings
        cannot have it.
    decay_scaling: the part of p that decoupled weight decay takes in a step: "lr", lr λ; "squared",
        lr λ lr/lr_max, so that normalized weights keep their size as lr falls (AdamC, Defazio 2025);
        "independent", λ lr/lr_max, whatever lr_max is (Loshchilov & Hutter's own), with a λ as small as lr λ
        was. lr_max is `"max_lr"` of the parameter group, which OneCycleLR writes, else its `"initial_lr"`,
        which every scheduler writes, else its lr when it was added; a step with a larger lr is refused.
    seed: the seed of the stochastic rounding in 16, 8 and 4 bits.
    warn_after_skips: warn after this many consecutive skipped steps, with the name of the first parameter
        whose gradient is not finite, or the norm that is a spike; None never warns.
    process_group: of an optimizer that has a part of a model's parameters, the others being other processes'
        (ZeroRedundancyOptimizer, pipeline stages): the group over which the norm of all gradients is summed.
        DTensors need none: they know their mesh.
    key_by: what tells the random bits of one parameter from those of another: "number", its place in the
        optimizer; "name", its name as `named_parameters()` gave it; or `dict(model.named_parameters())`.
        By name, processes that number their parameters differently draw the same bits.
    offload: keep state, and the parameters in float32, on the host, and step them there; parameters and
        gradients stay where they are. A parameter of 16 bits has its float32 values in `state[p]["master"]`,
        and is those rounded to nearest. With `step_in_backward()` steps are taken while the backward goes on.
    semantics: what a step with a sparse gradient means. "exact": what it means with the same gradient dense,
        to rounding; the parameter must be tracked, see `track`. "lazy": rows without a gradient stay as they
        are, as in `torch.optim.SparseAdam`, which is another algorithm.
"""
