"""Records as tables: a row a run for people, a row a number for programs."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from adamas._tools.text import format_value

from .. import ExperimentError
from .store import FAILED, Record, key

# Columns of the tidy table that are not of the configuration, before and after those that are.
BEFORE = ("run",)
AFTER = ("status", "error", "seconds", "epoch", "clock", "measure", "value")


def summary(record: Record) -> dict[str, Any]:
    """The record without its history: what is left of that are the last measures, or the error."""
    failed = record["status"] == FAILED
    return {
        "run": key(record["configuration"]),
        "configuration": record["configuration"],
        "status": record["status"],
        "error": _error(record),
        "seconds": None if failed else record["seconds"],
        "last": {} if failed or not record["epochs"] else record["epochs"][-1],
        "versions": record["versions"],
    }


def listed(records: Sequence[Record]) -> list[dict[str, Any]]:
    """A row of short texts for each; of a rule, the stepsize and what is not the same all over."""
    varied = _varied(records)
    return [_row(summary(record), varied) for record in records]


def _row(shown: dict[str, Any], varied: Mapping[Any, set[str]]) -> dict[str, Any]:
    rest = dict(shown["configuration"])
    kind = [str(rest.pop(name)) for name in ("kind", "problem", "stream") if name in rest]
    options, rule, seed = rest.pop("options", {}), rest.pop("rule", None), rest.pop("seed", None)
    rest.pop("data", None)
    if isinstance(rule, Mapping):
        name = rule.get("name")
        told = {field: value for field, value in rule.items() if field == "lr" or field in varied[name]}
        rule = f"{name} {_pairs(told)}"
    return {
        "run": shown["run"][:8],
        "problem": " ".join(kind) + (f" ({_pairs(options)})" if options else ""),
        "rule": rule,
        "configuration": _pairs(rest),
        "seed": seed,
        "status": shown["status"],
        "last": shown["error"] or _pairs(shown["last"]),
        "seconds": shown["seconds"],
    }


def _varied(records: Sequence[Record]) -> dict[Any, set[str]]:
    """By a rule's name, the hyperparameters of which there are several values."""
    rules = [record["configuration"].get("rule") for record in records]
    found: dict[Any, dict[str, set[str]]] = {}
    for rule in rules:
        if isinstance(rule, Mapping):
            values = found.setdefault(rule.get("name"), {})
            for field, value in rule.items():
                values.setdefault(field, set()).add(json.dumps(value))
    return {
        name: {field for field, several in values.items() if len(several) > 1}
        for name, values in found.items()
    }


def versions(records: Sequence[Record]) -> list[str]:
    """The versions that the runs were done with, and how many with each."""
    counted = Counter(_pairs(record["versions"]) for record in records)
    return [f"{count} runs with {text}" for text, count in counted.most_common()]


def _pairs(values: Any) -> str:
    if not isinstance(values, Mapping):
        return format_value(values)
    return ", ".join(f"{name} {format_value(value)}" for name, value in values.items())


def _error(record: Record) -> str | None:
    """The last line of the traceback: the error itself."""
    return str(record["traceback"]).rstrip().rpartition("\n")[2] if record["status"] == FAILED else None


class Tidy:
    """The tidy table: a row for every number that was measured, with all that is known of its run beside it.

    `run` is the name of the record; the configuration follows, a field a column, fields of fields with a dot
    (`rule.lr`); then the versions (`version.torch`), `status`, `error` and `seconds`; and of the number
    itself `epoch`, `clock` (seconds of training until then), `measure` and `value`, which is absent where it
    was not finite. A run that failed, or measured nothing, has one row without a number.
    """

    def __init__(self, records: Sequence[Record]) -> None:
        self.runs = [_flat(record) for record in records]
        self.numbers = [
            (place, number) for place, record in enumerate(records) for number in _numbers(record)
        ]
        known = dict.fromkeys(name for run in self.runs for name in run)
        middle = [name for name in known if name not in BEFORE + AFTER]
        self.columns = [*BEFORE, *middle, *AFTER]

    def column(self, name: str) -> list[Any]:
        """Its values, of one type: where they are of several, they are numbers or else texts."""
        if name in AFTER[-4:]:
            place = AFTER[-4:].index(name)
            return [number[place] for _, number in self.numbers]
        of_runs = _of_one_type([run.get(name) for run in self.runs])
        return [of_runs[place] for place, _ in self.numbers]

    def csv(self) -> bytes:
        """As comma-separated values with a line of names; what is absent is empty."""
        file = io.StringIO()
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows(zip(*(self.column(name) for name in self.columns), strict=True))
        return file.getvalue().encode()

    def parquet(self) -> bytes:
        """As a Parquet file.

        Raises:
            ExperimentError: pyarrow is missing.
        """
        try:
            import pyarrow
            from pyarrow import parquet
        except ModuleNotFoundError as error:
            raise ExperimentError(
                f"Parquet needs the package {error.name!r}: pip install 'adamas[parquet]'"
            ) from error
        # The type of a column of which nothing is known is nevertheless what it would be.
        floats = dict.fromkeys(("seconds", "epoch", "clock", "value"), pyarrow.float64())
        texts = dict.fromkeys(("run", "status", "error", "measure"), pyarrow.string())
        types = {**floats, **texts}
        arrays = [pyarrow.array(self.column(name), types.get(name)) for name in self.columns]
        file = pyarrow.BufferOutputStream()
        parquet.write_table(pyarrow.table(arrays, names=self.columns), file)
        return bytes(file.getvalue())


def _flat(record: Record) -> dict[str, Any]:
    """A run's own columns."""
    shown = summary(record)
    configuration = {
        f"configuration.{name}" if name in BEFORE + AFTER else name: value
        for name, value in _leaves("", record["configuration"])
    }
    versions = dict(_leaves("version.", record["versions"]))
    return {
        **configuration,
        **versions,
        **{name: shown[name] for name in ("run", "status", "error", "seconds")},
    }


def _leaves(prefix: str, values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _leaves(f"{prefix}{name}.", value)
        else:
            yield prefix + name, json.dumps(value) if isinstance(value, list | tuple) else value


def _numbers(record: Record) -> Iterable[tuple[Any, Any, str | None, Any]]:
    """Epoch, clock, measure, value."""
    epochs = record.get("epochs") or [{}]
    clock = record.get("clock") or [None] * len(epochs)
    for at, seconds in zip(epochs, clock, strict=False):
        measures = [(name, value) for name, value in at.items() if name != "epoch"]
        for name, value in measures or [(None, None)]:
            yield at.get("epoch"), seconds, name, value if isinstance(value, int | float) else None


def _of_one_type(values: Sequence[Any]) -> Sequence[Any]:
    types = {type(value) for value in values if value is not None}
    if len(types) < 2 and int not in types:
        return values
    if types <= {int, float}:
        whole = types == {int} and all(value is None or abs(value) < 2**63 for value in values)
        return values if whole else [None if value is None else float(value) for value in values]
    return [value if value is None or isinstance(value, str) else json.dumps(value) for value in values]
