"""What the steps of an optimizer found: norms, and steps that were skipped, counted and told."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor

from .device_info import DeviceInfo
from .keywords import StepOptions
from .options import Groups, StepInfo
from .skips import NONFINITE, told
from .step import Plan
from .untouched import Untouched

__all__ = ["OF_SCALER", "Outcomes"]

# What GradScaler sets for the duration of a step that is to unscale and skip (fused=True).
OF_SCALER = ("grad_scale", "found_inf")


class Outcomes(torch.optim.Optimizer):
    """The part of an optimizer that runs a step, and remembers what it found."""

    options: StepOptions
    _plan: Plan | None
    _last_step: StepInfo | DeviceInfo
    _skipped_steps: int
    _skips_in_a_row: int
    rule_of: Any
    # What steps on a device leave there.
    _info: DeviceInfo | None = None

    def _groups(self) -> Groups:
        raise NotImplementedError

    @property
    def last_step(self) -> StepInfo:
        """What the last step found. On a GPU, reading it waits for that step, which stepping does not."""
        last = self._last_step
        return last if isinstance(last, StepInfo) else last.read()

    @property
    def skipped_steps(self) -> int:
        """The number of skipped steps. On a GPU, reading it waits for the last step."""
        return self._skipped_steps + (0 if self._info is None else self._info.skips()[0])

    def _info_on(self, device: torch.device) -> DeviceInfo:
        if self._info is None or self._info.numbers.device != device:
            skipped = self.skipped_steps
            before = self._info  # graphs of another device read what it keeps
            self._info, self._skipped_steps = DeviceInfo(device, self.options.needs_grad_norm, skipped), 0
            self._info.kept_before = before
        return self._info

    def _run_scaled(self, plan: Plan, measured: Untouched | None) -> StepInfo:
        """A step that unscales and skips for a GradScaler; a scale of 0 has lost the gradients."""
        scale, found_inf = getattr(self, "grad_scale", None), getattr(self, "found_inf", None)
        factor = 1.0 if scale is None else float(scale)
        return plan.run(1 / factor if factor else 1.0, bool(found_inf) or factor == 0, measured)

    def _run_on_device(self, plan: Plan, measured: Untouched | None) -> DeviceInfo:
        """A step that this thread does not wait for; how many were skipped it hears of a little later."""
        # A GradScaler has found the number 0 for an optimizer without gradients.
        given = (getattr(self, name, None) for name in ("grad_scale", "found_inf"))
        scale, found_inf = (
            x if x is None or isinstance(x, Tensor) else torch.tensor(float(x)) for x in given
        )
        info = plan.run_on_device(scale, found_inf, self.rule_of, measured)
        limit = self.options.warn_after_skips
        if limit is None or not (self.options.skip_nonfinite or found_inf is not None):
            return info
        in_a_row = info.skips_in_a_row()
        if in_a_row is None:
            return info
        if self._skips_in_a_row < limit <= in_a_row:
            text = told(StepInfo(None, 1.0, True, NONFINITE), in_a_row, self._groups())
            warnings.warn(text, UserWarning, stacklevel=5)
        self._skips_in_a_row = in_a_row
        return info

    def _count_skip(self, plan: Plan) -> None:
        self._skipped_steps += 1
        self._skips_in_a_row += 1
        if self._skips_in_a_row == self.options.warn_after_skips:
            text = told(self.last_step, self._skips_in_a_row, self._groups())
            warnings.warn(text, UserWarning, stacklevel=5)
        if plan.rollback():
            self._plan = None
