"""The making of a report: what each parameter is stepped with, and what is known of its last step."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from ...rules import SIGNED
from .._compat import is_fake
from ..groups import names_of
from ..keywords import StepOptions
from ..launchers import Request, choose, why_slow
from ..measured import Measured
from ..mesh import local
from ..offload import stand_in
from ..options import AVERAGE, Groups, RuleOf, as_float
from ..params import member_of
from ..skips import WINDOW_KEY
from ..slots import allocate
from ..state import asked_format, slot_format, why_wide
from .reading import read
from .values import GroupReport, ParamReport, Reading, Report

__all__ = ["report_of"]

_MISSING = object()


def report_of(
    optimizer: str,
    groups: Groups,
    rule_of: RuleOf,
    model: nn.Module | None = None,
    measured: Mapping[Tensor, Measured] | None = None,
    reads: bool = True,
    settled: Report | None = None,
) -> Report:
    """The report on an optimizer.

    Args:
        optimizer: the name of its class.
        groups: its groups and state.
        rule_of: the rule that a group's options stand for.
        model: the model that is trained.
        measured: what the last measured step did.
        reads: whether parameters and state are read where nothing was measured.
        settled: a report on the same parameters, of which formats, backends and bytes are taken.
    """
    given = {name: getattr(groups.options, name) for name in StepOptions.__dataclass_fields__}
    defaults = StepOptions()
    options = [_options(group, groups.defaults) for group in groups.param_groups]
    differing = _differing(options)
    known = {} if model is None else names_of(model)
    every = [p for group in groups.param_groups for p in group["params"]]
    steps = [_steps(p, groups) for p in every]
    most = max((count for count in steps if count is not None), default=None)
    places, found = itertools.count(), []
    before = () if settled is None else settled.params
    for k, (group, mine) in enumerate(zip(groups.param_groups, options, strict=True)):
        rule = rule_of(group)
        request = Request(groups, group, rule, groups.slot_keys(rule))
        names = group.get("param_names") or [known.get(id(p)) for p in group["params"]]
        params = []
        for p, name, index in zip(group["params"], names, places, strict=False):
            here = (measured or {}).get(p)
            count = steps[index]
            fields = _of_group(group, groups.options) | {
                "group": k,
                "steps": count,
                "behind": None if count is None or most is None else max(0, most - count),
                "measured": here,
                "reading": read(p, request, count) if reads and here is None else Reading(),
            }
            if before and before[index].frozen == (not p.requires_grad):
                params.append(
                    dataclasses.replace(before[index], name=name, frozen=not p.requires_grad, **fields)
                )
            else:
                params.append(_param(p, index, name, request, fields))
        other = {key: value for key, value in mine.items() if key in differing}
        found.append(GroupReport(mine, other, tuple(params)))
    changed = {name: value for name, value in given.items() if value != getattr(defaults, name)}
    labels = [param.label for group in found for param in group.params]
    missing, foreign = ((), ()) if model is None else _apart(model, known, every, labels)
    return Report(optimizer, changed, tuple(found), missing=missing, foreign=foreign)


def _apart(
    model: nn.Module, known: Mapping[int, str], every: Sequence[Tensor], labels: Sequence[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The trained parameters of the model that the optimizer lacks, and those that the model lacks."""
    mine = set(map(id, every))
    trained = {id(p) for p in model.parameters() if p.requires_grad}
    missing = [name for key, name in known.items() if key in trained and key not in mine]
    foreign = [label for p, label in zip(every, labels, strict=True) if id(p) not in known]
    return tuple(missing), tuple(foreign)


def _steps(p: Tensor, groups: Groups) -> int | None:
    """The steps that a parameter has taken; None where they are not counted."""
    if not groups.keeps_steps:
        return None
    taken = groups.state.get(p, {}).get("step", 0)
    unknown = isinstance(taken, Tensor) and (taken.is_meta or is_fake(taken))
    return None if unknown else int(taken)


def _of_group(group: Mapping[str, Any], options: StepOptions) -> dict[str, Any]:
    """The learning rate and the decay that a parameter got."""
    lr, decay = (_number(group.get(name)) for name in ("lr", "weight_decay"))
    kinds = {None: "of the rule", False: "coupled", True: "decoupled"}
    kind = kinds[group.get("decoupled_weight_decay", False)]
    if options.decay_scaling == "independent" and kind == "decoupled":
        kind = "independent"
    return {"lr": lr, "weight_decay": decay, "decay": kind if decay else "none"}


