"""The parameters that a plan updates: a launcher is chosen for each, and missing state is made."""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .. import formats
from ..formats import BLOCK, Format
from ..rules import SIGNED
from ..rules._base import Slot
from ._compat import is_dense, is_fake
from .conversion import convert
from .gradients import has_own_memory
from .kept import Kept, check_kept, complete_kept, kept_of
from .launchers import Launcher, Member, ParamState, Request, choose, why_slow
from .mesh import local, localized, wrapped
from .options import AVERAGE, Groups
from .resharding import slot_here
from .slots import (
    Held,
    allocate,
    array_keys,
    array_shapes,
    fault,
    find,
    fits,
    keys_of,
    slot_keys,
)
from .state import SMALLEST_SCALED, check_fit, slot_format

__all__ = [
    "Kind",
    "SlowPathWarning",
    "check_state",
    "kinds_of",
    "make_state",
    "missing_names",
    "state_formats",
]


# The elements from which keeping and gathering the whole in every process is worth a warning, told once.
_LARGE_WHOLE, _WHOLE = 1 << 20, "whole"


class SlowPathWarning(UserWarning):
    """Parameters are updated by something slower than a kernel; the message says why, and what would help."""


@dataclass(eq=False, slots=True)
class Kind:
    """Parameters of one group that one launcher takes, with state of the same formats.

    Attributes:
        group: the number of the group.
        launcher, key: the launcher that takes them, and its key for them.
        slots: the rule's slots by their key in the state, and the format of each.
        average: the format of the running average, if one is kept.
        names: the keys of the tensors that a launcher reads and writes, in the order of a kernel's columns.
        scaled: whether a slot has scales.
        plain: whether they are contiguous and not lazy, so that the state can be laid out as they are.
        whole: whether every process has all of the state, because shards would cut blocks.
        kept: what the rule keeps of its sums.
    """

    group: int
    launcher: type[Launcher]
    key: Hashable
    slots: list[tuple[str, Slot, Format]]
    average: Format | None
    names: tuple[str, ...]
    scaled: bool
    plain: bool
    whole: bool
    kept: Kept


def kinds_of(
    members: Sequence[tuple[int, Member]], requests: Sequence[Request], groups: Groups
) -> Iterator[Kind]:
    """The kind of each member; launchers are asked once for all members that are alike.

    Raises:
        ValueError: a launcher, or a format of state, is asked for by name and cannot be had for one.
    """
    kinds: dict[Hashable, Kind] = {}
    for k, member in members:
        alike = k, _alike(member)
        kind = kinds.get(alike)
        if kind is None:
            kind = kinds[alike] = _kind(k, member, requests[k], groups)
        yield kind


def _alike(member: Member) -> Hashable:
    """All that the choice of a launcher, and of the formats of the state, may depend on."""
    p, grad = member.local, member.grad
    strided = p.layout == torch.strided
    return (
        type(member.p),
        p.dtype,
        p.device,
        p.layout,
        member.p.numel() >= SMALLEST_SCALED,
        strided and has_own_memory(p),
        _is_plain(p),
        None if grad is None else grad.dtype,
        None if member.copy is None else member.copy.dtype,
        id(member.p) if member.row_wise else None,
        member.spread is not None and member.spread.cuts_blocks,
    )


def _is_plain(p: Tensor) -> bool:
    """Whether a tensor is contiguous and not lazy, so that its state can be laid out as it is."""
    return p.layout == torch.strided and p.is_contiguous() and not p.is_conj() and not p.is_neg()


def _kind(k: int, member: Member, request: Request, groups: Groups) -> Kind:
    p = member.p
    launcher, reasons = choose(member, request)
    reason = why_slow(launcher, reasons, member)
    if reason is not None and reason not in groups.told:
        groups.told.add(reason)
        _warn(launcher, reason, p, request)
    slots, average = state_formats(p, request)
    scaled = any(format.scaled for *_, format in slots)
    names = [name for key, _, format in slots for name in array_keys(key, format)]
    names += [AVERAGE] if average is not None else []
    plain = _is_plain(member.local)
    whole = scaled and member.spread is not None and member.spread.cuts_blocks
    if whole and p.numel() >= _LARGE_WHOLE and _WHOLE not in groups.told:
        groups.told.add(_WHOLE)
        _warn_whole(p)
    key, kept = launcher.key(member, request), kept_of(request.rule, groups.state_names)
    return Kind(k, launcher, key, slots, average, tuple(names), scaled, plain, whole, kept)


def state_formats(p: Tensor, request: Request) -> tuple[list[tuple[str, Slot, Format]], Format | None]:
    """The slots of a parameter by their key in the state, with their formats, and that of its average.

    Raises:
        ValueError: a format is not fit for a slot.
    """
    options = request.groups.options
    mine = dict(zip(request.slot_keys, request.rule.form().slots.values(), strict=True))
    check_fit(mine, options.state_format)
    slots = [(key, slot, slot_format(p, key, slot, options.state_format)) for key, slot in mine.items()]
    averages = options.average is not None
    return slots, formats.get(slot_format(p, "", SIGNED, None).name) if averages else None


def _warn_whole(p: Tensor) -> None:
    """Say that every process keeps the state of a large parameter, and gathers that, whole."""
    warnings.warn(
        f"a parameter of shape {tuple(p.shape)} is cut within blocks of {BLOCK} elements that share a scale: "
        f"every process keeps its whole state, and gathers it and its gradient at every step. Let shards "
        f"end at multiples of {BLOCK} elements, or keep its state in an unscaled format",
        SlowPathWarning,
        stacklevel=8,
    )


