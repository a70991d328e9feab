"""A training step of a GPT-2 in bfloat16 with low-bit state, beside what torch's Adam in float32 needs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from adamas import formats
from adamas._tools.machine import available_bytes

from .machine import machine
from .one_step import OneStep
from .pairs import Bench
from .progress import tell
from .sharded_step import ShardedStep
from .workloads import gpt2

__all__ = ["SIZES", "run"]

# The arguments of `workloads.gpt2`: layers, width, and for the smallest vocabulary and context.
SIZES = {
    "tiny": (2, 128, 1024, 64),
    "small": (12, 768),
    "medium": (24, 1024),
    "large": (36, 1280),
    "xl": (48, 1600),
}
_TOKENS = 63
# Python, torch, the compiler of kernels, activations and the largest gradient: with room.
_BESIDE = 1_500_000_000
# Bytes a parameter: two of its own in bfloat16, and its state.
_OURS = {"float8": 4.5, "float4": 3.5}
# Parameter, gradient and two moments in float32.
_TORCH = 16
_GB = 1e9
# What several processes may have together, in bytes, and how long they may take, in seconds.
_MACHINE = 20 << 30
_PATIENCE = 900


def run(size: str, processes: int = 1) -> Bench:
    """Take the steps, each in a fresh process, or in so many that share the model.

    Raises:
        ValueError: there is no such size.
    """
    if size not in SIZES:
        raise ValueError(f"unknown size {size!r}; there are {', '.join(SIZES)}")
    shape = SIZES[size]
    if processes > 1:
        return _sharded(shape, processes)
    notes: list[str] = []
    n = sum(torch.Size(each).numel() for each in gpt2(*shape))
    theirs, needed, free = "torch.optim.Adam, float32", _TORCH * n, available_bytes()
    if free is not None and free > 1.25 * needed + _BESIDE:
        rows = [_row(theirs, OneStep(shape, _TOKENS, None, None), notes)]
    else:
        rows = [_figures(theirs, needed)]
        notes.append(f"{theirs}: computed, {_TORCH} bytes a parameter; this machine has no memory for it")
    for name, bytes in _OURS.items():
        if name in formats.names():
            asked = OneStep(shape, _TOKENS, name, int(bytes * n) + _BESIDE)
            rows.append(_row(f"adamas, bfloat16, {name} state", asked, notes))
    title = f"One training step of a GPT-2 of {n:,} parameters, batch 1, {_TOKENS} tokens"
    return Bench(title, rows, machine(), notes)


def _sharded(shape: tuple[int, ...], processes: int) -> Bench:
    """The step of processes that have a shard each, all within `_MACHINE` bytes together."""
    n = sum(torch.Size(each).numel() for each in gpt2(*shape))
    rows: list[dict[str, Any]] = []
    notes = [f"each of {processes} processes may have 1/{processes} of {_MACHINE / 2**30:g} GiB"]
    for name in (name for name in _OURS if name in formats.names()):
        tell(f"{processes} processes, {name}")
        with tempfile.TemporaryDirectory() as folder:
            limit, meeting = _MACHINE // processes, str(Path(folder) / "meeting")
            asked = [
                ShardedStep(shape, _TOKENS, name, limit, processes, rank, meeting)
                for rank in range(processes)
            ]
            found = _together(asked, name, notes)
        for rank, each in enumerate(found):
            row = {"state": name, "process": str(rank), "peak GB": None, "planned GB": None}
            row |= dict.fromkeys(["seconds", "loss", "after"])
            if each is not None:
                row |= {"peak GB": each["peak"] / _GB, "planned GB": each["planned"] / _GB}
                row |= {key: each[key] for key in ("seconds", "loss", "after")}
            rows.append(row)
        if all(found):
            total = sum(each["peak"] for each in found if each is not None) / 2**30
            notes.append(f"{name}: {total:.1f} GiB in all processes, what they share counted in each")
    title = f"One training step of a GPT-2 of {n:,} parameters in bfloat16 by {processes} processes"
    return Bench(title, rows, machine(), notes)


def _together(asked: Sequence[ShardedStep], name: str, notes: list[str]) -> list[dict[str, Any] | None]:
    """What each process found; None for one that did not end well, after which the others are ended."""
    command = [sys.executable, "-m", "adamas.bench.sharded_step"]
    # Memory of gathered layers goes back to the system when it is freed, not to glibc's heap.
    returning = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "1048576"}
    started = [
        subprocess.Popen(
            [*command, json.dumps(asdict(each))],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=returning,
        )
        for each in asked
    ]
    found: list[dict[str, Any] | None] = []
    try:
        for process in started:
            out, err = process.communicate(timeout=_PATIENCE)
            found.append(json.loads(out) if process.returncode == 0 else None)
            if process.returncode:
                last = (err.strip().splitlines() or [f"exit status {process.returncode}"])[-1]
                notes.append(f"{name}: did not end: {last[:200]}")
    except subprocess.TimeoutExpired:
        notes.append(f"{name}: did not end in {_PATIENCE} seconds")
    finally:
        for process in started:
            process.kill()
    return [*found, *[None] * (len(asked) - len(found))]


def _row(label: str, asked: OneStep, notes: list[str]) -> dict[str, Any]:
    tell(label)
    command = [sys.executable, "-m", "adamas.bench.one_step", json.dumps(asdict(asked))]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        notes.append(f"{label}: did not end: {last[:200]}")
        return _figures(label, None, asked.limit)
    found = json.loads(done.stdout)
    if asked.limit is not None and not found["limited"]:
        notes.append(f"{label}: nothing was limited: this system cannot limit the memory of a process")
    row = _figures(label, found["peak"], asked.limit if found["limited"] else None)
    return row | {name: found[name] for name in ("seconds", "loss", "after")}


def _figures(label: str, peak: int | None, limit: int | None = None) -> dict[str, Any]:
    row: dict[str, Any] = {"optimizer": label, "peak GB": None if peak is None else peak / _GB}
    row["limit GB"] = None if limit is None else limit / _GB
    return row | dict.fromkeys(["seconds", "loss", "after"])
