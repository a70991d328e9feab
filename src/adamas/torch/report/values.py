"""The report on an optimizer as a value: its parameters, its groups, and what is wrong."""

from __future__ import annotations

import functools
import itertools
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ..measured import Measured
from .plain import plain
from .totals import Total, total_of

__all__ = ["QUANTITIES", "Diagnosis", "GroupReport", "ParamReport", "Reading", "Report"]

# What is measured of a parameter, in the order of a row.
QUANTITIES = (
    "grad_norm",
    "param_norm",
    "update_norm",
    "update_ratio",
    "step_rms",
    "step_largest",
    "signal_05",
    "signal_25",
    "signal_50",
    "signal_75",
    "signal_95",
    "share_hidden",
    "share_at_bound",
    "share_unmoved",
    "share_zero",
    "mean_square",
    "nonfinite",
    "oldest_row",
)


@dataclass(frozen=True)
class Reading:
    """What can be read of a parameter and its state at any moment.

    Attributes:
        param_norm: its 2-norm.
        signal: quantiles .05 .25 .5 .75 .95 of |m̂|/√v̂, as of `Measured`; None where there is no state.
        share_hidden: the share of the same elements with √v̂ < ε.
    """

    param_norm: float | None = None
    signal: tuple[float, ...] | None = None
    share_hidden: float | None = None


@dataclass(frozen=True)
class ParamReport:
    """One parameter.

    Attributes:
        index: its number in the optimizer, from 0.
        name: its name, or None where neither the optimizer nor a model gives one.
        shape: its shape, which is the global one of a DTensor.
        frozen: whether `requires_grad` is False.
        backend: the backend that steps it, or None where none can.
        formats: the storage format of each slot of its state, by the slot's key, and of the running average.
        notes: why a slot is wider than the format asked for, why no faster backend takes the parameter, and
            why it is not stepped.
        group: the number of its parameter group.
        dtype: its dtype, such as "float32".
        param_bytes, state_bytes: of memory in this process, for itself and for its state.
        lr, weight_decay: those of its group; None where it has none.
        decay: how weights decay: "coupled" (the decay is added to the gradient), "decoupled", "independent"
            (see `decay_scaling`) or "none".
        steps: the number of steps it has taken; None where its rule keeps no count.
        behind: the number of steps it has missed, for want of a gradient: the steps of the parameter with
            most, less its own.
        measured: what the last measured step did to it; None before one, and where it had no gradient.
        reading: what was read of it instead.
    """

    index: int
    name: str | None
    shape: tuple[int, ...]
    frozen: bool
    backend: str | None
    formats: Mapping[str, str]
    notes: tuple[str, ...]
    group: int = 0
    dtype: str = "float32"
    param_bytes: int = 0
    state_bytes: int = 0
    lr: float | None = None
    weight_decay: float | None = None
    decay: str = "none"
    steps: int | None = None
    behind: int | None = None
    measured: Measured | None = None
    reading: Reading = Reading()

    @property
    def label(self) -> str:
        """Its name, or its number."""
        return f"#{self.index}" if self.name is None else self.name

    @property
    def elements(self) -> int:
        """How many elements it has."""
        return math.prod(self.shape)

    @property
    def never_stepped(self) -> bool | None:
        """Whether it has taken no step yet; None where its rule keeps no count."""
        return None if self.steps is None else self.steps == 0

    @property
    def signal(self) -> tuple[float, ...] | None:
        """Quantiles .05 .25 .5 .75 .95 of |m̂|/√v̂; None where they are not known."""
        return self.reading.signal if self.measured is None else self.measured.signal

    def quantities(self) -> dict[str, float | None]:
        """What was measured, or read, by the names of `QUANTITIES`; None for what is not known."""
        m, found = self.measured, dict[str, float | None].fromkeys(QUANTITIES)
        found.update(zip(QUANTITIES[6:11], self.signal or (), strict=False))
        if m is None:
            return found | {"param_norm": self.reading.param_norm, "share_hidden": self.reading.share_hidden}
        return found | {
            "grad_norm": m.grad_norm,
            "param_norm": m.param_norm,
            "update_norm": m.update_norm,
            "update_ratio": _ratio(m.update_norm, m.param_norm),
            "step_rms": _ratio(m.update_norm, abs(m.lr) * math.sqrt(m.elements)),
            "step_largest": _ratio(m.largest_update, abs(m.lr)),
            "share_hidden": _ratio(m.hidden, m.elements),
            "share_at_bound": _ratio(m.at_bound, m.elements),
            "share_unmoved": _ratio(m.unmoved, m.elements - m.zeros),
            "share_zero": _ratio(m.zeros, m.elements),
            "mean_square": m.mean_square,
            "nonfinite": m.nonfinite,
            "oldest_row": m.oldest_row,
        }

    def row(self) -> dict[str, Any]:
        """All of it in a flat dictionary: strings, numbers, bools and None."""
        slots = dict.fromkeys(self.formats.values())
        mixed = ", ".join(f"{key} {format}" for key, format in self.formats.items())
        return {
            "index": self.index,
            "name": self.label,
            "group": self.group,
            "shape": " x ".join(map(str, self.shape)),
            "elements": self.elements,
            "dtype": self.dtype,
            "frozen": self.frozen,
            "backend": self.backend,
            "state_format": mixed if len(slots) > 1 else next(iter(slots), "none"),
            "param_bytes": self.param_bytes,
            "state_bytes": self.state_bytes,
            "total_bytes": self.param_bytes + self.state_bytes,
            "lr": self.lr,
            "weight_decay": self.weight_decay,
            "decay": self.decay,
            "steps": self.steps,
            "never_stepped": self.never_stepped,
            "behind": self.behind,
            **self.quantities(),
            "notes": "; ".join(self.notes),
        }


