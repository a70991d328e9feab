"""What each parameter of an optimizer is stepped with, as a value, and as a table of 80 columns."""

from __future__ import annotations

import itertools
import math
import re
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.nn.parameter import is_lazy

from .._tools.text import format_value
from ..rules import SIGNED, Rule
from .keywords import StepOptions
from .launchers import Request, choose, why_slow
from .offload import stand_in
from .options import AVERAGE, Groups
from .params import member_of
from .skips import WINDOW_KEY
from .state import asked_format, slot_format, why_wide

__all__ = ["GroupReport", "ParamReport", "Report", "report_of"]

_WIDTH = 80
_MISSING = object()


@dataclass(frozen=True)
class ParamReport:
    """One parameter.

    Attributes:
        index: its number in the optimizer, from 0.
        name: its name, or None where the optimizer was not given names.
        shape: its shape, which is the global one of a DTensor.
        frozen: whether `requires_grad` is False.
        backend: the backend that steps it, or None where none can.
        formats: the storage format of each slot of its state, by the slot's key, and of the running average.
        notes: why a slot is wider than the format asked for, why no faster backend takes the parameter, and
            why it is not stepped.
    """

    index: int
    name: str | None
    shape: tuple[int, ...]
    frozen: bool
    backend: str | None
    formats: Mapping[str, str]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class GroupReport:
    """One parameter group: its options, those that other groups have otherwise, and its parameters."""

    options: Mapping[str, Any]
    differing: Mapping[str, Any]
    params: tuple[ParamReport, ...]


@dataclass(frozen=True, repr=False)
class Report:
    """What each parameter of an optimizer is stepped with; printed, or as text, it is a table.

    Attributes:
        optimizer: the name of its class.
        options: the options of the step that were given.
        groups: the parameter groups.
    """

    optimizer: str
    options: Mapping[str, Any]
    groups: tuple[GroupReport, ...]

    @property
    def params(self) -> tuple[ParamReport, ...]:
        """The parameters of all groups."""
        return tuple(itertools.chain.from_iterable(group.params for group in self.groups))

    @property
    def backend(self) -> str:
        """The backends that step the parameters, joined by "and"."""
        return " and ".join(sorted({param.backend or "none" for param in self.params})) or "none"

    def __repr__(self) -> str:
        return "\n".join(_lines(self))


def report_of(optimizer: str, groups: Groups, rule_of: Callable[[Mapping[str, Any]], Rule]) -> Report:
    """The report on an optimizer, by the name of its class."""
    given = {name: getattr(groups.options, name) for name in StepOptions.__dataclass_fields__}
    defaults = StepOptions()
    options = [_options(group, groups.defaults) for group in groups.param_groups]
    differing = _differing(options)
    places = itertools.count()
    found = []
    for group, mine in zip(groups.param_groups, options, strict=True):
        rule = rule_of(group)
        request = Request(groups, group, rule, groups.slot_keys(rule))
        names = group.get("param_names") or [None] * len(group["params"])
        params = [
            _param(p, index, name, request)
            for p, name, index in zip(group["params"], names, places, strict=False)
        ]
        other = {key: value for key, value in mine.items() if key in differing}
        found.append(GroupReport(mine, other, tuple(params)))
    changed = {name: value for name, value in given.items() if value != getattr(defaults, name)}
    return Report(optimizer, changed, tuple(found))


