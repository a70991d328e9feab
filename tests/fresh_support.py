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


# For programs above: the most memory that was resident since the last `reset()`, in MiB beyond what was then.
PEAKS = """
import gc


def _status(name):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(name)) / 1024


def reset():
    gc.collect()
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")
    return _status("VmRSS:")


def peak_since(before):
    return _status("VmHWM:") - before
"""


def has_peaks() -> bool:
    """Whether the system says how much memory was resident at most, and forgets it when asked."""
    return os.access("/proc/self/clear_refs", os.W_OK)
