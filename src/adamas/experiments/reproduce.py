"""A figure, or all of the paper's, from nothing to its tables, pictures and page."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from adamas._tools import modules
from adamas._tools.files import write_atomically

from . import claims, page, pictures, report
from .engines import Workers
from .figures import Preset
from .report import Judged, Report
from .store import Store

ALL = "all"


@dataclass(frozen=True)
class Reproduction:
    """What came of it.

    Args:
        reports: of the figures.
        judged: the findings of all of them, and of the claims that are no figure's.
        files: the pictures, PNG and SVG, by figure.
        page: which shows all of it.
        failures: how many runs and claims raised; everything else is then without them.
    """

    reports: Sequence[Report]
    judged: Sequence[Judged]
    files: dict[str, list[Path]]
    page: Path
    failures: int


def reproduce(name: str, preset: Preset, folder: Path, workers: Workers, console: Console) -> Reproduction:
    """Executes what is not stored in `folder` yet, then draws: this figure, or `ALL` of the paper.

    Raises:
        ExperimentError: see `report.execute` and `report.measure`.
        KeyboardInterrupt: the user's; what has ended is stored.
    """
    store = Store(folder)
    reports, failed = report.execute(
        report.of_paper() if name == ALL else [name], preset, store, workers, console
    )
    others = modules.names(claims.__name__) if name == ALL else []
    measured, raised = report.measure(others, preset, console)
    judged = [*(each for one in reports for each in one.judged()), *measured]
    files = {each.name: _draw(each, folder / f"{each.name}-{preset}") for each in reports}
    path = folder / f"{name}-{preset}.html"
    command = f"adamas reproduce {name} --preset {preset}"
    page.write(path, page.Contents(command, preset, reports, judged, files, failed + raised), store)
    return Reproduction(reports, judged, files, path, failed + raised)


def _draw(figure: Report, stem: Path) -> list[Path]:
    picture = pictures.draw(f"{figure.title} ({figure.preset})", figure.charts)
    files = []
    for kind in ("png", "svg"):
        content = io.BytesIO()
        picture.savefig(content, format=kind, dpi=150)
        files.append(stem.with_name(f"{stem.name}.{kind}"))
        write_atomically(files[-1], content.getvalue())
    return files
