"""Records as tables: a row for each run for people, a row for each number for programs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import pandas

from adamas._tools.text import format_value

from .. import ExperimentError
from .store import FAILED, Record, key

# Columns of the tidy table: before the configuration and the versions, after them, and those of a number.
BEFORE = ("run",)
AFTER = ("status", "error", "seconds")
NUMBER = ("epoch", "clock", "measure", "value")
FLOATS = ("seconds", "epoch", "clock", "value")


def summary(record: Record) -> dict[str, Any]:
    """Return the record without its history, with the last measures or the error only."""
    failed = record["status"] == FAILED
    return {
        "run": key(record["configuration"]),
        "configuration": record["configuration"],
        "status": record["status"],
        "error": _error(record),
        "seconds": None if failed else record["seconds"],
        "last": {} if failed or not record["epochs"] else record["epochs"][-1],
        "device": record.get("device", "cpu"),
        "versions": record["versions"],
    }


def named(records: Sequence[Record], beginnings: Sequence[str]) -> list[Record]:
    """Return the records whose names begin with one of these.

    Raises:
        ExperimentError: no name begins with one of them.
    """
    names = [key(record["configuration"]) for record in records]
    for beginning in beginnings:
        if not any(name.startswith(beginning) for name in names):
            raise ExperimentError(f"no run begins with {beginning!r}: `adamas results` lists those there are")
    return [record for name, record in zip(names, records, strict=True) if name.startswith(tuple(beginnings))]


def facts(record: Record) -> dict[str, str]:
    """Return all of one run as short texts by name, without its history."""
    shown = summary(record)
    texts = {
        name: _pairs(value)
        for name, value in [*shown.pop("configuration").items(), *shown.pop("last").items()]
    }
    return {"run": shown.pop("run"), **texts, **{name: _pairs(value) for name, value in shown.items()}}


def listed(records: Sequence[Record]) -> list[tuple[str, list[dict[str, Any]]]]:
    """Return rows of short values under what they share, for each problem and configuration.

    A rule shows its stepsize and the fields that vary; rows of a table are in the order of these.
    """
    varied, shortest = _varied(records), _shortest([key(record["configuration"]) for record in records])
    grouped: dict[str, list[dict[str, Any]]] = {}
    for record in records:
        heading, row = _row(summary(record), varied, shortest)
        grouped.setdefault(heading, []).append(row)
    return [_shared(heading, sorted(rows, key=_order)) for heading, rows in grouped.items()]


def _shortest(names: Sequence[str], least: int = 8) -> int:
    """Return how many characters tell all names apart."""
    whole = max(map(len, names), default=least)
    return next((n for n in range(least, whole) if len({name[:n] for name in names}) == len(names)), whole)


def _row(shown: dict[str, Any], varied: Mapping[Any, set[str]], shortest: int) -> tuple[str, dict[str, Any]]:
    rest = dict(shown["configuration"])
    kind = [str(rest.pop(name)) for name in ("kind", "problem", "stream") if name in rest]
    options, rule, seed = rest.pop("options", {}), rest.pop("rule", None), rest.pop("seed", None)
    rest.pop("data", None)
    if isinstance(rule, Mapping):
        name = rule.get("name")
        told = {field: value for field, value in rule.items() if field == "lr" or field in varied[name]}
        rule = f"{name} {_pairs(told)}"
    problem = " ".join(kind) + (f" ({_pairs(options)})" if options else "")
    row = {"run": shown["run"][:shortest], "rule": rule, "seed": seed, "status": shown["status"]}
    measures = {name: float(value) for name, value in shown["last"].items() if _is_number(value)}
    row |= {**measures, "seconds": shown["seconds"], "failure": shown["error"]}
    return ", ".join(filter(None, [problem, _pairs(rest)])), row


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float)


def _shared(heading: str, rows: list[dict[str, Any]]) -> tuple[str, list[dict[str, Any]]]:
    """Return the rows of one heading with the same columns; what is the same in all goes to the heading."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    # Seconds and what went wrong are last, behind all measures.
    names = [name for name in names if name not in ("seconds", "failure")] + ["seconds", "failure"]
    columns = {name: [row.get(name) for row in rows] for name in names}
    columns = {name: values for name, values in columns.items() if any(v is not None for v in values)}
    same = [
        name
        for name in ("seed", "status", "epoch")
        if len(rows) > 1 and len(set(map(str, columns.get(name, [0, 1])))) == 1
    ]
    heading = ", ".join([heading, *(_pairs({name: columns.pop(name)[0]}) for name in same)])
    return heading, [{name: values[k] for name, values in columns.items()} for k in range(len(rows))]


