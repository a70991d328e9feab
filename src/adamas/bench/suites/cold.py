"""Seconds from the import of adamas.torch to the end of the first step of a process.

Torch is imported before, including the modules that it imports when its first optimizer is made.
"""

import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from typing import Any

from ..machine import machine
from ..pairs import Bench

WORKLOADS = ("rl-mlp",)
_PROGRAM = """
import time, torch
p = torch.nn.Parameter(torch.randn(64, 64))
p.grad = torch.randn(64, 64)
torch.optim.Adam([p])
start = time.perf_counter()
import adamas.torch
optimizer = adamas.torch.Adam([p])
optimizer.step()
print(time.perf_counter() - start)
"""


def run(workloads: Sequence[str], rounds: int, peers: bool) -> Bench:
    """Measure with an empty kernel cache and with a full one; at most five processes each."""
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        count = min(rounds, 5)
        _first_step(os.path.join(folder, "warm"))
        empty = [_first_step(os.path.join(folder, str(k))) for k in range(count)]
        full = [_first_step(os.path.join(folder, "warm")) for _ in range(count)]
    for name, seconds in (("empty", empty), ("full", full)):
        row = {"kernel cache": name, "seconds": statistics.median(seconds)}
        rows.append(row | {"fastest": min(seconds), "slowest": max(seconds)})
    return Bench("The first step of a process", rows, machine(), [])


def _first_step(cache: str) -> float:
    environment = {**os.environ, "ADAMAS_CACHE": cache}
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM], env=environment, capture_output=True, text=True, check=True
    )
    return float(done.stdout)