def _warn(launcher: type[Launcher], reason: str, p: Tensor, request: Request) -> None:
    """Say what runs in place of a kernel, and why."""
    if request.differentiable or p.is_meta or is_fake(p):
        return
    warnings.warn(
        f"parameters of shape {tuple(p.shape)} and alike are updated by {launcher.in_place_of_kernel}, "
        f"slower than a kernel: {reason}. Ask for backend={launcher.name!r} if that is meant",
        SlowPathWarning,
        stacklevel=8,
    )


def check_state(p: Tensor, state: Mapping[str, Any], kind: Kind) -> None:
    """Raise a ValueError for state that is not of this parameter, before anything has changed."""
    check_kept(p, state, kind.kept)
    for key in [key for key, *_ in kind.slots] + ([AVERAGE] if kind.average is not None else []):
        wrong = fault(state, key, p)
        if wrong is not None:
            raise ValueError(
                f"the state {key!r} of a parameter {wrong}; delete the state of a parameter that has "
                f"changed, or load it"
            )


def missing_names(state: Mapping[str, Any], kind: Kind) -> list[str]:
    """The keys that will be made for a parameter, of slots of which its state holds nothing."""
    missing: list[str] = []
    for key, _, format in kind.slots:
        if find(state, key) is None:
            missing += slot_keys(key, format)
    if kind.average is not None and state.get(AVERAGE) is None:
        missing.append(AVERAGE)
    return [*missing, *(key for key in kind.kept[1] if state.get(key) is None)]


def make_state(member: Member, index: int, kind: Kind, mine: dict[str, Any]) -> ParamState:
    """The parameter with its state `mine`, made where missing and converted to its format and layout."""
    p, spread = member.local, member.spread
    complete_kept(p, kind.kept, mine)
    if spread is None:
        layout = p if kind.plain else _dense_like(p)
        _complete(p, layout, kind, mine)
        return ParamState(p, p, mine, kind.names, index, layout, copy=member.copy)
    layout, whole_grad = p if kind.plain else _dense_like(p), None
    if kind.whole:
        layout = torch.empty_strided(spread.shape, spread.stride, dtype=p.dtype, device=p.device)
        whole_grad = torch.empty_like(layout, dtype=(p if member.grad is None else member.grad).dtype)
    here: dict[str, Any] = {key: mine[key] for key in kind.kept[1]}
    for key, slot, _ in kind.slots:
        here |= slot_here(mine, key, slot.signed, layout, spread, kind.whole)
    if kind.average is not None and mine.get(AVERAGE) is not None:
        here[AVERAGE] = localized(mine[AVERAGE], spread, kind.whole)
    counts = spread.is_first if kind.whole else spread.counts
    made = ParamState(member.p, p, here, kind.names, index, layout, spread, whole_grad, counts)
    if kind.whole and kind.average is not None and here.get(AVERAGE) is None:
        made.to_layout()
    _complete(layout if kind.whole else p, layout, kind, here)
    _spread_state(made, kind, mine)
    return made


def _kept(kind: Kind) -> Iterator[str]:
    """Every key under which a parameter's state may hold a slot, or the average."""
    for key, *_ in kind.slots:
        yield from keys_of(key)
    if kind.average is not None:
        yield AVERAGE


def _spread_state(made: ParamState, kind: Kind, mine: dict[str, Any]) -> None:
    """Put the tensors of this process into the state, as DTensors."""
    assert made.spread is not None
    shapes: dict[str, Sequence[int]] = {AVERAGE: tuple(made.p.shape)}
    for key, _, format in kind.slots:
        shapes |= array_shapes(made.p, made.spread.order, key, format)
    for key in _kept(kind):
        value = made.state.get(key)
        if value is None:
            mine.pop(key, None)
        elif key not in shapes:
            mine[key] = value
        elif mine.get(key) is None or local(mine[key]) is not value:
            mine[key] = wrapped(value, made.spread, shapes[key], kind.whole)


def _complete(p: Tensor, layout: Tensor, kind: Kind, mine: dict[str, Any]) -> None:
    """Make what is missing of the state of `p`, and convert the rest to its format and layout."""
    for key, slot, format in kind.slots:
        held = find(mine, key)
        if held is not None and held.codes.device != layout.device:  # the model was moved, or its state was
            tensors = {k: mine[k] for k in held.keys if mine[k].dtype != torch.int64}
            mine |= {k: x.to(layout.device) for k, x in tensors.items()}
            held = find(mine, key)
        if held is None:
            mine.update(allocate(layout, key, format, slot))
        elif not fits(held, layout, format):
            made = convert(held, layout, key, format, slot.signed)
            for old in held.keys:
                del mine[old]
            mine.update(made)
    if kind.average is not None:
        average = mine.get(AVERAGE)
        if average is not None and average.device != layout.device:
            average = average.to(layout.device)
        mine[AVERAGE] = _average(p, layout, average, kind.average)


def _dense_like(p: Tensor) -> Tensor:
    """The parameter, or a dense tensor like it where it has gaps in memory or is lazily conjugated."""
    if p.layout != torch.strided or not has_own_memory(p) or p.is_meta:
        return p
    if is_dense(p) and not p.is_conj() and not p.is_neg():
        return p
    return torch.empty_like(p, requires_grad=False)


def _average(p: Tensor, layout: Tensor, old: Tensor | None, format: Format) -> Tensor:
    """The running average of a parameter, in the type of the computation; at first the parameter itself."""
    if old is not None:
        held = Held("", (AVERAGE,), old)
        return old if fits(held, layout, format) else convert(held, layout, AVERAGE, format, True)[AVERAGE]
    dtype = torch.promote_types(p.dtype, torch.float32)
    return torch.empty_like(layout, dtype=dtype, requires_grad=False).copy_(p.detach())
