"""A scratch copy of the package, to which a test adds one file."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

PACKAGE = Path(__file__).parents[1] / "src" / "adamas"


def files(folder: Path) -> set[Path]:
    return {path.relative_to(folder) for path in folder.rglob("*") if "__pycache__" not in path.parts}


@dataclass(frozen=True)
class Scratch:
    """A copy of the package, and a folder for its caches and results."""

    folder: Path

    def add(self, path: str, text: str) -> None:
        """Write a new file, its path from src/adamas."""
        target = self.folder / "adamas" / path
        assert target.parent.is_dir()
        assert not target.exists()
        target.write_text(dedent(text).lstrip(), encoding="utf-8")

    def python(self, program: str) -> str:
        """Run a program with the copy; return what it prints."""
        return self._run("-c", dedent(program))

    def adamas(self, *arguments: str) -> str:
        """Run the command line of the copy; return what it prints."""
        return self._run("-m", "adamas", *arguments)

    def results(self) -> str:
        """A folder for results."""
        return str(self.folder / "results")

    def _run(self, *arguments: str) -> str:
        environment = {
            **os.environ,
            "PYTHONPATH": str(self.folder),
            "PYTHONDONTWRITEBYTECODE": "1",
            "ADAMAS_CACHE": str(self.folder.parent / "cache"),
        }
        done = subprocess.run(
            [sys.executable, *arguments],
            env=environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout
