"""Where reports go: a callback, a writer of TensorBoard, a run of Weights & Biases, or a file."""

from __future__ import annotations

import csv
import inspect
import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..._tools.files import append_lines
from .plain import plain
from .values import QUANTITIES, Report

__all__ = ["Sink", "sink_of"]

Sink = Callable[[Report], Any]


def sink_of(to: Any) -> Sink | None:
    """What takes a report to where it is to go.

    Raises:
        TypeError: `to` is nothing that a report can be given to.
        ValueError: the folder of a file does not exist, or a file of CSV has other columns.
    """
    if to is None:
        return None
    if isinstance(to, (str, os.PathLike)):
        return _file(Path(to).absolute())
    if callable(getattr(to, "add_scalar", None)):
        return lambda report: _scalars(report, to.add_scalar)
    if _logs(getattr(to, "log", None)) and not hasattr(to, "getLogger") and not hasattr(to, "handlers"):
        return lambda report: to.log(_named(report) | {"adamas/step": report.step})
    if callable(to):
        return to  # type: ignore[no-any-return]
    raise TypeError(
        f"to must be a function that takes a report, a SummaryWriter, a run of wandb, or a path, got {to!r}"
    )


def _logs(log: Any) -> bool:
    """Whether a method takes one dictionary: another's `log(name, value)` does not."""
    if not callable(log):
        return False
    try:
        inspect.signature(log).bind({})
    except (TypeError, ValueError):
        return False
    return True


def _named(report: Report) -> dict[str, float]:
    """Everything measured, by `adamas/<name>/<quantity>`."""
    return {
        f"adamas/{param.label}/{name}": value
        for param in report.params
        if param.measured is not None
        for name, value in param.quantities().items()
        if value is not None
    }


def _scalars(report: Report, add_scalar: Callable[..., Any]) -> None:
    for tag, value in _named(report).items():
        add_scalar(tag, value, report.step)


def _file(path: Path) -> Sink:
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise ValueError(f"to must be the path of a file in a folder that exists, got {str(path)!r}")
    if path.suffix != ".csv":
        return lambda report: append_lines(path, "".join(f"{json.dumps(row)}\n" for row in _rows(report)))
    if _first_line(path) not in ("", _HEADER):
        raise ValueError(f"{str(path)!r} has other columns than a report: give another path")
    return lambda report: append_lines(path, _csv(report, header=not _first_line(path)))


def _first_line(path: Path) -> str:
    """The first line of a file; empty where there is none that is whole."""
    if not path.exists():
        return ""
    with path.open(encoding="utf-8", newline="") as file:
        line = file.readline()
    return line if line.endswith("\n") else ""


_KEYS = ("step", "name", "group", "lr", "steps", "behind", *QUANTITIES)
_HEADER = ",".join(_KEYS) + "\n"


def _rows(report: Report) -> list[dict[str, Any]]:
    """A row for each parameter, with what may change from step to step, fit for JSON."""
    return [plain({"step": report.step, **{key: row[key] for key in _KEYS[1:]}}) for row in report.rows]


def _csv(report: Report, header: bool) -> str:
    text = io.StringIO()
    csv.DictWriter(text, _KEYS, lineterminator="\n").writerows(_rows(report))
    return _HEADER * header + text.getvalue()
