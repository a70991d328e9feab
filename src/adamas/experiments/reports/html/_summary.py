"""A summary of a figure's runs: configurations grouped where they are alike, and links to the records."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...records.store import Record, Store
from ..collect import Report

MANY = 12  # with more distinct values than this, only the ends are listed
APART = ("kind", "problem", "data", "stream")  # the fields that separate groups of runs
Flat = dict[str, Any]


@dataclass(frozen=True)
class Group:
    """Runs on one problem with the same data, or on one online problem with the same options.

    Args:
        name: the name of the problem.
        common: the fields that are the same in all of them.
        varied: for each update rule, or "" where there is none, the values of those other fields that it has.
    """

    name: str
    common: Mapping[str, str]
    varied: Mapping[str, Mapping[str, str]]


@dataclass(frozen=True)
class Raw:
    """A run, and its record: a path from the page, "failed" where there is none."""

    description: str
    path: str
    status: str


@dataclass(frozen=True)
class Summary:
    """A summary; `seconds` is the wall time over all runs, each in a process of its own."""

    groups: list[Group]
    status: Mapping[str, int]
    seconds: float
    versions: list[str]
    raw: list[Raw]


def summarize(report: Report, store: Store, beside: Path) -> Summary:
    """Summarize a figure's runs for a page in the folder `beside`."""
    records = report.records
    raw = []
    for run in report.runs:
        record = records.get(run, {"configuration": run.configuration(), "status": "failed"})
        path = store.path(record["configuration"]).relative_to(beside).as_posix()
        raw.append(Raw(run.describe(), path, record["status"]))
    configurations = [{"kind": type(run).__name__, **run.configuration()} for run in report.runs]
    return Summary(
        groups=_groups([_flat(each) for each in configurations]),
        status=Counter(each.status for each in raw),
        seconds=report.seconds,
        versions=list(dict.fromkeys(map(_versions, records.values()))),
        raw=raw,
    )


def _versions(record: Record) -> str:
    texts = [f"{package} {version}" for package, version in record["versions"].items()]
    return ", ".join([*texts, f"device {record.get('device', 'cpu')}"])


def _flat(values: Mapping[str, Any], prefix: str = "") -> Flat:
    """Flatten {"rule": {"lr": 1}} to {"rule lr": 1}."""
    flat: Flat = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name} ")
        else:
            flat[prefix + name] = value
    return flat


def _groups(runs: Iterable[Flat]) -> list[Group]:
    apart: dict[tuple[Any, ...], list[Flat]] = {}
    for run in runs:
        apart.setdefault(_place(run), []).append(run)
    return [_group(alike) for alike in apart.values()]


def _place(run: Flat) -> tuple[Any, ...]:
    """Return the fields that separate groups; an online problem's options define its costs, as data do."""
    options = [pair for pair in sorted(run.items()) if "stream" in run and pair[0].startswith("options ")]
    return *(run.get(name) for name in APART), *options


def _group(runs: list[Flat]) -> Group:
    names = list(dict.fromkeys(name for run in runs for name in run))
    common = [name for name in names if len({_text(run.get(name)) for run in runs}) == 1]
    rules: dict[Any, list[Flat]] = {}
    for run in runs:
        rules.setdefault(run.get("rule name"), []).append(run)
    varied = {
        str(rule or ""): _varied(alike, [n for n in names if n not in common])
        for rule, alike in rules.items()
    }
    first = runs[0]
    title = first.get("problem", first.get("stream", first["kind"]))
    return Group(
        str(title),
        {name: _text(first.get(name)) for name in common},
        varied if len(names) > len(common) else {},
    )


def _varied(alike: Sequence[Flat], names: Iterable[str]) -> dict[str, str]:
    """Return the values of these fields in the runs of a rule, without fields that none of them has."""
    there = [
        name for name in names if name != "rule name" and any(run.get(name) is not None for run in alike)
    ]
    return {name: _values(run[name] for run in alike if run.get(name) is not None) for name in there}


def _values(values: Iterable[Any]) -> str:
    """List the distinct values, numbers ascending."""
    found = list(dict.fromkeys(value if isinstance(value, float | int) else _text(value) for value in values))
    if all(isinstance(value, float | int) for value in found):
        found.sort()
    texts = [_text(value) for value in found]
    if len(texts) > MANY:
        return f"{texts[0]} … {texts[-1]} ({len(texts)} values)"
    return ", ".join(texts)


def _text(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.6g}"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
