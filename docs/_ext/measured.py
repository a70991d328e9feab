"""The tables of measurements, of the README and of the site, from one record: measurements.json."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

__all__ = ["family_table", "long_table", "read", "readme_table"]

Record = Mapping[str, Any]


def read(path: Path) -> Record:
    """The record: `machines` by name, `rows`, each with its command and ratios by machine, and `family`.

    `family` has the command, and a row for each rule: the bytes of its step, its time and its bytes a second
    over Adam's, and the time of each other library over its own.
    """
    record: Record = json.loads(path.read_text(encoding="utf-8"))
    return record


def readme_table(record: Record) -> str:
    """The short table; a suite or workload is named where it changes."""
    head = "| `adamas bench` | workload | beside | Intel | quartiles | AMD |\n|---|---|---|---|---|---|\n"
    rows = "".join(f"| {' | '.join(cells)} |\n" for cells in _cells(record))
    return head + re.sub(r"\|  (?=\|)", "| ", rows)


def long_table(record: Record) -> str:
    """The machines, then a table under each command."""
    parts = ["".join(f"- **{name}**: {text}\n" for name, text in record["machines"].items())]
    head = "| workload | beside | Intel | quartiles | AMD |\n|---|---|---:|---:|---:|\n"
    for command, rows in itertools.groupby(record["rows"], key=lambda row: row["command"]):
        lines = [f"| {' | '.join(_numbers(row)[1:])} |\n" for row in rows]
        parts.append(f"```sh\n{command}\n```\n\n{head}{''.join(lines)}")
    return "\n".join(parts)


def family_table(record: Record) -> str:
    """The command, and the table of the rules under it."""
    family = record["family"]
    head = "| rule | bytes | time over Adam's | bytes a second over Adam's | others' time over ours |\n|---|---:|---:|---:|---|\n"
    rows = (
        (row["rule"], row["bytes"], row["time"], row["Adam"], ", ".join(map(" ".join, row["others"].items())))
        for row in family["rows"]
    )
    lines = "".join(f"| {' | '.join(cells)} |\n" for cells in rows)
    return f"```sh\n{family['command']}\n```\n\n{head}{lines}"


def _cells(record: Record) -> Iterator[tuple[str, ...]]:
    suite = workload = None
    for row in record["rows"]:
        first, title, *rest = _numbers(row)
        new_suite, new_title = row["suite"] != suite, (row["suite"], row["workload"]) != workload
        suite, workload = row["suite"], (row["suite"], row["workload"])
        yield first if new_suite else "", title if new_title else "", *rest


def _numbers(row: Mapping[str, Any]) -> tuple[str, ...]:
    title = row["workload"] + (f": {row['time']}" if row["time"] else "")
    low, high = row["quartiles"]
    return f"`{row['suite']}`", title, row["beside"], row["Intel"], f"{low} to {high}", row["AMD"] or ""
