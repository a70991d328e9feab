"""The step itself: the rule's kernel over one flat vector, or whole-array arithmetic where there is none."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable, Sequence

import numpy as np

from ..backends import Envelope, RuleSourceError, check_rule, factors_of, host_carry, host_scalars, reference
from ..backends.numba import Job, SumsJob, ThreadPool, compile_rule
from ..rules import Rule
from .trees import Array

__all__ = ["Stepper", "ema_weight"]

Weight = Callable[[int], float]

_POOL = ThreadPool()
_KEY_BITS = (1 << 63) - 1


class Stepper:
    """A vector `x` that a rule moves in place, with the rule's state and, if kept, a running average of x.

    `arrays` are the slots by name, "average", and what the rule keeps of its sums, which go over all of x;
    `carried` are the values that the rule carries.
    """

    def __init__(
        self,
        rule: Rule,
        x: Array,
        rows: list[Array],
        seed: int,
        average: Weight | None,
        box: tuple[Array, Array] | None,
    ) -> None:
        """Gradients will be in one of `rows`.

        `average` is the weight of step t in the running average, None for none; `box` bounds x.
        """
        self._rule, self.x, self._weight, self._seed = copy.copy(rule), x, average, seed
        self._lr, self._box, self._has_carry = rule.lr, box, bool(rule.carried)
        self.carried = tuple(rule.carried.values())
        compute = np.dtype(np.float64 if x.dtype == np.float64 else np.float32)
        form = check_rule(rule)
        slots, self._reduction = form.slots, form.reduction
        self.arrays = {name: np.full(x.shape, slot.initial, compute) for name, slot in slots.items()}
        if average is not None:
            self.arrays["average"] = x.astype(compute)
        # The kernel would average what is not projected yet.
        self._fused = list(self.arrays if box is None else slots)
        if self._reduction is not None and box is not None:
            raise ValueError(
                f"bounds put x back after a step, and {type(rule).__name__} goes by sums over steps that it "
                f"took whole: choose another rule, or do without bounds"
            )
        kept = {} if self._reduction is None else self._reduction.kept
        self._kept = list(kept)
        self.arrays |= {name: np.full(1, initial, compute) for name, initial in kept.items()}
        self._rows, self._jobs, self._rounds = rows, list[Job](), False
        self._sums: list[SumsJob] = []
        try:
            kernel = compile_rule(rule, x.dtype, average="average" in self._fused)
        except RuleSourceError as reason:
            warnings.warn(f"no kernel for this rule, so its steps are slower: {reason}", RuntimeWarning, 3)
        else:
            # A job for each row, so that a step writes no addresses.
            arrays = [self.arrays[name] for name in self._fused]
            self._jobs, self._rounds = [Job(kernel, [x.size]) for _ in rows], kernel.rounds
            if self._reduction is not None:
                self._sums = [SumsJob(job, rule) for job in self._jobs]
            for job, row in zip(self._jobs, rows, strict=True):
                job.write_table([array.ctypes.data for array in (x, row, *arrays)])

    def step(self, t: int, place: int, factor: float) -> None:
        """Step t = 1, 2, ...: move x by the gradient in a row, at `factor` times the rate."""
        rule = self._rule
        lr = self._lr * factor
        if lr != rule.lr:
            object.__setattr__(rule, "lr", lr)  # a copy of our own
        carried = host_carry(rule, t, *self.carried) if self._has_carry else ()
        weight = 0.0 if self._weight is None else self._weight(t)
        if self._jobs:
            job = self._jobs[place]
            if self._rounds:
                job.write_key(0, _key(self._seed, t))
            scalars = host_scalars(rule, t, *carried)
            job.write_scalars(0, 1.0, 0.0, 1.0, weight, *scalars)
            if self._reduction is not None:
                self._measure(job, self._sums[place], scalars)
            job.run(_POOL)
        else:
            self._slow_step(t, self._rows[place], weight, carried)
        self.carried = carried
        if self._box is not None:
            self._project(weight)

    def _measure(self, job: Job, sums: SumsJob, scalars: Sequence[float]) -> None:
        """Measure for the rule, and give the job what it makes of the sums."""
        assert self._reduction is not None
        for k, name in enumerate(self._kept):
            sums.kept[:, k] = self.arrays[name]
        kept = list(sums.kept[:, : len(self._kept)].T.astype(np.float64))
        made = factors_of(self._reduction, list(sums.measure(_POOL).T), scalars, kept)
        for k, value in enumerate(made):
            job.factors[:, k] = value
        for k, name in enumerate(self._kept):
            self.arrays[name][...] = job.factors[0, k]

    def _project(self, weight: float) -> None:
        x, (low, high) = self.x, self._box  # type: ignore[misc]
        np.minimum(np.maximum(x, low, out=x), high, out=x)
        if self._weight is not None:
            average = self.arrays["average"]
            average += weight * (x - average)

    def _slow_step(self, t: int, g: Array, weight: float, carried: tuple[float, ...]) -> None:
        arrays = [self.arrays[name] for name in self._fused]
        kept = [self.arrays[name] for name in self._kept]
        mean = arrays.pop() if "average" in self._fused else None
        # Computed in the type of the slots, which is float32 for an x of 16 bits.
        real = np.float64 if self.x.dtype == np.float64 else np.float32
        x, envelope = self.x.astype(real), Envelope(average=weight)
        new = reference.step(
            self._rule, t, x, g.astype(real), [*arrays, *kept], carried=carried, envelope=envelope, mean=mean
        )
        targets = [self.x, *arrays, *kept, *([] if mean is None else [mean])]
        for array, value in zip(targets, new, strict=True):
            array[...] = value


def _key(seed: int, t: int) -> int:
    """The key of the random bits of step t."""
    return (seed * 0x9E3779B97F4A7C15 + t * 0xD1342543DE82EF95) & _KEY_BITS


def ema_weight(decay: float) -> Weight:
    """The weight of step t in an average of decay β, with its bias correction: (1 - β) / (1 - β^t)."""
    return lambda t: (1 - decay) / (1 - math.pow(decay, t))
