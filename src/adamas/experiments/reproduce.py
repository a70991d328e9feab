"""A figure from nothing to its tables and pictures; what is stored is not run again."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from . import figures, grid, pictures, progress
from .figures import Preset, Table
from .files import write_atomically
from .runs import Run
from .store import Record, Store


@dataclass(frozen=True)
class Reproduction:
    """What came of it.

    Args:
        title: of the figure.
        tables: the numbers and findings.
        files: the pictures, PNG and SVG.
        failures: how many runs raised; tables and pictures are then without them.
    """

    title: str
    tables: list[Table]
    files: list[Path]
    failures: int


def reproduce(name: str, preset: Preset, folder: Path, jobs: int, console: Console) -> Reproduction:
    """Executes what is not stored in `folder` yet in `jobs` processes, then draws.

    Raises:
        ExperimentError: before any run: no such figure, an unwritable folder, missing or corrupt data, or
            an unreadable record.
        KeyboardInterrupt: the user's; what has ended is stored.
    """
    figure = figures.load(name)
    store = Store(folder)
    store.make()
    runs = list(dict.fromkeys(figure.runs(preset)))
    stored = _stored(runs, store)
    missing = [run for run in runs if run not in stored]
    failures = []
    if missing:
        grid.prepare(missing)
        failures = progress.show(grid.execute(missing, store, jobs), missing, len(stored), console)
    records = _stored(runs, store)
    files = _draw(figure, preset, records, folder / f"{name}-{preset}")
    return Reproduction(figure.title, list(figure.tables(preset, records)), files, len(failures))


def _stored(runs: list[Run], store: Store) -> dict[Run, Record]:
    found = {run: store.read(run.configuration()) for run in runs}
    return {run: record for run, record in found.items() if record is not None}


def _draw(figure: figures.Figure, preset: Preset, records: dict[Run, Record], stem: Path) -> list[Path]:
    picture = pictures.draw(f"{figure.title} ({preset})", figure.charts(preset, records))
    files = []
    for kind in ("png", "svg"):
        content = io.BytesIO()
        picture.savefig(content, format=kind, dpi=150)
        files.append(stem.with_name(f"{stem.name}.{kind}"))
        write_atomically(files[-1], content.getvalue())
    return files
