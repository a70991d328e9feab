"""Rows that lag: what a row without a gradient has missed is made up for when it is read.

Such a row still moves, along its momentum and by its decay. What it has missed is a function of its own state
(`backends.numba.missed`), and is added before the forward pass reads it, at a step that has a gradient of it,
and where anything reads the whole.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .._tools.interrupts import uninterrupted
from ..backends import coasting
from ..backends.numba import History, Kernel, RowJob, Sums, compile_rule, may_lag, row_lists
from ..rules import Coast, Rule
from ._compat import plainly
from ._openmp import default_pool

__all__ = ["AT_ONCE", "DTYPES", "LaggingRows", "form_of"]

_Rows = np.ndarray[Any, Any]

# Rows that a kernel takes at a time, by which its buffers are large.
AT_ONCE = 1 << 14
# The error of what a row has missed, in units of a step: below the rounding of one addition in float32, and
# in float64 far below what it adds up to in millions of steps.
_TOLERANCES = {torch.float32: 2.0**-26, torch.float64: 2.0**-40}
# The dtypes of parameters that may be tracked.
DTYPES = tuple(_TOLERANCES)


def form_of(rule: Rule, envelope: Sequence[float], scalars: Sequence[float], dtype: torch.dtype) -> Coast:
    """What a step does to a row without a gradient.

    Raises:
        ValueError: it cannot be made up for later.
    """
    name, form = type(rule).__name__, rule.coast(*scalars)
    if form is None:
        raise ValueError(
            f"{name} does not say what a step without a gradient does: give it a method coast, let the "
            f"gradient be dense (sparse=False), or pass semantics='lazy'"
        )
    if envelope[1] != 0:
        raise ValueError(
            f"weight_decay={envelope[1]!r} is added to the gradient, so that every row of a tracked "
            f"parameter has one at every step: use decoupled decay (AdamW), or a dense gradient "
            f"(sparse=False)"
        )
    if not History.fades(form):
        raise ValueError(
            f"a row without a gradient would go on moving for ever, because {form.along} shrinks no faster "
            f"than the {'root of ' if form.rooted else ''}{form.over} it is divided by, in {rule}; let the "
            f"gradient be dense (sparse=False)"
        )
    # One over such an ε overflows, and an element that does not move, 0 of it, would be NaN.
    return form._replace(stepwise=True) if 0 < form.add < 2**20 * torch.finfo(dtype).tiny else form


class LaggingRows:
    """A parameter some rows of which are behind.

    Args:
        p: the parameter: on the CPU, contiguous, of float32 or float64.

    Attributes:
        owner: what the optimizer that tracks it now has of such.
    """

    owner: object = None

    def __init__(self, p: Tensor) -> None:
        self.p = p
        self._last = np.zeros(len(p), np.int32)
        # One thread at a time brings rows up to date.
        self._lock = threading.RLock()
        self._history: History | None = None

    def describe(self, rule: Rule, state: Mapping[str, Any], keys: Sequence[str], kernel: Kernel) -> None:
        """Take the rule of the steps to come, the state, the keys of its slots, and the kernel of a step."""
        self.catch_up()
        with plainly():
            self._shape, self.dtype = self.p.shape, self.p.dtype
        slots = list(rule.form().slots)
        self._keys = dict(zip(slots, keys, strict=True))
        self._rule, self._state, self._kernel = rule, state, kernel
        self._history = History(slots, _TOLERANCES[self.dtype], torch.finfo(self.dtype).tiny)
        # The scalars of the steps that are to be taken one by one.
        self._scalars: list[tuple[float, ...]] = []
        self._jobs: dict[Rule, RowJob] = {}
        # Loaded state may be as no step of the rule leaves it (v above its own maximum): the first step is
        # taken by all rows.
        self._first = True
        self._buffers = tuple(np.zeros(AT_ONCE, np.int64) for _ in range(3))

    def memory(self) -> int:
        """The address of the parameter's storage."""
        with plainly():
            return self.p.untyped_storage().data_ptr()

    @property
    def behind(self) -> bool:
        """Whether any row may be."""
        return self._history is not None and self._history.now > 0

    def ready(self, form: Coast, decay: float) -> None:
        """Make way for a step that cannot be summed up with those before it."""
        if self._history is not None and not self._history.fits(form, decay):
            self.catch_up()

    def took_step(
        self, rows: _Rows, form: Coast, envelope: Sequence[float], scalars: Sequence[float]
    ) -> None:
        """Note a step that these rows, each once, have taken, and the others have not."""
        history = self._history
        assert history is not None
        if self._first:
            form = form._replace(stepwise=True)
        with self._lock:
            if history.now == 0:  # what rows have missed is a function of these, whatever replaces them later
                self._slots = {slot: self._state[key] for slot, key in self._keys.items()}
            history.record(form, envelope[2])
            if form.stepwise:
                self._scalars.append((*envelope, *scalars))
            first, self._first = self._first, False
            if len(rows) == len(self._last):
                self._forget()
                return
            row_lists().settled(rows, self._last, history.now)
            if first or not may_lag(form, envelope[2]):
                self.catch_up()

    def _forget(self) -> None:
        assert self._history is not None
        self._history.clear()
        self._scalars.clear()
        self._last[:] = 0

    def catch_up(self, wanted: _Rows | None = None) -> None:
        """Bring rows up to date: those wanted, int64, or all."""
        if not self.behind:
            return
        every = wanted is None
        count = len(self._last) if wanted is None else len(wanted)
        with self._lock, plainly(), torch.no_grad():
            for first in range(0, count, AT_ONCE):
                last = min(first + AT_ONCE, count)
                with uninterrupted():
                    self._catch_up(np.arange(first, last) if wanted is None else wanted[first:last])
            if every:
                self._forget()

    def _catch_up(self, wanted: _Rows) -> None:
        history, last = self._history, self._last
        assert history is not None
        rows, place, starts = self._buffers
        found, distinct = row_lists().lagging(wanted, last, history.now, history.mark, rows, place, starts)
        if not found:
            return
        work = _Work(self, rows[:found], place[:found], starts[:distinct])
        try:
            work.prepare(history)
        except BaseException:
            last[work.rows] = -1 - last[work.rows]
            raise
        work.run()
        row_lists().settled(work.rows, last, history.now)
        # The version of p stays: what was saved for a backward pass read other rows, up to date.

    def arrays(self) -> dict[str, Tensor]:
        """The parameter and its slots, where they are now.

        Raises:
            RuntimeError: a slot is not what it was.
        """
        p = self.p.detach()
        found = {"p": p, "g": p} | self._slots
        for slot, x in found.items():
            if x.shape != self._shape or not x.is_contiguous() or x.dtype != self.dtype:
                raise RuntimeError(
                    f"{slot} of a tracked parameter of shape {tuple(self._shape)} was replaced or reshaped "
                    f"while rows were behind; call catch_up() before such a change"
                )
        return found

    def job(self, rule: Rule) -> RowJob:
        """The job of a rule over arrays of this parameter's shape and dtype."""
        job = self._jobs.get(rule)
        if job is None:
            name = str(self.dtype).removeprefix("torch.")
            kernel = self._kernel if rule is self._rule else compile_rule(rule, name, rows=True)
            job = self._jobs[rule] = RowJob(kernel, self._shape[1:].numel(), 0)
        return job

    @property
    def slots(self) -> list[str]:
        """The names of the rule's slots."""
        return list(self._keys)

    @property
    def rule(self) -> Rule:
        """The rule of a step."""
        return self._rule

    @property
    def scalars(self) -> list[tuple[float, ...]]:
        """A row of scalars for each step that is to be taken by itself."""
        return self._scalars


