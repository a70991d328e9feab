"""Results as Markdown with small pictures, without records: a summary to be published."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from adamas._tools.files import write_atomically
from adamas._tools.text import format_value

from .. import ExperimentError
from ..charts import Chart
from ..records.tables import versions
from . import matplotlib
from .collect import FindingRow, LearnedRow, Report, count_verdicts

__all__ = ["make", "write"]

PIPE = "\\|"  # one in a cell, which would end it
DPI = 72


def make(folder: Path) -> None:
    """Make the folder, and check that files can be written to it.

    Raises:
        ExperimentError: it cannot be made or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise ExperimentError(
            f"no summary can be written to {folder}: {error.strerror}. Name another folder (--summary)"
        ) from error


def write(
    folder: Path,
    command: str,
    reports: Sequence[Report],
    findings: Sequence[FindingRow],
    learned: Sequence[LearnedRow] = (),
) -> list[Path]:
    """Write a summary of each figure, of the claims that no figure has, and of those made after the paper.

    Args:
        folder: see `make`; files of the same names are replaced.
        command: the command that measures all this, whose preset is that of the reports.
        reports: the figures.
        findings: the findings of figures and claims.
        learned: the claims that were made after the paper.

    Returns:
        the files.
    """
    files = [path for report in reports for path in _figure(folder, command, report)]
    figures = {report.name for report in reports}
    of_claims = [row for row in findings if row.name not in figures]
    if of_claims:
        files.append(folder / "claims.md")
        title = f"# Claims of the paper\n\n{count_verdicts(of_claims)}, by `{command}`."
        _put(files[-1], [title, *map(_finding, of_claims)])
    if learned:
        files += _learned(folder, learned)
    return files


def _learned(folder: Path, rows: Sequence[LearnedRow]) -> list[Path]:
    charts = [chart for row in rows for chart in row.comparison.charts]
    parts = ["# What was learned after the paper", "Measured by `adamas claims --after`, in seconds each."]
    if charts:
        _draw(folder / "after.png", [charts[start : start + 2] for start in range(0, len(charts), 2)])
        parts.append("![The curves](after.png)")
    for row in rows:
        learned, found = row.learned, row.comparison
        parts += [f"## {learned.said}", f"{learned.source}.", f"`{learned.formula}`"]
        parts += [f"**{found.verdict}**: {found.text}.", *([_table(row.rows)] if row.rows else [])]
    _put(folder / "after.md", parts)
    return [folder / "after.md", *([folder / "after.png"] if charts else [])]


def _draw(path: Path, rows: Sequence[Sequence[Chart]]) -> None:
    picture = io.BytesIO()
    matplotlib.draw("", rows).savefig(picture, format="png", dpi=DPI, pil_kwargs={"optimize": True})
    write_atomically(path, picture.getvalue())


def _figure(folder: Path, command: str, report: Report) -> list[Path]:
    stem = f"{report.name}-{report.preset}"
    _draw(folder / f"{stem}.png", report.charts)
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
    return "\n".join(f"| {' | '.join(cell.replace('|', PIPE) for cell in line)} |" for line in _worded(lines))


def _worded(lines: Iterable[Sequence[str]]) -> list[list[str]]:
    """Return the lines with the names in the first one as words."""
    head, *rest = lines
    return [[name.replace("_", " ") for name in head], *map(list, rest)]


def _put(path: Path, parts: Sequence[str]) -> None:
    write_atomically(path, ("\n\n".join(parts) + "\n").encode())
