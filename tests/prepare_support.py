"""The kernel that prepares a step on a device, in Triton's interpreter, with memory that it reads."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from adamas.backends import LiveTrace, exact, host_carry, host_scalars, trace_scalars
from adamas.rules import Rule
from adamas.torch.keywords import StepOptions

__all__ = ["FLOAT32", "FLOAT64", "ONE", "TIMES", "Device", "at_times", "live_fields", "on_host", "traced"]

# A sum of 1, and the words around it that may be not zero: the interpreter is slow.
ONE = 1 << -exact.LEAST
TIMES = [1, 2, 3, 7, 100, 10_000, 2**24 - 1]
WORDS = (-exact.LEAST // 32 - 4, -exact.LEAST // 32 + 5)
PLAIN = 1.0, 0.0, 1.0
NO_OPTIONS = StepOptions()
FLOAT32, FLOAT64 = np.dtype(np.float32), np.dtype(np.float64)
Traces = tuple[LiveTrace, LiveTrace]


def live_fields(rule: Rule) -> dict[str, float]:
    """The hyperparameters that are numbers."""
    values = {each.name: getattr(rule, each.name) for each in dataclasses.fields(rule)}  # type: ignore[arg-type]
    return {name: value for name, value in values.items() if type(value) is float}


def traced(rule: Rule, envelope: Sequence[float] = PLAIN) -> Traces:
    """The traces of a rule whose numbers are all live."""
    live = live_fields(rule)
    fixed = {each.name: getattr(rule, each.name) for each in dataclasses.fields(rule)}  # type: ignore[arg-type]

    def make(numbers: Sequence[Any]) -> Any:
        return type(rule).unchecked(**{**fixed, **dict(zip(live, numbers, strict=True))}), envelope

    return trace_scalars(make, list(live.values()), list(rule.carried))


class Device:
    """The memory of a device with the counters of some parameters, each of a group of its own."""

    def __init__(
        self,
        traces: Traces,
        hyper: Sequence[Sequence[float]],
        counters: Sequence[Sequence[float]],
        options: StepOptions = NO_OPTIONS,
        counts_steps: bool = True,
        counter: np.dtype = FLOAT64,
        real: np.dtype = FLOAT64,
    ) -> None:
        from adamas.backends.triton.scalars import INFO, Wanted, prepare_kernel

        words = WORDS if options.needs_grad_norm else None
        wanted = Wanted(
            words,
            options.clip_norm,
            options.skip_nonfinite,
            options.average,
            options.key(0),
            counts_steps,
        )
        self.kernel = prepare_kernel(*traces, wanted, counter, real)
        count = len(hyper)
        self.counters = np.array(counters, counter).reshape(2 + len(traces[0].results), count)
        self.members = np.array([[k, k, k] for k in range(count)], np.int64)
        self.hyper = np.array(hyper, np.float64).reshape(count, -1)
        self.words, self.scaler = exact.words_of(0), np.array([1, 0], np.float32)
        self.rows = np.full((count, 1 + len(traces[1].results)), np.nan, real)
        self.keys, self.control = np.zeros(count, np.int64), np.zeros(2, real)
        self.info = np.zeros(INFO)

    def prepare(self, first: bool = True) -> np.ndarray:
        """The rows of scalars of a step."""
        from adamas.backends.triton import THREADS, launch
        from adamas.backends.triton.scalars import ROWS

        arrays = (self.members, self.hyper, self.counters, self.words, self.scaler, self.rows, self.keys)
        arguments = [torch.from_numpy(each) for each in (*arrays, self.control, self.info)]
        numbers = [len(self.members), self.counters.shape[1], int(first)]
        grid = -(-len(self.members) // ROWS)
        launch.launch(self.kernel.step, grid, self.kernel.signature, [*arguments, *numbers], THREADS)
        return self.rows


def at_times(rule: Rule, options: StepOptions = NO_OPTIONS, real: np.dtype = FLOAT64) -> Device:
    """A device with a parameter that is about to take each of `TIMES`."""
    taken = np.array(TIMES) - 1.0
    carried = [[0.9 * value] * len(TIMES) for value in rule.carried.values()]
    hyper = [list(live_fields(rule).values())] * len(TIMES)
    return Device(
        traced(rule), hyper, [taken, taken > 0, *carried], options, rule.counts_steps, FLOAT32, real
    )


def on_host(rule: Rule, t: int) -> tuple[float, ...]:
    """The scalars of step t of such a parameter."""
    before = [float(np.float32(0.9 * value)) for value in rule.carried.values()]
    carried = [float(np.float32(x)) for x in host_carry(rule, t, *before)]
    return host_scalars(rule, t, *carried)
