"""Stepping in backward: each parameter is stepped, and its gradient freed, as soon as that is complete."""

from __future__ import annotations

import contextlib
import functools
import itertools
import operator
import threading
import weakref
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

from ._compat import disable_dynamo
from .keywords import StepOptions
from .numbering import numbers_of
from .offload import Worker, order
from .options import Groups, StepInfo
from .params import check_params, member_of
from .refusals import check_groups, check_options, check_pre_hooks, check_replicas
from .running_norm import RunningNorm
from .single import Single
from .step import Plan

__all__ = ["InBackward", "Stepper"]

# The flag by which torch's GradScaler leaves unscaling to the step, and the attributes it then sets.
_SCALES = "_step_supports_amp_scaling"
_SCALED = ("grad_scale", "found_inf")
# Sentinel: otherwise moving a parameter to the next group leaves the flattened list equal.
_END = object()
# All that there are, to find two on one parameter.
_ALIVE: weakref.WeakSet[Stepper] = weakref.WeakSet()


class InBackward(torch.optim.Optimizer):
    """The part of an optimizer that steps in backward."""

    options: StepOptions
    _plan: Plan | None
    _in_backward: Stepper | None = None
    _watch: Any

    def step_in_backward(self, clip: str | None = None) -> Stepper:
        """Step each parameter during `backward()`, as soon as its gradient is complete, and free that.

        The training loop stays as it is: `opt.step()` after each backward steps the parameters that still
        have a gradient, and closes the step. Parameters and state get the bits of a plain step; the
        stepsize and other options of a group are read when a gradient arrives. Copies of the optimizer, and
        what is loaded from a pickle of it, do not step in backward.

        Args:
            clip: "running", for an optimizer with `clip_norm`: clip by a running norm. This is another
                algorithm than clipping by the norm of all gradients. A gradient is clipped as if the global
                norm were the larger of two: the root mean square of the norms of past steps (weights
                falling by 0.9 a step, sum 1), and the norm of the gradients that have arrived in this step.
                `last_step` then has the norm, and the smallest factor that was applied. The mean is part of
                the checkpoint, as "running_clip" of the first parameter group.

        Returns:
            The `Stepper`: `remove()` ends stepping in backward, and so does the end of a `with` block;
            within `accumulate()` gradients only accumulate.

        Raises:
            ValueError: an option needs all gradients at once (`clip_norm` without `clip`, skipping), a group
                is differentiable, or a backend or format cannot be had; nothing has changed.
            RuntimeError: it steps in backward already, it is watched, it has step pre-hooks, or gradients are
                reduced only after hooks have run (DistributedDataParallel, FSDP1); nothing has changed.
        """
        if self._in_backward is not None:
            raise RuntimeError("this optimizer steps in backward already; remove() that first")
        if self._watch:
            raise RuntimeError("steps in the backward pass are not measured: watch(every=None) comes first")
        check_options(self.options, clip)
        stepper = Stepper(self)
        stepper.refresh(self)
        self._plan, self._in_backward = None, stepper
        return stepper

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a parameter group; it is stepped in backward if the others are."""
        super().add_param_group(param_group)
        if self._in_backward is not None:
            try:
                self._in_backward.refresh(self)
            except BaseException:
                self.param_groups.pop()
                raise

    def _own_scaling(self) -> dict[str, bool]:
        """The flag for GradScaler, where it is the optimizer's own."""
        own = self.__dict__ if self._in_backward is None else self._in_backward.covered
        return {_SCALES: own[_SCALES]} if _SCALES in own else {}


