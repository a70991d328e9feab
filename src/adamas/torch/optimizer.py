"""The contract of torch.optim.Optimizer around a step of ours: constructor, hooks, the shell of `step`."""

from __future__ import annotations

import gc
import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import torch

from .. import rules
from ..rules import Rule
from . import launchers
from ._compat import disable_dynamo, step_is_observed
from .arguments import arguments_doc
from .averages import Averages
from .checkpoint import Checkpoints
from .exchange import exchange_of
from .host import Hosts
from .in_backward import InBackward
from .keywords import OPTIONS_DOC, STEP_OPTIONS, StepOptions, with_step_options
from .measured import Measured
from .mesh import spread_of
from .offload import plan_of
from .options import Groups, StepInfo, check_group, check_placed, keep_first_lr
from .outcomes import OF_SCALER, Outcomes
from .report import Reporting
from .skips import WINDOW_KEY, keep_window
from .state import check_fit
from .step import Plan
from .tracking import Tracking
from .untouched import Untouched

__all__ = ["FusedOptimizer"]


class FusedOptimizer(InBackward, Tracking, Reporting, Averages, Checkpoints, Outcomes, torch.optim.Optimizer):
    """A torch optimizer whose step is one compiled pass of a rule over all parameters.

    Subclasses say which rule a parameter group stands for, and by what names its slots are kept.
    """

    # The key in `state[p]` of each slot and carried value of the rule, where it is not its own name.
    state_names: ClassVar[Mapping[str, str]] = {}
    # Whether `state[p]["step"]` is kept. A rule that only tells the first step from the rest needs none.
    counts_steps: ClassVar[bool] = True
    # Whether a sparse gradient may be made dense: where the rule leaves an element with gradient 0 as it is.
    takes_sparse: ClassVar[bool] = False
    # Options of the step that have another default.
    of_options: ClassVar[Mapping[str, Any]] = {}
    # The class of torch.optim with the same rule, options and state, if there is one.
    upstream: ClassVar[type[torch.optim.Optimizer] | None] = None

    __signature__: ClassVar[inspect.Signature | None] = None

    options = StepOptions()
    _plan: Plan | None = None
    # What asks for steps to be measured, and what was measured last.
    _watch: Any = None
    _measured: Mapping[torch.Tensor, Measured] = {}
    _untouched: Untouched | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        given = {name: kwargs.pop(name) for name in STEP_OPTIONS if name in kwargs}
        known = (launchers.AUTO, *launchers.names())
        if given.get("backend", launchers.AUTO) not in known:
            raise ValueError(
                f"backend must be one of {', '.join(map(repr, known))}, got {given['backend']!r}"
            )
        self.options = StepOptions(**{**self.of_options, **given})
        self._lagging = {}
        self._told: set[str] = set()
        self._hosts: Hosts = {}
        self._last_step, self._skipped_steps, self._skips_in_a_row = StepInfo(None, 1.0, False), 0, 0
        super().__init__(*args, **kwargs)

    def __init_subclass__(cls, **options: Any) -> None:
        """Show torch's constructor to editors and `inspect` where a class takes it; document our keywords."""
        super().__init_subclass__(**options)
        cls.__signature__ = cls.__dict__.get("__signature__")  # a base class's is not that of this one
        if cls.__init__ is FusedOptimizer.__init__:
            cls.__signature__ = with_step_options(inspect.signature(cls.upstream or torch.optim.Optimizer))
        elif "step_options" in inspect.signature(cls).parameters:
            cls.__signature__ = with_step_options(inspect.signature(cls))
        names = ", ".join(f'"{name}"' for name in launchers.names())
        own = inspect.cleandoc(cls.__dict__.get("__doc__") or "")
        arguments = arguments_doc(inspect.signature(cls), own)
        cls.__doc__ = own + "\n" + arguments + OPTIONS_DOC.format(backends=names)

    def rule_of(self, group: Mapping[str, Any], checked: bool = False) -> Rule:
        """The rule that a parameter group's options stand for.

        With `checked`, as when a group is added, an option out of its range raises a ValueError. At a step
        any number is accepted, as in torch: a schedule may end below 0 by rounding.
        """
        raise NotImplementedError

    @property
    def backend(self) -> str:
        """The backends of the last step, joined by "and"; before it, the one asked for."""
        return (self._in_backward or self._plan or self.options).backend

    def _groups(self) -> Groups:
        rounds = self.options.state_format not in (None, "float32") or any(
            p.dtype in (torch.bfloat16, torch.float16) for group in self.param_groups for p in group["params"]
        )
        return Groups(
            self.param_groups,
            self.state,
            self.options,
            self.defaults,
            self.state_names,
            self.counts_steps or self.options.average is not None or rounds,
            self.takes_sparse,
            self._own_upstream(),
            self._told,
            hosts=self._hosts if self.options.offload else None,
            lagging=self._lagging,
        )

    def _own_upstream(self) -> type[torch.optim.Optimizer] | None:
        """The class of torch.optim with the same rule; none where a subclass has a rule of its own."""
        for cls in type(self).__mro__:
            if cls.__dict__.get("upstream") is not None:
                same = type(self).rule_of is cls.__dict__.get("rule_of")
                return (
                    self.upstream if same and type(self).state_names is cls.__dict__["state_names"] else None
                )
        return None

    def _make_plan(self) -> Plan:
        """A plan for the parameters as they are now, bound to the gradients and options of this step."""
        for group in self.param_groups:
            check_placed(group, type(self).__name__)
        # A plan for thousands of parameters makes many containers and no garbage: the collector would go
        # through all of them several times, which took as long as the plan itself.
        collecting = gc.isenabled()
        gc.disable()
        try:
            self._plan = plan = plan_of(self._groups(), self.rule_of, self._plan, info_on=self._info_on)
        finally:
            if collecting:
                gc.enable()
        if not plan.bind(self):
            raise RuntimeError("a parameter, gradient or state changed as the step was being prepared")
        return plan

    def _step(self, closure: Callable[[], Any] | None = None) -> Any:
        if self._averaged:
            raise RuntimeError("parameters hold their averages: step outside of averaged_parameters()")
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        if self._in_backward is not None:
            self._last_step = self._in_backward.close(self)
            return loss
        try:
            plan = self._plan
            if plan is not None and plan.exchange is not None:
                plan.exchange.begin()
            if plan is None or not plan.bind(self):
                plan = self._make_plan()
            scaled = not self.__dict__.keys().isdisjoint(OF_SCALER)
            measured = None
            if self._watch is not None and self._watch.due(self):
                measured = self._untouched = self._untouched or Untouched()
            if plan.on_device:
                self._last_step = self._run_on_device(plan, measured)
            else:
                last = self._run_scaled(plan, measured) if scaled else plan.run(measured=measured)
                self._last_step = last
                if last.skipped:
                    self._count_skip(plan)
                else:
                    self._skips_in_a_row = 0
        except BaseException as error:
            if isinstance(error, Exception):
                self._tell_others()
            if self._plan is not None:  # it references gradients, and may have allocated state
                self._plan.rollback()
                self._plan = None
            raise
        if measured is not None and plan.measured:
            self._measured = plan.measured
            self._watch.take(self, plan.measured)
        return loss

    def _tell_others(self) -> None:
        """Tell processes that wait for this one, if any do, that it cannot take the step."""
        if not self.options.needs_grad_norm and self.__dict__.keys().isdisjoint(OF_SCALER):
            return
        if self._plan is not None:
            exchange = self._plan.exchange
        else:
            spreads = [spread_of(p) for group in self.param_groups for p in group["params"]]
            exchange = exchange_of(spreads, self.options.process_group)
        if exchange is not None:
            exchange.fail()

    _step_with_hooks = torch.optim.Optimizer.profile_hook_step(_step)
    # A step is compiled already: torch.compile calls it, and must not trace it.
    _step_outside_graphs = disable_dynamo(_step_with_hooks)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One optimization step on all parameters that have a gradient.

        Args:
            closure: reevaluates the model and returns the loss; called once, first.

        Returns:
            The loss that the closure returned, or None.

        Raises:
            ValueError: a backend or format that was asked for cannot be had, or a scalar of the step is too
                large; nothing has changed.
            RuntimeError: a gradient is sparse and the rule cannot take it; nothing has changed.
        """
        if torch.compiler.is_compiling():
            return self._step_outside_graphs(closure)
        if step_is_observed(self):
            return self._step_with_hooks(closure)
        return self._step(closure)

    step.hooked = True  # type: ignore[attr-defined]  # torch need not wrap it again

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a parameter group, as in torch; its options are checked first."""
        if isinstance(param_group, dict):
            group = {**self.defaults, **param_group}
            own = self.defaults.get("decoupled_weight_decay", False)
            if own is None and group["decoupled_weight_decay"] is not None:
                raise ValueError(
                    f"the rule of {type(self).__name__} decays by itself, by the weight_decay of the group; "
                    f"leave decoupled_weight_decay={group['decoupled_weight_decay']!r} out"
                )
            check_group(group, type(self).__name__, self.options)
            self._check_keys(self.rule_of(group, checked=True))
        self._plan = None
        super().add_param_group(param_group)
        keep_window(self.param_groups, self.options.skip_spikes is not None)
        keep_first_lr(self.param_groups, self.options.needs_lr_max)

    def _check_keys(self, rule: rules.Rule) -> None:
        chosen = self.options.state_format
        keys = dict.fromkeys([*self._slot_keys(rule), *self.state_names.values()])
        check_fit(dict(zip(self._slot_keys(rule), rule.form().slots.values(), strict=True)), chosen)
        for key in chosen if isinstance(chosen, Mapping) else ():
            if key not in keys:
                raise ValueError(
                    f"state_format names {key!r}, and the slots of {type(self).__name__} are "
                    f"{', '.join(keys) or 'none'}"
                )

    def __repr__(self) -> str:
        """Torch's, and the options of the step that were set."""
        defaults = StepOptions(**self.of_options)
        chosen = [
            f"{name}: {getattr(self.options, name)}"
            for name in STEP_OPTIONS
            if getattr(self.options, name) != getattr(defaults, name)
        ]
        text = re.sub(rf"\n    {WINDOW_KEY}: .*", "", super().__repr__())
        return text if not chosen else f"{text[:-1]}Every group\n    " + "\n    ".join(chosen) + "\n)"

    def __setstate__(self, state: dict[str, Any]) -> None:
        if "phase" in state:  # pickled before the options of the step had their name
            state = {**state, "options": state["phase"]}
            del state["phase"]
        fresh = {
            "_told": set(),
            "_hosts": {},
            "_lagging": {},
            "last_step": StepInfo(None, 1.0, False),
            "skipped_steps": 0,
        }
        whole = {**fresh, "_skips_in_a_row": 0, **self.__dict__, **state}
        self._last_step, self._skipped_steps = whole.pop("last_step"), whole.pop("skipped_steps")
        super().__setstate__(whole)
        self._info = None
        self._plan = None
        self._forget_measured()
        keep_window(self.param_groups, self.options.skip_spikes is not None)
        for group in self.param_groups:
            for name, value in self.defaults.items():
                group.setdefault(name, value)

    def __getstate__(self) -> dict[str, Any]:
        own = ("options", "last_step", "skipped_steps", "_skips_in_a_row", "_told")
        self.catch_up()
        kept = {name: getattr(self, name) for name in own}
        return {**super().__getstate__(), **kept, **self._own_scaling()}
