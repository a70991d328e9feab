"""Triton's kernels in its interpreter, in a process of its own: it takes the place of the compiler."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

from adamas import formats
from adamas.rules._file import opened

from .agreement import Agreement, Course, by_torch

__all__ = ["Interpreted"]

_COURSE = Course(steps=10, rows=16)  # the interpreter takes a second for a few steps
_PROGRAM = f"from {__name__} import main; main()"


class Interpreted:
    """The comparison of a rule in Triton's interpreter, which goes on beside others."""

    def __init__(self, path: Path, name: str) -> None:
        command = [sys.executable, "-c", _PROGRAM, str(path), name]
        environment = {**os.environ, "TRITON_INTERPRET": "1", "PYTHONDONTWRITEBYTECODE": "1"}
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
        self._process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    @staticmethod
    def possible() -> bool:
        """Whether Triton is installed."""
        return importlib.util.find_spec("triton") is not None

    def result(self) -> list[Agreement]:
        """Wait for the end."""
        out, err = self._process.communicate()
        if self._process.returncode:
            last = (err.strip().splitlines() or ["no message"])[-1]
            return [Agreement("triton", "", agrees=False, note=f"its interpreter fails: {last}")]
        return [Agreement(**row) for row in json.loads(out)]

    def stop(self) -> None:
        """End the process, wherever it is."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.communicate()


def main() -> None:
    """Compare in every format, and print the rows as JSON."""
    path, name = Path(sys.argv[1]), sys.argv[2]
    with opened(path, [name]) as (rule,):
        rows = [
            by_torch(rule, "triton", state, "cpu", _COURSE)
            for state in sorted(formats.names(), key=lambda name: -formats.get(name).bits)
        ]
    print(json.dumps([dataclasses.asdict(row) for row in rows]))
