"""Programs in a fresh process, with the helpers of the tests on its path: for what is true of a process."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path


def fresh_python(program: str) -> str:
    """What a program prints; an AssertionError with its errors where it fails."""
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": path},
    )
    if done.returncode:
        raise AssertionError(done.stderr)
    return done.stdout
