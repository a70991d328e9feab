"""One step of AdamW on a GPU, with training loops and checks: one JSON within a time limit.

The figures are beside torch's fused step, and beside the bandwidth of a copy on the device in the same run.
`python -m adamas bench device --device cuda --peers --output device.json`
is the whole measurement.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch

from ..accelerator.checks import Case, Expected, checked, every_case, first_cases
from ..accelerator.clock import Clock, clock_of, copy_bandwidth, facts, flush
from ..accelerator.loops import OPTIONS, graphed, without_waiting
from ..accelerator.rivals import FUSED, backend_of, mine, others
from ..accelerator.session import Place, Session
from ..accelerator.steps import time_step
from ..accelerator.targets import LARGE, judge
from ..accelerator.variants import VARIANTS, varied
from ..pairs import Bench, Contender
from ..workloads import WORKLOADS as SHAPES

# The most important first.
WORKLOADS = ("gpt2-small", "many-small", "resnet101", "gpt2-xl", "llama-7b")
_ON_CPU = ("rl-mlp", "many-small")
_VARIED = ("adamas float32", "adamas bfloat16", "adamas float8 state")
_REPLAYS = 200
# Seconds until processes have compiled their first kernels.
_START = 20.0


def run(workloads: Sequence[str], rounds: int, peers: bool) -> Bench:
    """Measure on the GPU, or the CPU where there is none."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return run_on(Place(device), workloads if device == "cuda" else _ON_CPU, rounds, peers)


def run_on(place: Place, workloads: Sequence[str] | None, rounds: int, peers: bool) -> Bench:
    """Measure on a device: checks, steps, loops, then what is left of the time.

    Raises:
        ValueError: there is no such device here.
    """
    clock = clock_of(place.device)
    on_gpu = clock.device.type == "cuda"
    session = Session(place)
    session.found["machine"] = facts(clock)
    run = _Run(session, clock, rounds, peers)
    names = list(workloads or (WORKLOADS if on_gpu else _ON_CPU))
    run.checks(first_cases(), processes=4 if on_gpu else 0)
    for place_of, name in enumerate(names):
        run.steps(name)
        if place_of == 0:
            run.loops()
    if on_gpu:
        run.variants(names[0])
        run.checks(every_case(), processes=max((os.cpu_count() or 4) - 2, 1))
    run.judge()
    return _as_bench(session)


class _Run:
    """The sections of the measurement, on one device."""

    def __init__(self, session: Session, clock: Clock, rounds: int, peers: bool) -> None:
        self._session, self._clock, self._rounds, self._peers = session, clock, rounds, peers
        self._device = str(clock.device)
        self._bandwidth = 0.0

    def checks(self, cases: list[Case], processes: int) -> None:
        """Compare with the CPU's kernels, compiled in some processes if there is the time to start them."""
        with Expected(cases, processes if self._session.left > _START else 0) as expected:
            for case in cases:
                self._session.do("checks", case.name, 6.0, partial(checked, case, self._device, expected))

    def steps(self, workload: str) -> None:
        """Time every contender, torch's fused step again last: what the same code differs by is noise."""
        shapes = SHAPES[workload]()
        n = sum(torch.Size(shape).numel() for shape in shapes)
        expected = 3.0 + 4e-9 * n
        self._session.do("copy", workload, 2.0, self._copy)
        ours, theirs = mine(self._device), others(self._device, self._peers)
        # Ours and what it is held against first.
        again = [Contender(f"{FUSED}, again", theirs[0].make, theirs[0].bytes)]
        for contender in [*ours[:1], *theirs[:2], *ours[1:], *theirs[2:], *again]:
            self._step("steps", workload, contender, expected)

    def _step(
        self, section: str, workload: str, contender: Contender, expected: float, name: str = ""
    ) -> None:
        shapes = SHAPES[workload]()
        n = sum(torch.Size(shape).numel() for shape in shapes)
        about = {"workload": workload, "contender": contender.name, "parameters": n, "tensors": len(shapes)}

        def measure() -> dict[str, Any]:
            step = contender.make(shapes)
            found = time_step(self._clock, step, flush(self._clock), self._rounds)
            return found | self._speed(contender, n, found["device"]) | {"backend": backend_of(step)}

        self._session.do(section, name or f"{workload}: {contender.name}", expected, measure, about)

    def _speed(self, contender: Contender, n: int, seconds: float) -> dict[str, Any]:
        """The bytes a second, and their share of a copy's; unknown, or of a cache, they are None."""
        if contender.bytes is None or n < LARGE:
            return {"GB/s": None, "of copy": None}
        speed = contender.bytes * n / seconds
        return {"GB/s": speed / 1e9, "of copy": speed / self._bandwidth if self._bandwidth else None}

    def _copy(self) -> dict[str, Any]:
        self._bandwidth = copy_bandwidth(self._clock)
        return {"GB/s": self._bandwidth / 1e9}

    def loops(self) -> None:
        """Train without waiting for the device, and in a graph."""
        for name, options in OPTIONS.items():
            self._session.do("no waiting", name, 4.0, partial(without_waiting, self._clock, options))
        replays = _REPLAYS if self._clock.device.type == "cuda" else 10
        self._session.do("loops", "graph", 10.0, partial(graphed, self._clock, replays))

    def variants(self, workload: str) -> None:
        """Try other launch parameters."""
        chosen = [each for each in mine(self._device) if each.name in _VARIED]
        for label, changes in VARIANTS.items():
            for contender in chosen:
                self._varied(workload, contender, label, changes)

    def _varied(self, workload: str, contender: Contender, label: str, changes: Mapping[str, Any]) -> None:
        def make(shapes: Any) -> Any:
            step = contender.make(shapes)
            return lambda: _within(changes, step)

        def build(shapes: Any) -> Any:
            with varied(changes):
                return make(shapes)

        other = Contender(contender.name, build, contender.bytes)
        self._step("variants", workload, other, 5.0, f"{label}: {contender.name}")

    def judge(self) -> None:
        """Say which targets are met."""
        session = self._session
        session.found["targets"] = judge(session.rows("steps"), session.rows("loops"))
        session.save()


def _within(changes: Mapping[str, Any], step: Callable[[], object]) -> None:
    with varied(changes):
        step()


def _as_bench(session: Session) -> Bench:
    """The figures as a table, and all that was found for JSON."""
    rows = [
        {
            "workload": row["workload"],
            "optimizer": row["contender"],
            "step ms": row["step"] * 1e3,
            "host µs": row["host"] * 1e6,
            "GB/s": row["GB/s"],
            "of copy": row["of copy"],
        }
        for row in session.rows("steps")
        if row["status"] == "done"
    ]
    missed = [each for each in session.found["targets"] if each["met"] is False]
    notes = [f"missed: {each['target']} {each['measured']:.3g}, {each['wanted']}" for each in missed]
    for section, found in session.found["sections"].items():
        for row in found:
            if row["status"] != "done":
                notes.append(f"{section}: {row['name']}: {row['status']}: {row['reason'][:200]}")
    return Bench("One step of AdamW on a device", rows, session.found["machine"], notes, session.found)
