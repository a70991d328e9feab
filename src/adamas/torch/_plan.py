"""What a step does with the parameters as they are: made once, used until something about them changes."""

from __future__ import annotations

import math
import operator
from collections.abc import Collection, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ..backends import Envelope
from ..backends.numba import Kernel, RuleSourceError, compile_rule
from ..rules import Rule
from ._batch import Batch, Entry, KernelBatch, ReferenceBatch, Step
from ._counters import Counters, Taken

if TYPE_CHECKING:
    from ._base import Base

__all__ = ["Plan", "envelope_of", "number"]

# Options of these types do not change in place.
_IMMUTABLE = (bool, int, float, str, type(None), np.generic)

_KERNEL_DTYPES: dict[torch.dtype, np.dtype[Any]] = {
    torch.float32: np.dtype(np.float32),
    torch.float64: np.dtype(np.float64),
    torch.complex64: np.dtype(np.float32),
    torch.complex128: np.dtype(np.float64),
}


class Plan:
    """The parameters of an optimizer that have a gradient, in batches, and how many steps each has taken.

    Making one allocates the state that is missing. It holds as long as the parameters, their groups,
    their state and which of them have a gradient stay the same, which `gather` checks at every
    step; the options of the groups and all addresses are read at every step.
    """

    def __init__(self, optimizer: Base) -> None:
        groups = optimizer.param_groups
        self._group_params = [list(group["params"]) for group in groups]
        self._keys = list(optimizer.defaults)
        self._options: list[list[Any] | None] = [None] * len(groups)
        self._rules = [optimizer.rule_of(group) for group in groups]
        self._forms = [rule.form() for rule in self._rules]
        self._envelopes = [envelope_of(group) for group in groups]
        self._differentiable = [bool(group.get("differentiable", False)) for group in groups]
        found = [(k, p) for k, params in enumerate(self._group_params) for p in dict.fromkeys(params)]
        self._idle = [p for _, p in found if p.grad is None]
        active = [(k, p) for k, p in found if p.grad is not None]
        slot_names = [optimizer.slot_names(rule) for rule in self._rules]
        for k, p in active:
            _check(p, optimizer, slot_names[k])
        kernels = [_kernel(optimizer._backend, self._rules[k], groups[k], p) for k, p in active]
        self._counters = Counters(optimizer, active, self._rules)
        self._taken = self._counters.taken
        entries = [
            self._entry(optimizer, k, p, row, aligned=kernel is not None)
            for (k, p), row, kernel in zip(active, self._counters.rows, kernels, strict=True)
        ]
        self.batches = _batches(kernels, [self._differentiable[k] for k, _ in active], entries)
        self._state = optimizer.state
        self._states = list(optimizer.state.values())
        self._state_dicts = [state for state in self._states if isinstance(state, dict)]
        self._state_values = list(chain.from_iterable(map(dict.values, self._state_dicts)))

    @property
    def backend(self) -> str:
        """The names of the backends in use."""
        return " and ".join(sorted({batch.name for batch in self.batches})) or "none"

    def gather(self, optimizer: Base) -> bool:
        """Read gradients and options for a step; False where the plan no longer holds."""
        groups = optimizer.param_groups
        if (
            len(groups) != len(self._group_params)
            or not all(
                _same(g["params"], params) for g, params in zip(groups, self._group_params, strict=True)
            )
            or any(p.grad is not None for p in self._idle)
            or optimizer.state is not self._state
            or not _same(optimizer.state.values(), self._states)
            or not _same(list(chain.from_iterable(map(dict.values, self._state_dicts))), self._state_values)
            or self._counters.edited()
        ):
            return False
        for k, group in enumerate(groups):
            options = [group[key] for key in self._keys]
            if options != self._options[k] and not self._take_options(optimizer, k, group, options):
                return False
        return all(batch.gather() for batch in self.batches)

    def _take_options(self, optimizer: Base, k: int, group: Mapping[str, Any], options: list[Any]) -> bool:
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

    def run(self) -> None:
        """Take the step that `gather` prepared; errors in its scalars are raised before any change."""
        rules, stored = self._rules, self._counters.stored
        taken = [
            Taken(k, t + 1, stored(rules[k].carry(t + 1, *carried)) if carried else carried)
            for k, t, carried in self._taken
        ]
        steps = [Step(t, carried, rules[k], self._envelopes[k]) for k, t, carried in taken]
        for batch in self.batches:
            batch.prepare(steps)
        for batch in self.batches:
            batch.run()
        self._taken = taken
        self._counters.advance([carried for _, _, carried in taken])

    def _entry(self, optimizer: Base, k: int, p: Tensor, row: int, *, aligned: bool) -> Entry:
        """The parameter with its state, made where missing; `aligned`: in the parameter's own layout."""
        slots = dict(zip(optimizer.slot_names(self._rules[k]), self._forms[k].slots.values(), strict=True))
        state = optimizer.state[p] if slots or self._counters.names else {}
        for name, slot in slots.items():
            if state.get(name) is None:
                dtype = torch.float32 if p.dtype in (torch.bfloat16, torch.float16) else p.dtype
                initial = complex(slot.initial, slot.initial) if p.is_complex() else slot.initial
                state[name] = torch.full_like(p, initial, dtype=dtype, requires_grad=False)
            elif aligned and not _is_laid_out_as(p, state[name]):
                state[name] = torch.empty_like(p, requires_grad=False).copy_(state[name])
        return Entry(p, state, list(slots), row, optimizer.takes_sparse)