def _order(row: Mapping[str, Any]) -> list[tuple[float, str]]:
    """Sort numbers within texts by their size."""
    return [_as_number(word) for word in f"{row['rule']} {row['seed']}".split()]


def _as_number(word: str) -> tuple[float, str]:
    try:
        return float(word.rstrip(",")), ""
    except ValueError:
        return float("-inf"), word


def _varied(records: Sequence[Record]) -> dict[Any, set[str]]:
    """Return the hyperparameters that have several values, by the rule's name."""
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
    """Return the versions that the runs were done with, and the number of runs with each."""
    counted = Counter(_pairs(record["versions"]) for record in records)
    return [f"{count} runs with {text}" for text, count in counted.most_common()]


def _pairs(values: Any) -> str:
    if not isinstance(values, Mapping):
        return format_value(values)
    return ", ".join(f"{name} {format_value(value)}" for name, value in values.items())


def _error(record: Record) -> str | None:
    """Return the last line of the traceback: the error itself."""
    return str(record["traceback"]).rstrip().rpartition("\n")[2] if record["status"] == FAILED else None


def tidy(records: Sequence[Record]) -> pandas.DataFrame:
    """Return the tidy table: a row for every number that was measured, with all fields of its run.

    `run` is the name of the record; the configuration follows, a field a column, fields of fields with a dot
    (`rule.lr`); then the versions (`version.torch`), `status`, `error` and `seconds`; and of the number
    itself `epoch`, `clock` (seconds of training until then), `measure` and `value`, which is absent where it
    was not finite. A run that failed, or measured nothing, has one row without a number.
    """
    # Columns of objects: pandas would turn integers beside absent values into floats.
    runs = pandas.DataFrame([_flat(record) for record in records], dtype=object)
    numbers = pandas.DataFrame(
        [(place, *number) for place, record in enumerate(records) for number in _numbers(record)],
        columns=["place", *NUMBER],
        dtype=object,
    )
    runs = runs.reindex(columns=[*BEFORE, *(name for name in runs if name not in (*BEFORE, *AFTER)), *AFTER])
    places = numbers.pop("place").astype(int)
    table = runs.apply(_of_one_type).astype(object).take(places).reset_index(drop=True)
    return pandas.concat([table, numbers], axis=1)


def csv(table: pandas.DataFrame) -> bytes:
    """Return a tidy table as comma-separated values with a line of names; absent values are empty."""
    content: str = table.to_csv(index=False, lineterminator="\n")
    return content.encode()


def parquet(table: pandas.DataFrame) -> bytes:
    """Return a tidy table as a Parquet file.

    Raises:
        ExperimentError: pyarrow is missing.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ModuleNotFoundError as error:
        raise ExperimentError(
            f"Parquet needs the package {error.name!r}: pip install -e '.[parquet]' in a clone of adamas"
        ) from error
    # A column without any value still gets the type that its values would have.
    floats = dict.fromkeys(FLOATS, pyarrow.float64())
    types = {**dict.fromkeys((*BEFORE, *AFTER, *NUMBER), pyarrow.string()), **floats}
    columns = {name: pyarrow.array(table[name], types.get(name), from_pandas=True) for name in table}
    file = pyarrow.BufferOutputStream()
    parquet.write_table(pyarrow.table(columns), file)
    return bytes(file.getvalue())


def _flat(record: Record) -> dict[str, Any]:
    """Return the columns of a run."""
    shown = summary(record)
    configuration = {
        f"configuration.{name}" if name in (*BEFORE, *AFTER, *NUMBER) else name: value
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
    """Yield epoch, clock, measure and value."""
    epochs = record.get("epochs") or [{}]
    clock = record.get("clock") or [None] * len(epochs)
    for at, seconds in zip(epochs, clock, strict=False):
        measures = [(name, value) for name, value in at.items() if name != "epoch"]
        for name, value in measures or [(None, None)]:
            yield at.get("epoch"), seconds, name, value if isinstance(value, int | float) else None


def _of_one_type(column: pandas.Series) -> pandas.Series:
    """Return the values of a column as one type: where they have several, as numbers or else as texts."""
    values = column.dropna()
    types = set(map(type, values))
    if types <= {int, float}:
        if types == {int} and (values.abs() < 2**63).all():
            return column
        return column.map(float, na_action="ignore")
    if len(types) < 2:
        return column
    return column.map(
        lambda value: value if isinstance(value, str) else json.dumps(value), na_action="ignore"
    )