class Stepper:
    """What `step_in_backward` returns: the hooks on the parameters, and the step that has begun.

    A step begins with the first gradient that arrives, and `opt.step()` closes it. The optimizer owns this,
    and hooks refer to it weakly: those of an optimizer that has been dropped do nothing.
    """

    def __init__(self, optimizer: InBackward) -> None:
        self._optimizer = weakref.ref(optimizer)
        self._hook = functools.partial(_arrived, weakref.ref(self))
        self._hooks: dict[Tensor, Any] = {}
        self._members: dict[Tensor, Single] = {}
        self._groups: Groups | None = None
        self._state: Any = None
        self._found: list[Any] = []
        self._lock = threading.RLock()  # autograd has a thread a device
        self._accumulates, self._open, self._number, self._checked = False, False, 0, False
        self._worker = Worker() if optimizer.options.offload else None
        self._norm = None if optimizer.options.clip_norm is None else RunningNorm(optimizer.options)
        self._clip_factor = None if self._norm is None else self._norm.factor
        # A GradScaler must come to `step`, which refuses it; this covers the optimizer's own flag.
        self.covered = {name: optimizer.__dict__[name] for name in (_SCALES,) if name in optimizer.__dict__}

    @property
    def backend(self) -> str:
        """The backends that were used, joined by "and"."""
        used = {member.plan.backend for member in self._members.values() if member.plan is not None}
        return " and ".join(sorted(used)) or "none"

    @contextlib.contextmanager
    def accumulate(self, on: bool = True) -> Iterator[None]:
        """Within, backward only accumulates gradients: for every micro-batch of a step but the last.

        The last one's backward, outside, steps each parameter with its whole sum.

        Args:
            on: False to step in backward all the same, as in `with stepper.accumulate(k < last):`.
        """
        before, self._accumulates = self._accumulates, on
        try:
            yield
        finally:
            self._accumulates = before

    def remove(self) -> None:
        """End stepping in backward: later steps are plain ones. A second call does nothing."""
        for hook in self._hooks.values():
            hook.remove()
        self._finish()
        self._hooks, self._members = {}, {}
        optimizer = self._optimizer()
        if optimizer is not None and optimizer._in_backward is self:
            optimizer._in_backward = None
            optimizer.__dict__.pop(_SCALES, None)
            optimizer.__dict__.update(self.covered)

    def __enter__(self) -> Stepper:
        return self

    def __exit__(self, *error: object) -> None:
        self.remove()

    def refresh(self, optimizer: Any) -> None:
        """Follow the optimizer's groups and state: a member for each parameter, and a hook on it.

        Raises:
            ValueError, RuntimeError: a parameter cannot be stepped in backward; nothing has changed.
        """
        groups = optimizer._groups()
        found = [(group, p) for group in groups.param_groups for p in _unique(group["params"])]
        check_groups(optimizer, groups, self._norm is not None)
        numbers = numbers_of([p for _, p in found], groups)
        self._check_alone([p for _, p in found])
        members = {}
        loaded = optimizer.state is not self._state
        if loaded:  # the step that was begun is gone
            self._open, self._number = False, self._number + 1
        for group, p in found:
            old, number = self._members.get(p), numbers[id(p)]
            same = old is not None and old.group is group and old.number == number and not loaded
            members[p] = old if old is not None and same else Single(p, group, number)
        for p in self._hooks.keys() - members.keys():
            self._hooks.pop(p).remove()
        self._members, self._groups, self._state = members, groups, optimizer.state
        self._found = _flat(optimizer)
        optimizer.__dict__[_SCALES] = True
        _ALIVE.add(self)
        self._add_hooks()

    def _check_alone(self, params: list[Tensor]) -> None:
        """Raise where another optimizer steps a parameter in backward: this one would find no gradient."""
        others = [other for other in _ALIVE if other is not self]
        if any(p in other._hooks for other in others for p in params):
            raise RuntimeError("another optimizer steps these parameters in backward; call its remove()")

    def _add_hooks(self) -> None:
        """Put a hook on each parameter that has none; torch allows none on a frozen one."""
        for p in self._members:
            if p not in self._hooks and p.requires_grad:
                self._hooks[p] = p.register_post_accumulate_grad_hook(self._hook)

    def arrived(self, p: Tensor) -> None:
        """Step a parameter whose gradient is complete."""
        if self._accumulates:
            return
        optimizer = self._optimizer()
        if optimizer is None:
            raise RuntimeError("the optimizer that steps in backward was deleted; keep it, or call remove()")
        with self._lock, torch.no_grad():
            self._begin(optimizer)
            member = self._members.get(p)
            if member is None:  # it has left the optimizer
                return
            if p.grad is not None:  # a function may give none
                self._take(member, optimizer)

    def _begin(self, optimizer: Any) -> None:
        """Begin a step, or go on with it."""
        if self._open and optimizer.state is self._state:
            return
        found = _flat(optimizer)
        same = len(found) == len(self._found) and all(map(operator.is_, found, self._found))
        if not same or optimizer.state is not self._state:
            self.refresh(optimizer)
        check_pre_hooks(optimizer)
        if not self._checked:  # the model may have been wrapped since
            check_replicas(self._members)
            self._checked = True
        if self._norm is not None:
            self._norm.begin(optimizer.param_groups[0])
        self._open, self._number = True, self._number + 1

    def _take(self, member: Single, optimizer: Any) -> None:
        self._check_first(member)
        assert self._groups is not None
        if self._worker is None:
            member.step(optimizer, self._groups, self._clip_factor)
        else:
            self._worker.begin(member.begin(optimizer, self._groups, self._clip_factor))
        member.taken = self._number

    def _check_first(self, member: Single) -> None:
        if member.taken == self._number:
            raise RuntimeError(
                f"a parameter of shape {tuple(member.p.shape)} has another gradient after it has taken this "
                f"step. Call opt.step() after each backward, or, where several make one step, run all but "
                f"the last within accumulate(); zero_grad() drops the gradient"
            )

    def close(self, optimizer: Any) -> StepInfo:
        """Step the parameters that still have a gradient, and end the step."""
        with self._lock:
            if any(name in optimizer.__dict__ for name in _SCALED):
                raise RuntimeError(
                    "a GradScaler cannot unscale gradients that stepping in backward has used: parameters "
                    "took this step with scaled ones. Load the last checkpoint, and train in bfloat16 "
                    "without a scaler, or without step_in_backward()"
                )
            self._begin(optimizer)
            assert self._groups is not None
            late = [member for member in self._members.values() if member.p.grad is not None]
            check_params([(0, member_of(member.p, self._groups)) for member in late], self._groups)
            for member in late:
                self._check_first(member)
            for member in late:
                self._take(member, optimizer)
            self._finish()
            self._add_hooks()  # on parameters that have thawed
            self._open = False
            return StepInfo(None, 1.0, False) if self._norm is None else self._norm.end(self._found[0])

    def _finish(self) -> None:
        """Wait for steps on the host, and let the next forward wait for the parameters."""
        if self._worker is not None:
            self._worker.finish()
            assert self._groups is not None
            order((self._groups.hosts or {}).values())


def _arrived(stepper: weakref.ref[Stepper], p: Tensor) -> None:
    """The hook on each parameter."""
    alive = stepper()
    if alive is None:
        return
    if torch.compiler.is_compiling():  # compiled autograd traces hooks
        _outside_graphs(alive, p)
    else:
        alive.arrived(p)


_outside_graphs = disable_dynamo(Stepper.arrived)


def _unique(params: Iterable[Tensor]) -> Iterable[Tensor]:
    return {id(p): p for p in params}.values()


def _flat(optimizer: Any) -> list[Any]:
    """All that says which parameter is in which group, the first group first, to be compared by identity."""
    return [*itertools.chain(*((group, *group["params"], _END) for group in optimizer.param_groups))]
