"""`report()` and `watch()` of an optimizer."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..measured import Measured
from ..options import Groups
from ..untouched import Untouched
from .collect import report_of
from .diagnosis import diagnose
from .values import Report
from .watching import Watch, Watches

__all__ = ["Reporting"]


class Reporting(torch.optim.Optimizer):
    """The part of an optimizer that says what it does."""

    _measured: Mapping[Tensor, Measured]
    _untouched: Untouched | None
    _watch: Watches | None
    _in_backward: Any
    _groups: Any
    rule_of: Any

    def report(self, model: nn.Module | None = None) -> Report:
        """What each parameter is stepped with, and what the last measured step did to it.

        `print(optimizer.report())` shows it as tables of 80 columns, and a notebook as one of HTML. Before a
        step has been measured, and for parameters that had no gradient in it, norms, |m|/sqrt(v) and the
        share of elements below eps are read from parameters and state as they are now.

        Args:
            model: the model that is trained. Its names are shown where the optimizer has none, and
                parameters that one of the two has and the other lacks are told. By default that of `watch`.

        Raises:
            TypeError: `model` is no module.
        """
        _check_model(model)
        watch = self._watch
        if model is None and watch is not None:
            model = watch.model
        found = self._reported(model, self._measured, reads=True)
        if watch is None:
            return dataclasses.replace(found, warnings=diagnose([found]))
        if watch.seen and watch.seen[-1].step == found.step:  # the factor of that step, not of the last one
            found = dataclasses.replace(found, clip_factor=watch.seen[-1].clip_factor)
        past = [report for report in watch.seen if report.step != found.step]
        return dataclasses.replace(found, warnings=diagnose([*past, found], watch.start))

    def watch(self, every: int | None = 100, to: Any = None, model: nn.Module | None = None) -> Watch | None:
        """Measure one step in so many, and say where what is found is to go.

        A step that is measured takes a little longer, all others take as long as before. Where something is
        wrong, a `DiagnosisWarning` names the parameters and a remedy, once for each kind. Several watches
        may go on at once. No checkpoint holds them, and a copy of the optimizer is not watched. Where there
        are DTensors, all processes must watch the same steps: what is found of shards is added up.

        Args:
            every: the steps from one that is measured to the next; None ends all watches.
            to: a function, which is given the `Report`; a `SummaryWriter`, or what has `add_scalar` like it,
                which is given scalars `adamas/<name>/<quantity>`; a run of wandb, or what has `log` like it,
                which is given them as a dictionary; or a path, to which a line of JSON is appended for each
                parameter, or of CSV where it ends in `.csv`. By default reports are kept for `report()`.
                An error in it is raised by `step()`, once the step has been taken and counted.
            model: the model that is trained, as for `report`.

        Returns:
            The watch: `every` may be changed, and `remove()` ends it. None where all are ended.

        Raises:
            TypeError: `to` is nothing that a report can be given to, or `model` is no module.
            ValueError: `every` is not positive, or no file can be at the path.
            RuntimeError: it steps in the backward pass, where nothing is measured.
        """
        if every is None:
            self._watch = None
            return None
        _check_model(model)
        if self._in_backward is not None:
            raise RuntimeError("steps in the backward pass are not measured: remove() that before watch()")
        watches = self._watch or Watches(self, self._reported(model, {}, reads=True))
        made = watches.add(every, to, model)
        self._watch = watches
        return made

    def _forget_measured(self) -> None:
        """Begin anew after state was loaded: what was measured before is of another course."""
        self._measured, self._untouched = {}, None
        if self._watch is not None:
            self._watch.stale = True

    def _reported(
        self,
        model: nn.Module | None,
        measured: Mapping[Tensor, Measured],
        reads: bool,
        settled: Report | None = None,
    ) -> Report:
        groups: Groups = self._groups()
        found = report_of(type(self).__name__, groups, self.rule_of, model, measured, reads, settled)
        optimizer: Any = self
        step: int | None = None
        if measured:
            counted = max(each.step for each in measured.values())
            step = counted if groups.keeps_steps or self._watch is None else self._watch.taken
        factor = optimizer.last_step.clip_factor
        return dataclasses.replace(found, step=step, clip_factor=factor, watched=bool(self._watch))


def _check_model(model: Any) -> None:
    if model is not None and not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, got {type(model).__name__}")