def _options(group: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a group, those that every optimizer of its class has first."""
    keys = dict.fromkeys([*(key for key in defaults if key in group), *group])
    return {key: group[key] for key in keys if key not in ("params", "param_names", WINDOW_KEY)}


def _differing(options: Sequence[Mapping[str, Any]]) -> set[str]:
    """The options that are not the same in all groups."""
    keys = set().union(*options)
    return {key for key in keys if len({_identity(each.get(key, _MISSING)) for each in options}) > 1}


def _identity(value: Any) -> str:
    """A text for each value: arrays and lists cannot be hashed, and not all can be compared."""
    return repr(value.item() if isinstance(value, Tensor) and value.numel() == 1 else value)


def _param(p: Tensor, index: int, name: str | None, request: Request) -> ParamReport:
    frozen = not p.requires_grad
    notes = ["frozen: not stepped while requires_grad is False"] if frozen else []
    if is_lazy(p):
        return ParamReport(index, name, (), frozen, None, {}, (*notes, "lazy: it has no shape yet"))
    backend, slow = _backend(p, request)
    formats, wide = _formats(p, request)
    return ParamReport(index, name, tuple(p.shape), frozen, backend, formats, (*notes, *wide, *slow))


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


# The table.

_HEAD = ("parameter", "count", "shape", "elements", "state", "")


def _lines(report: Report) -> Iterator[str]:
    shared = {
        key: value
        for group in report.groups[:1]
        for key, value in group.options.items()
        if key not in group.differing and value is not None and value is not False
    }
    yield from _wrapped(f"{report.optimizer}: {_listed({**shared, **report.options})}")
    yield f"{_amount(report.params)}; backend {report.backend}"
    groups = [_rows(group.params) for group in report.groups]
    marks = {note: "" for *_, note in itertools.chain(*groups) if note}
    marks = {note: f"[{k}]" for k, note in enumerate(marks, 1)}
    rows = [[(*cells, marks.get(note, "")) for *cells, note in group] for group in groups]
    widths = [max(map(len, column)) for column in zip(_HEAD, *itertools.chain(*rows), strict=True)]
    # Names have what the other columns leave.
    widths[0] = min(widths[0], _WIDTH - sum(widths[1:]) - 2 * len(widths))
    yield from ("", _row(_HEAD, widths))
    for k, (group, mine) in enumerate(zip(report.groups, rows, strict=True)):
        differing = f": {_listed(group.differing)}" if group.differing else ""
        yield from _wrapped(f"group {k}{differing}; {_amount(group.params)}")
        yield from (_row(cells, widths) for cells in mine)
    for note, mark in marks.items():
        yield from _wrapped(f"{mark} {note}")


def _rows(params: Sequence[ParamReport]) -> list[tuple[str, ...]]:
    """The cells of each line, and its notes: one line for parameters whose names differ by a number alone."""
    alike: dict[tuple[Any, ...], list[ParamReport]] = {}
    for param in params:
        name = None if param.name is None else re.sub(r"(?<![^.])\d+(?![^.])", "*", param.name)
        key = name, param.shape, param.backend, tuple(param.formats.items()), param.notes
        alike.setdefault(key, []).append(param)
    return [_cells(name, same) for (name, *_), same in alike.items()]


def _cells(name: str | None, same: Sequence[ParamReport]) -> tuple[str, ...]:
    first, last = same[0], same[-1]
    if name is None:
        name = f"#{first.index}" if len(same) == 1 else f"#{first.index} ... #{last.index}"
    elif len(same) == 1:
        name = str(first.name)
    shape = " x ".join(map(str, first.shape)) or "scalar"
    slots = {key: format for key, format in first.formats.items() if key != AVERAGE}
    alike = len(set(slots.values())) < 2
    state = next(iter(slots.values()), "none") if alike else "mixed"
    mixed = [] if alike else [", ".join(f"{key} in {format}" for key, format in slots.items())]
    note = "; ".join([*mixed, *first.notes])
    return name, str(len(same)), _end(shape, 18), f"{_elements(same):,}", state, note


def _row(cells: Sequence[str], widths: Sequence[int]) -> str:
    name, *numbers, state, mark = cells
    right = [text.rjust(width) for text, width in zip(numbers, widths[1:], strict=False)]
    row = [_end(name, widths[0]).ljust(widths[0]), *right, state.ljust(widths[-2]), mark]
    return ("  " + "  ".join(row)).rstrip()


def _end(text: str, width: int) -> str:
    """The end of a text, which tells names of parameters apart, where the whole is too long."""
    return text if len(text) <= width else "..." + text[len(text) + 3 - width :]


def _elements(params: Iterable[ParamReport]) -> int:
    return sum(math.prod(param.shape) for param in params)


def _amount(params: Sequence[ParamReport]) -> str:
    plural = "" if len(params) == 1 else "s"
    return f"{len(params):,} tensor{plural} of {_elements(params):,} elements"


def _listed(options: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {_text(value)}" for key, value in options.items()) or "no options"


def _text(value: Any) -> str:
    """An option on one line."""
    if isinstance(value, Tensor) and value.numel() == 1 and not value.is_meta:
        value = value.item()
    return textwrap.shorten(format_value(value), 60, placeholder="...")


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, subsequent_indent="    ")
