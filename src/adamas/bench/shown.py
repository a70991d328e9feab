"""Figures as people read them: a table a workload, in columns that fit a terminal."""

from __future__ import annotations

from itertools import groupby
from typing import Any

from .pairs import Bench

__all__ = ["tables"]

Row = dict[str, Any]


def tables(bench: Bench) -> list[tuple[str, list[Row]]]:
    """Return rows under headings; those that are no comparisons are one table, as they are."""
    if not all("ratio" in row for row in bench.rows):
        return [("", [_rounded(row) for row in bench.rows])]
    grouped = groupby(bench.rows, key=lambda row: (row["workload"], row["parameters"]))
    return [
        (f"{workload}, {n:,} parameters", [_comparison(row) for row in rows])
        for (workload, n), rows in grouped
    ]


def _comparison(row: Row) -> Row:
    shown = {"ours": row["ours"], "beside": row["theirs"], "ratio": row["ratio"]}
    shown |= {"quartiles": f"{row['low']:.2f}-{row['high']:.2f}", "time": _time(row["ours µs"])}
    return _rounded({**shown, "GB/s": row["GB/s"], "triad": row["of triad"]})


def _rounded(row: Row) -> Row:
    """Three digits are what the quartiles leave."""
    return {name: float(f"{value:.3g}") if isinstance(value, float) else value for name, value in row.items()}


def _time(microseconds: float) -> str:
    for unit, size in (("s", 1e6), ("ms", 1e3)):
        if microseconds >= size:
            return f"{microseconds / size:.3g} {unit}"
    return f"{microseconds:.3g} µs"