def _ratio(x: float | None, y: float) -> float | None:
    """A quotient; None where it is none."""
    return None if x is None or y == 0 else x / y


@dataclass(frozen=True)
class GroupReport:
    """One parameter group: its options, those that other groups have otherwise, and its parameters."""

    options: Mapping[str, Any]
    differing: Mapping[str, Any]
    params: tuple[ParamReport, ...]


@dataclass(frozen=True)
class Diagnosis:
    """Something that is wrong with a training.

    Attributes:
        kind: a word for it, such as "unused"; docs/report.md has them all.
        names: the parameters that it is about, by name or number.
        message: what is wrong, with the numbers that say so.
        remedy: what to do about it.
    """

    kind: str
    names: tuple[str, ...]
    message: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.message} {self.remedy}"


@dataclass(frozen=True, repr=False)
class Report:
    """What each parameter of an optimizer is stepped with, and what its last measured step did.

    Printed, or as text, it is a table of 80 columns; in a notebook, one of HTML.

    Attributes:
        optimizer: the name of its class.
        options: the options of the step that were given.
        groups: the parameter groups.
        step: the step that was measured, counted by the parameter that has taken most, or, where a rule
            keeps no count, from the beginning of the watch; None before one.
        clip_factor: the factor that clipping applied to the gradients in the last step.
        missing: the parameters of the model that are trained and that the optimizer lacks, by name.
        foreign: the parameters of the optimizer that are not the model's, by name or number.
        watched: whether steps are measured, by `watch()`.
        warnings: what is wrong, the likeliest cause first; on what has been measured so far.
    """

    optimizer: str
    options: Mapping[str, Any]
    groups: tuple[GroupReport, ...]
    step: int | None = None
    clip_factor: float = 1.0
    missing: tuple[str, ...] = ()
    foreign: tuple[str, ...] = ()
    watched: bool = False
    warnings: tuple[Diagnosis, ...] = ()

    @property
    def params(self) -> tuple[ParamReport, ...]:
        """The parameters of all groups."""
        return tuple(itertools.chain.from_iterable(group.params for group in self.groups))

    @property
    def backend(self) -> str:
        """The backends that step the parameters, joined by "and"."""
        return " and ".join(sorted({param.backend or "none" for param in self.params})) or "none"

    @functools.cached_property
    def total(self) -> Total | None:
        """What the measured step did to all parameters together; None before one."""
        found = [param.measured for param in self.params if param.measured is not None]
        return None if self.step is None else total_of(found, self.step, self.clip_factor)

    @property
    def first_nonfinite(self) -> str | None:
        """The first parameter whose gradient was not finite."""
        found = (param.label for param in self.params if param.measured and param.measured.nonfinite)
        return next(found, None)

    @property
    def rows(self) -> list[dict[str, Any]]:
        """A flat dictionary for each parameter; `pandas.DataFrame(report.rows)` is a table of them."""
        return [
            param.row() | {"measured_at": None if param.measured is None else self.step}
            for param in self.params
        ]

    def to_json(self, indent: int | None = None) -> str:
        """The whole report as JSON; what is NaN or infinite is null.

        Args:
            indent: as of `json.dumps`.
        """
        found = {
            "optimizer": self.optimizer,
            "options": self.options,
            "step": self.step,
            "backend": self.backend,
            "clip_factor": self.clip_factor,
            "first_nonfinite": self.first_nonfinite,
            "missing": self.missing,
            "foreign": self.foreign,
            "warnings": [asdict(each) for each in self.warnings],
            "groups": [group.options for group in self.groups],
            "params": self.rows,
        }
        return json.dumps(plain(found), indent=indent, allow_nan=False)

    def __repr__(self) -> str:
        from .table import lines

        return "\n".join(lines(self))

    def _repr_html_(self) -> str:
        from .html import page

        return page(self)
