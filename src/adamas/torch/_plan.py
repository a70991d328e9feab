"""What a step does with the parameters as they are: made once, used until something about them changes."""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping, Sequence
from itertools import chain, repeat
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from .. import formats
from ..backends import Envelope
from ..backends.numba import Kernel, RuleSourceError, compile_rule
from ..rules import SIGNED, Rule
from ._batch import Batch, Entry, KernelBatch, ReferenceBatch, Step
from ._counters import Counters, Taken
from ._phase import AVERAGE, LastStep, Phase
from ._storage import FORMATS, allocate, as_format, has_own_memory, has_shape_of, is_packed, slot_format

if TYPE_CHECKING:
    from ._base import Base

__all__ = ["Plan", "envelope_of", "number"]

_gather = operator.methodcaller("gather")
_sum_of_squares = operator.methodcaller("sum_of_squares")
_params_of = operator.itemgetter("params")

# Ends each group's parameters, lest one grow by what the next lost, and all that a plan watches.
_END = (object(),)

# Options of these types do not change in place.
_IMMUTABLE = (bool, int, float, str, type(None), np.generic)


class Plan:
    """The parameters of an optimizer that have a gradient, in batches, and how many steps each has taken.

    Making one allocates the state that is missing. It holds as long as the parameters, their groups,
    their state and which of them have a gradient stay the same, which `gather` checks at every
    step; the options of the groups and all addresses are read at every step.
    """

    def __init__(self, optimizer: Base) -> None:
        groups = optimizer.param_groups
        self._params = [group["params"] for group in groups]
        self._options_of = operator.itemgetter(*optimizer.defaults)
        self._options: list[tuple[Any, ...] | None] = [None] * len(groups)
        self._rules = [optimizer.rule_of(group) for group in groups]
        self._forms = [rule.form() for rule in self._rules]
        self._envelopes = [envelope_of(group) for group in groups]
        self._differentiable = [bool(group.get("differentiable", False)) for group in groups]
        found = [(k, p) for k, params in enumerate(self._params) for p in dict.fromkeys(params)]
        self._idle = [p for _, p in found if p.grad is None]
        active = [(k, p) for k, p in found if p.grad is not None]
        slot_names = [optimizer.slot_names(rule) for rule in self._rules]
        for k, p in active:
            _check(p, optimizer, slot_names[k])
        self._phase = phase = optimizer.phase
        had = [set(optimizer.state.get(p, ())) for _, p in active]
        kernels = [_kernel(phase, self._rules[k], slot_names[k], groups[k], p) for k, p in active]
        self._counters = Counters(optimizer, active, self._rules)
        self._taken: Sequence[Taken | Step] = self._counters.taken
        ordinals = {p: i for i, (_, p) in enumerate(found)}
        entries = [
            self._entry(optimizer, k, p, row, ordinals[p], kernel)
            for (k, p), row, kernel in zip(active, self._counters.rows, kernels, strict=True)
        ]
        # The keys of the state that was missing.
        self._made = [
            (p, {*optimizer.state.get(p, ())} - keys) for (_, p), keys in zip(active, had, strict=True)
        ]
        differentiable = [self._differentiable[k] for k, _ in active]
        self.batches = _batches(kernels, differentiable, entries, phase)
        self._state = optimizer.state
        states = [state.values() for state in optimizer.state.values() if isinstance(state, dict)]
        self._watched = [*chain(*zip(self._params, repeat(_END))), optimizer.state.values(), *states, _END]
        self._found = list(chain.from_iterable(self._watched))

    @property
    def backend(self) -> str:
        """The names of the backends in use."""
        return " and ".join(sorted({batch.name for batch in self.batches})) or "none"

    def gather(self, optimizer: Base) -> bool:
        """Read gradients and options for a step; False where the plan no longer holds."""
        groups = optimizer.param_groups
        if (
            len(groups) != len(self._params)
            or optimizer.state is not self._state
            or not all(map(operator.is_, map(_params_of, groups), self._params))
            or not all(map(operator.is_, chain.from_iterable(self._watched), self._found))
            or (self._idle and any(p.grad is not None for p in self._idle))
            or self._counters.edited()
        ):
            return False
        for k, group in enumerate(groups):
            options = self._options_of(group)
            if options != self._options[k] and not self._take_options(optimizer, k, group, options):
                return False
        return all(map(_gather, self.batches))

    def _take_options(
        self, optimizer: Base, k: int, group: Mapping[str, Any], options: tuple[Any, ...]
    ) -> bool:
        rule = optimizer.rule_of(group)
        if (
            rule.form() != self._forms[k]
            or bool(group.get("differentiable", False)) != self._differentiable[k]
        ):
            return False
        self._rules[k], self._envelopes[k] = rule, envelope_of(group)
        # What may change in place (a tensor, a list) is read anew at every step.
        flat = chain.from_iterable(x if isinstance(x, tuple) else (x,) for x in options)
        self._options[k] = options if all(isinstance(x, _IMMUTABLE) for x in flat) else None
        return True

    def run(self, unscale: float = 1.0, found_inf: bool = False) -> LastStep:
        """Take the step that `gather` prepared; what is wrong with its scalars is raised before any change.

        Args:
            unscale: what all gradients are to be multiplied by, one over the loss scale.
            found_inf: whether somebody has found a gradient that is not finite.
        """
        norm, factor = self._measure(unscale)
        skipped = found_inf or (self._phase.skip_nonfinite and norm is not None and not math.isfinite(norm))
        if not skipped:
            steps = [self._next(taken, unscale * factor) for taken in self._taken]
            for batch in self.batches:
                batch.prepare(steps)
            for batch in self.batches:
                batch.run()
            self._taken = steps
            self._counters.advance(steps)
            self._made = []
        for batch in self.batches:
            batch.release()
        return LastStep(norm, factor, skipped)

    def withdraw(self, optimizer: Base) -> bool:
        """After a step that was not taken, delete what state this plan made, until the first that it takes.

        A rule that does not count would take it for that of a step. True where there was any: the plan
        then no longer holds.
        """
        made = [(p, keys) for p, keys in self._made if keys]
        for p, keys in made:
            state = optimizer.state.get(p, {})
            for key in keys:
                state.pop(key, None)
            if not state:
                optimizer.state.pop(p, None)
        return bool(made)

    def _measure(self, unscale: float) -> tuple[float | None, float]:
        """The norm of all gradients, where it is wanted, and the factor that clips it."""
        if not self._phase.measures:
            return None, 1.0
        norm = math.sqrt(sum(map(_sum_of_squares, self.batches))) * unscale
        # The 1e-6, and what becomes of NaN, are those of torch.nn.utils.clip_grad_norm_.
        clip = self._phase.clip_norm
        factor = 1.0 if clip is None else clip / (norm + 1e-6)
        return norm, 1.0 if factor > 1 else factor

    def _next(self, taken: Taken | Step, factor: float) -> Step:
        k, t, carried = taken[:3]
        rule, (scale, l2, shrink, _) = self._rules[k], self._envelopes[k]
        t += 1
        if carried:
            carried = self._counters.stored(rule.carry(t, *carried))
        envelope = Envelope(scale * factor, l2, shrink, self._phase.average_weight(t))
        return Step(k, t, carried, rule, envelope)

    def _entry(
        self, optimizer: Base, k: int, p: Tensor, row: int, ordinal: int, kernel: Kernel | None
    ) -> Entry:
        """The parameter with its state, made where missing, in the formats and layout of its kernel."""
        slots = dict(zip(optimizer.slot_names(self._rules[k]), self._forms[k].slots.values(), strict=True))
        state = optimizer.state[p] if slots or self._counters.names else {}
        for name, slot in slots.items():
            format = slot_format(p, name, slot, None if kernel is None else self._phase.state_format)
            if state.get(name) is None:
                state[name] = allocate(p, format, slot)
            elif kernel is not None or is_packed(state[name]):
                state[name] = as_format(state[name], p, format, slot.signed)
        if self._phase.average is not None:
            real = formats.get(slot_format(p, "", SIGNED, None).name)
            if state.get(AVERAGE) is None:
                state[AVERAGE] = p.detach().to(dtype=torch.promote_types(p.dtype, torch.float32), copy=True)
            elif kernel is not None:
                state[AVERAGE] = as_format(state[AVERAGE], p, real, True)
        names = [*slots, *([AVERAGE] if self._phase.average is not None else [])]
        return Entry(p, state, names, row, ordinal, optimizer.takes_sparse)