def _same(these: Collection[Any], those: Collection[Any]) -> bool:
    """Whether two collections hold the very same objects in the same order."""
    return len(these) == len(those) and all(map(operator.is_, these, those))


def _is_laid_out_as(p: Tensor, x: Tensor) -> bool:
    return x.dtype == p.dtype and x.stride() == p.stride() and not x.is_conj() and not x.is_neg()


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
    Entry(p, {}, (), 0, optimizer.takes_sparse).dense_grad()
    state = optimizer.state.get(p, {})
    for name in slots:
        if state.get(name) is not None and state[name].shape != p.shape:
            raise ValueError(
                f"the state {name!r} of a parameter has shape {tuple(state[name].shape)}, the parameter "
                f"{tuple(p.shape)}; delete the state of a parameter that has changed its shape"
            )


def _kernel(backend: str, rule: Rule, group: Mapping[str, Any], p: Tensor) -> Kernel | None:
    """The compiled step for a parameter; None where the reference backend is to take it.

    Raises:
        ValueError: `backend` is "numba", which cannot take it.
    """
    if backend == "reference":
        return None
    reason = _why_not(group, p)
    if reason is None:
        try:
            return compile_rule(rule, _KERNEL_DTYPES[p.dtype])
        except RuleSourceError as error:
            reason = str(error)
    if backend == "numba":
        raise ValueError(f"backend='numba' cannot update a parameter of shape {tuple(p.shape)}: {reason}")
    return None


def _why_not(group: Mapping[str, Any], p: Tensor) -> str | None:
    """Why a compiled kernel cannot update `p`; None where it can."""
    if group.get("differentiable", False):
        return "the step is to be differentiable"
    if p.device.type != "cpu" or p.layout != torch.strided:
        return f"it is a {p.layout} tensor on {p.device}"
    if p.is_conj() or p.is_neg():
        return "it is lazily conjugated or negated"
    if type(p).__torch_dispatch__ is not Tensor.__torch_dispatch__:  # such a tensor is others inside
        return f"it is a {type(p).__name__}"
    if p.dtype not in _KERNEL_DTYPES:
        return f"its dtype is {p.dtype}"
    if not torch.ops.aten.is_non_overlapping_and_dense.default(p):
        return f"it has gaps in memory (stride {p.stride()})"
    return None


def _batches(
    kernels: Sequence[Kernel | None], differentiable: Sequence[bool], entries: Sequence[Entry]
) -> list[Batch]:
    grouped: dict[tuple[Kernel | None, bool], list[Entry]] = {}
    for kernel, graph, entry in zip(kernels, differentiable, entries, strict=True):
        grouped.setdefault((kernel, graph), []).append(entry)
    return [
        ReferenceBatch(members, graph) if kernel is None else KernelBatch(kernel, members)
        for (kernel, graph), members in grouped.items()
    ]