class _Work:
    """Rows that are brought up to date together.

    Args:
        owner: their parameter.
        rows: their numbers.
        place: the number of the step in `starts` from which each lags.
        starts: these steps.
    """

    def __init__(self, owner: LaggingRows, rows: _Rows, place: _Rows, starts: _Rows) -> None:
        self._owner, self.rows, self._place, self._starts = owner, rows, place, starts

    def prepare(self, history: History) -> None:
        """Compute all that can fail."""
        assert history.form is not None
        self._form, self._sums = history.form, history.sums(self._starts)
        self._arrays = self._owner.arrays()
        self._moving = coasting.moving(self._form, self._owner.rule)
        self._owner.job(coasting.Scaled())
        if self._form.stepwise:
            self._after = history.after(self._starts, self._sums)
            self._owner.job(self._owner.rule)
        elif self._moving is not None:
            self._owner.job(self._moving)

    def run(self) -> None:
        """Bring the rows up to date."""
        every = ["p", *self._owner.slots]
        if self._form.stepwise:
            self._take_steps()
            self._scale(self._after, every)
        elif self._moving is None:
            self._scale(self._sums, every)
        else:
            used = [slot for slot in (self._form.along, self._form.over) if slot is not None]
            self._move(self._owner.job(self._moving), used)
            self._scale(self._sums, [name for name in every[1:] if name not in used])

    def _run(self, job: RowJob, names: Sequence[str], scalars: _Rows, mine: _Rows, place: _Rows) -> None:
        """Run a job over arrays, of the rows that `mine` says, with scalars by the place of each."""
        arrays = [self._arrays[name] for name in names]
        strides = [
            0 if x.shape[0] != self._arrays["p"].shape[0] else x.stride(0) * x.element_size() for x in arrays
        ]
        job.write(self.rows[mine], list(map(Tensor.data_ptr, arrays)), strides)
        job.write_scalars(scalars, place, 0)
        job.run(default_pool())

    def _move(self, job: RowJob, used: Sequence[str]) -> None:
        """Move rows by the parts of their sums; the parameter decays with the first, slots with the last."""
        sums, slots = self._sums, self._owner.slots
        number = np.diff(sums.first)
        scalars = _plain(job, len(number))
        numbers = 4 + len(used)
        for k in range(int(number.max())):
            here, ends = number > k, number == k + 1
            scalars[:, 2] = sums.products[:, 0] if k == 0 else 1.0
            for n, slot in enumerate(used):
                scalars[:, 4 + n] = np.where(ends, sums.products[:, 1 + slots.index(slot)], 1.0)
            width = scalars.shape[1] - numbers
            scalars[here, numbers:] = sums.parts[sums.first[:-1][here] + k, :width]
            mine = here[self._place]
            self._run(job, ["p", "g", *used], scalars, mine, self._place[mine])

    def _scale(self, sums: Sums, names: Sequence[str]) -> None:
        """Multiply arrays, add to them, and hold them up."""
        job, every = self._owner.job(coasting.Scaled()), ["p", *self._owner.slots]
        for name in names:
            k, least = every.index(name), self._form.least.get(name, -np.inf)
            factor, offset = sums.products[:, k], sums.offsets[:, k]
            if (factor == 1).all() and not offset.any():
                continue
            scalars = _plain(job, len(factor))
            scalars[:, 4], scalars[:, 5], scalars[:, 6] = factor, offset, least
            self._run(job, [name, name], scalars, np.ones(len(self.rows), bool), self._place)

    def _take_steps(self) -> None:
        """Take the steps that move rows one by one, with a gradient of zero."""
        owner, job = self._owner, self._owner.job(self._owner.rule)
        zero = torch.zeros((1, *self._arrays["p"].shape[1:]), dtype=owner.dtype, device="cpu")
        self._arrays["g"] = zero
        for k in range(int(self._sums.moved.max())):
            mine = (self._sums.moved > k)[self._place]
            steps, place = np.unique(self._starts[self._place[mine]] + k, return_inverse=True)
            scalars = np.array([owner.scalars[step] for step in steps.tolist()])
            self._run(job, ["p", "g", *owner.slots], scalars, mine, place)


def _plain(job: RowJob, count: int) -> _Rows:
    """Rows of scalars with an envelope that changes nothing."""
    scalars = np.zeros((count, job.kernel.n_scalars))
    scalars[:, 0] = scalars[:, 2] = 1.0
    return scalars