def number(x: Any) -> float:
    """An option that may be a tensor of one element, as torch allows, as a float: its value now."""
    return float(x.detach() if isinstance(x, Tensor) else x)


def envelope_of(group: Mapping[str, Any]) -> Envelope:
    """The envelope that a parameter group's options stand for.

    Raises:
        ValueError: its weight decay is out of its range, or an option is to be differentiated.
    """
    if group.get("differentiable", False):
        _check_nothing_is_learned(group)
    scale = -1.0 if group.get("maximize", False) else 1.0
    decay = number(group.get("weight_decay", 0.0))
    if not 0 <= decay < math.inf:
        raise ValueError(f"weight_decay must lie in [0, inf), got {decay!r}")
    if group.get("decoupled_weight_decay", False):
        return Envelope(scale, 0.0, 1 - number(group["lr"]) * decay)
    return Envelope(scale, decay, 1.0)


def _check_nothing_is_learned(group: Mapping[str, Any]) -> None:
    for name, value in group.items():
        parts = value if isinstance(value, tuple) else (value,)
        if any(isinstance(x, Tensor) and x.requires_grad for x in parts):
            raise ValueError(
                f"{name} is a tensor with requires_grad=True, and a step is not differentiated with "
                f"respect to the options; pass {name}.detach()"
            )


