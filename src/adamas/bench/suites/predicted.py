"""Kernels for a GPU that need not be there: bytes and instructions an element, and the time these allow."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from adamas.formats import Format
from adamas.rules import Adam

from ..machine import machine
from ..pairs import Bench
from ..workloads import WORKLOADS as SHAPES

WORKLOADS = ("gpt2-small",)
ARCHITECTURE = "sm_90"

# An H100 SXM: 132 multiprocessors that issue 4 instructions for 32 threads each, at 1.755 GHz; of its
# 3.35 TB/s a copy reaches about nine tenths.
_ISSUE = 132 * 4 * 32 * 1.755e9
_BANDWIDTH = 3.0e12
# The formats of parameters and gradients, and of the state.
_FORMS = [
    ("float32", "float32"),
    ("float32", "bfloat16"),
    ("float32", "float8"),
    ("float32", "float4"),
    ("bfloat16", "float32"),
    ("bfloat16", "bfloat16"),
    ("bfloat16", "float8"),
    ("bfloat16", "float4"),
]
# The bytes of Adam in float32: p, m and v are read and written, g is read.
_FUSED = 28.0


# In a process of its own, because Triton's interpreter, where that is on, takes the place of the compiler.
_PROGRAM = """
import json
from adamas.bench.suites.predicted import counted

print(json.dumps(counted()))
"""


def run(workloads: Sequence[str], rounds: int, peers: bool) -> Bench:
    """Compile Adam's kernels for an H100, and count; nothing is timed.

    Raises:
        ValueError: there is no Triton.
    """
    if importlib.util.find_spec("triton") is None:
        raise ValueError("Triton compiles these kernels: pip install 'adamas[triton]'")
    found = json.loads(_output())
    rows: list[dict[str, Any]] = []
    for name in workloads:
        elements = sum(math.prod(shape) for shape in SHAPES[name]())
        rows += [{**row, **_predicted(row["bytes"], row["instructions"], elements)} for row in found]
    title = "Adam's kernels, an element; faster: than the memory's time for 28 bytes (H100)"
    return Bench(title, rows, machine(), [])


def _output() -> str:
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    done = subprocess.run([sys.executable, "-c", _PROGRAM], env=environment, capture_output=True, text=True)
    if done.returncode:
        raise ValueError(f"the kernels cannot be compiled: {done.stderr.strip().splitlines()[-1]}")
    return done.stdout


def counted() -> list[dict[str, Any]]:
    """Compile the kernels, and return what each moves, needs and executes, an element."""
    from adamas.backends.triton import compile_rule
    from adamas.backends.triton.code import code_of

    rows = []
    for p, state in _FORMS:
        kernel = compile_rule(Adam(), p, slots={"m": state, "v": state})
        code = code_of(kernel, ARCHITECTURE, count=True)
        row = {"parameters": p, "state": state, "bytes": bytes_moved(kernel.formats)}
        rows.append(row | {"registers": code.registers, "instructions": code.instructions / 8})
    return rows


def _predicted(moved: float, instructions: float, elements: int) -> dict[str, Any]:
    """What memory and issue allow: the time of 28 bytes over ours, and ours."""
    memory, issue = moved / _BANDWIDTH, instructions / _ISSUE
    bound, time = ("memory", memory) if memory > issue else ("issue", issue)
    faster = _FUSED / _BANDWIDTH / time
    return {"by": bound, "faster": faster, "ms": 1e3 * elements * time}


def bytes_moved(formats: Mapping[str, Format]) -> float:
    """The bytes that a step moves an element: g is read, all else read and written."""
    return sum(format.bytes * (1 if name == "g" else 2) for name, format in formats.items())
