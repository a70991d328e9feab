"""Results as Markdown with small pictures, without records: a summary to be published."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from adamas._tools.files import write_atomically
from adamas._tools.text import format_value

from ..records.tables import versions
from . import matplotlib
from .collect import FindingRow, Report, count_verdicts

__all__ = ["write"]

DPI = 72  # a picture of two charts is some 60 kB


def write(
    folder: Path, command: str, reports: Sequence[Report], findings: Sequence[FindingRow]
) -> list[Path]:
    """Write a summary of each figure, and one of the findings that no figure has, if there are any.

    Args:
        folder: made if it is not there; files of the same names are replaced.
        command: the command that measures all this, whose preset is that of the reports.
        reports: the figures.
        findings: the findings of figures and claims.

    Returns:
        the files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = [path for report in reports for path in _figure(folder, command, report)]
    figures = {report.name for report in reports}
    of_claims = [row for row in findings if row.name not in figures]
    if of_claims:
        files.append(folder / "claims.md")
        title = f"# Claims of the paper\n\n{count_verdicts(of_claims)}, by `{command}`."
        _put(files[-1], [title, *map(_finding, of_claims)])
    return files


def _figure(folder: Path, command: str, report: Report) -> list[Path]:
    stem = f"{report.name}-{report.preset}"
    picture = io.BytesIO()
    matplotlib.draw("", report.charts).savefig(picture, format="png", dpi=DPI)
    write_atomically(folder / f"{stem}.png", picture.getvalue())
    parts = [f"# {report.title}", _measured(command, report), f"![The curves]({stem}.png)"]
    for table in report.tables:
        parts += [f"## {table.title}", *([_table(table.filled())] if table.rows else [])]
        parts += [_finding(FindingRow(report.name, finding)) for finding in table.findings]
    _put(folder / f"{stem}.md", parts)
    return [folder / f"{stem}.md", folder / f"{stem}.png"]


def _measured(command: str, report: Report) -> str:
    """Say what was run, with what, and how long it took."""
    records = list(report.records.values())
    missing = len(report.runs) - len(records)
    lacking = f", of which {missing} have no record" if missing else ""
    devices = ", ".join(sorted({record.get("device", "cpu") for record in records})) or "nothing yet"
    return (
        f"Measured by `{command}`: {len(report.runs):,} runs{lacking}, {report.seconds / 3600:.2f} hours of "
        f"computing on {devices}; {'; '.join(versions(records)) or 'no run'}."
    )


def _finding(row: FindingRow) -> str:
    finding = row.finding
    return f"**{finding.verdict}**: {finding.claim} ({finding.source}).\n{finding.measured}."


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    names = list(rows[0]) if rows else []
    lines = [names, ["---"] * len(names), *([format_value(row[name]) for name in names] for row in rows)]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in _worded(lines))


def _worded(lines: Iterable[Sequence[str]]) -> list[list[str]]:
    """Return the lines with the names in the first one as words."""
    head, *rest = lines
    return [[name.replace("_", " ") for name in head], *map(list, rest)]


def _put(path: Path, parts: Sequence[str]) -> None:
    write_atomically(path, ("\n\n".join(parts) + "\n").encode())