def _number(option: Any) -> float | None:
    try:
        return None if option is None else as_float(option)
    except ValueError:
        return None


def _options(group: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a group, those that every optimizer of its class has first."""
    keys = dict.fromkeys([*(key for key in defaults if key in group), *group])
    own = {key: group[key] for key in keys if key not in ("params", "param_names", WINDOW_KEY)}
    # As they are now: a tensor may be filled later.
    return {key: _value_now(value) for key, value in own.items()}


def _value_now(value: Any) -> Any:
    """An option that no later change reaches."""
    if isinstance(value, (tuple, list)):
        return type(value)(map(_value_now, value)) if type(value) in (tuple, list) else value
    known = isinstance(value, Tensor) and value.numel() == 1 and not value.is_meta and not is_fake(value)
    return value.item() if known else value


def _differing(options: Sequence[Mapping[str, Any]]) -> set[str]:
    """The options that are not the same in all groups."""
    keys = set().union(*options)
    return {key for key in keys if len({_identity(each.get(key, _MISSING)) for each in options}) > 1}


def _identity(value: Any) -> str:
    """A text for each value: arrays and lists cannot be hashed, and not all can be compared."""
    return repr(value.item() if isinstance(value, Tensor) and value.numel() == 1 else value)


def _param(
    p: Tensor, index: int, name: str | None, request: Request, fields: Mapping[str, Any]
) -> ParamReport:
    frozen = not p.requires_grad
    notes = ["frozen: not stepped while requires_grad is False"] if frozen else []
    dtype = str(p.dtype).removeprefix("torch.")
    if is_lazy(p):
        notes.append("lazy: it has no shape yet")
        return ParamReport(index, name, (), frozen, None, {}, tuple(notes), dtype=dtype, **fields)
    backend, slow = _backend(p, request)
    formats, wide = _formats(p, request)
    here = local(p)
    return ParamReport(
        index,
        name,
        tuple(p.shape),
        frozen,
        backend,
        formats,
        (*notes, *wide, *slow),
        dtype=dtype,
        param_bytes=here.numel() * here.itemsize,
        state_bytes=_state_bytes(here, request),
        **fields,
    )


def _state_bytes(p: Tensor, request: Request) -> int:
    """The bytes of the state of a parameter, with its average."""
    shape = torch.empty_like(p.detach(), device="meta")
    chosen = request.groups.options.state_format
    slots = zip(request.slot_keys, request.rule.form().slots.values(), strict=True)
    made = [allocate(shape, key, slot_format(p, key, slot, chosen), slot) for key, slot in slots]
    size = sum(x.nbytes for tensors in made for x in tensors.values())
    if request.groups.options.average is not None:
        size += math.prod(p.shape) * torch.promote_types(p.dtype, torch.float32).itemsize
    return size


def _backend(p: Tensor, request: Request) -> tuple[str | None, list[str]]:
    """The backend that steps a parameter, and why no faster one does."""
    member = member_of(p, request.groups)
    try:
        launcher, reasons = choose(stand_in(member, request.groups), request)
    except ValueError as error:
        return None, [str(error)]
    reason = why_slow(launcher, reasons, member)
    if reason is None:
        return launcher.name, []
    return launcher.name, [f"backend {launcher.name!r}, {launcher.in_place_of_kernel}: {reason}"]


def _formats(p: Tensor, request: Request) -> tuple[dict[str, str], list[str]]:
    """The format of each slot, and why one is wider than was asked for."""
    chosen = request.groups.options.state_format
    found, reasons = {}, []
    for key, slot in zip(request.slot_keys, request.rule.form().slots.values(), strict=True):
        asked, found[key] = asked_format(key, chosen), slot_format(p, key, slot, chosen).name
        if asked not in (None, found[key]):
            reasons.append(f"state in {found[key]}, not {asked}: {why_wide(p, asked)}")
    if request.groups.options.average is not None:
        found[AVERAGE] = slot_format(p, "", SIGNED, None).name
    return found, list(dict.fromkeys(reasons))