def _check(p: Tensor, optimizer: Base, slots: Sequence[str]) -> None:
    """Raise for what no backend can update, before anything has changed."""
    if torch._debug_has_internal_overlap(p) == 1:
        raise RuntimeError(
            f"a parameter of shape {tuple(p.shape)} and stride {p.stride()} has elements that share "
            f"memory (an expanded tensor?); make it contiguous"
        )
    if p.grad is not None and p.grad.shape != p.shape:
        raise RuntimeError(
            f"a parameter of shape {tuple(p.shape)} has a gradient of shape {tuple(p.grad.shape)}"
        )
    Entry(p, {}, (), 0, 0, optimizer.takes_sparse).dense_grad()
    state = optimizer.state.get(p, {})
    for name in (*slots, AVERAGE):
        if state.get(name) is not None and not has_shape_of(state[name], p):
            raise ValueError(
                f"the state {name!r} of a parameter has shape {tuple(state[name].shape)}, the parameter "
                f"{tuple(p.shape)}; delete the state of a parameter that has changed its shape"
            )


def _kernel(
    phase: Phase, rule: Rule, slots: Sequence[str], group: Mapping[str, Any], p: Tensor
) -> Kernel | None:
    """The compiled step for a parameter; None where the reference backend is to take it.

    Raises:
        ValueError: "numba", or a state format, is asked for by name and cannot be had for it.
    """
    reason = "backend='reference' is asked for" if phase.backend == "reference" else _why_not(group, p)
    if reason is None:
        form = rule.form()
        chosen = {
            own: slot_format(p, name, slot, phase.state_format).name
            for (own, slot), name in zip(form.slots.items(), slots, strict=True)
        }
        try:
            return compile_rule(rule, FORMATS[p.dtype], slots=chosen, average=phase.average is not None)
        except RuleSourceError as error:
            reason = str(error)
    if phase.backend == "numba" or phase.state_format not in (None, "float32"):
        asked = "backend='numba'" if phase.backend == "numba" else f"state_format={phase.state_format!r}"
        raise ValueError(f"{asked} cannot update a parameter of shape {tuple(p.shape)}: {reason}")
    return None


def _why_not(group: Mapping[str, Any], p: Tensor) -> str | None:
    """Why a compiled kernel cannot update `p`; None where it can."""
    if group.get("differentiable", False):
        return "the step is to be differentiable"
    if p.device.type != "cpu" or p.layout != torch.strided:
        return f"it is a {p.layout} tensor on {p.device}"
    if p.is_conj() or p.is_neg():
        return "it is lazily conjugated or negated"
    if not has_own_memory(p):
        return f"it is a {type(p).__name__} without memory of its own"
    if p.dtype not in FORMATS:
        return f"its dtype is {p.dtype}"
    if not torch.ops.aten.is_non_overlapping_and_dense.default(p):
        return f"it has gaps in memory (stride {p.stride()})"
    return None


def _batches(
    kernels: Sequence[Kernel | None],
    differentiable: Sequence[bool],
    entries: Sequence[Entry],
    phase: Phase,
) -> list[Batch]:
    grouped: dict[tuple[Kernel | None, bool], list[Entry]] = {}
    for kernel, graph, entry in zip(kernels, differentiable, entries, strict=True):
        grouped.setdefault((kernel, graph), []).append(entry)
    return [
        ReferenceBatch(members, phase, graph) if kernel is None else KernelBatch(kernel, members, phase)
        for (kernel, graph), members in grouped.items()
    ]
