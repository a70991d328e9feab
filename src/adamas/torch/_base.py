"""What every torch optimizer of this package does: torch.optim.Optimizer's contract, and the step."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar

import torch
from torch._compile import _disable_dynamo
from torch.optim import optimizer as torch_optimizer

from ..rules import Rule
from ..rules._base import Slot
from ._phase import AVERAGE, LastStep, Phase
from ._plan import Plan, envelope_of
from ._storage import as_format, has_shape_of, is_packed, slot_format

__all__ = ["Base"]

# What torch itself wraps around a step: hooks and the profiler's label. They cost several
# microseconds, so they are called where a hook or a profiler is there, and only there.
_PRE_HOOKS = torch_optimizer._global_optimizer_pre_hooks
_POST_HOOKS = torch_optimizer._global_optimizer_post_hooks
_profiling = torch.autograd._profiler_enabled  # type: ignore[attr-defined]


# The keyword arguments of all optimizers beyond torch's.
_PHASE = {
    name: parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
    for name, parameter in inspect.signature(Phase).parameters.items()
}


class Base(torch.optim.Optimizer):
    """A torch optimizer whose step is one compiled pass of a rule over all parameters.

    Subclasses say which rule a parameter group stands for, and by what names its slots are kept.
    """

    # The key in `state[p]` of each slot and carried value of the rule, where it is not its own name.
    state_names: ClassVar[Mapping[str, str]] = {}
    # Whether `state[p]["step"]` is kept. A rule that only tells the first step from the rest needs none.
    counts_steps: ClassVar[bool] = True
    # Whether a sparse gradient may be made dense: where the rule leaves an element with gradient 0 as it is.
    takes_sparse: ClassVar[bool] = False

    __signature__: ClassVar[inspect.Signature | None] = None

    # GradScaler then sets `grad_scale` and `found_inf` for the time of a step, which unscales and skips.
    _step_supports_amp_scaling = True

    phase = Phase()
    last_step = LastStep(None, 1.0, False)
    skipped_steps = 0
    _plan: Plan | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.phase = Phase(**{name: kwargs.pop(name) for name in _PHASE if name in kwargs})
        super().__init__(*args, **kwargs)

    def __init_subclass__(cls, **options: Any) -> None:
        """Let editors and `inspect` see torch's constructor where a class takes that, and our keywords."""
        super().__init_subclass__(**options)
        cls.__signature__ = None  # a base class's would hide the constructor of this one
        if cls.__init__ is Base.__init__:
            signature = inspect.signature(cls.__mro__[cls.__mro__.index(Base) + 1])
            cls.__signature__ = signature.replace(
                parameters=[*signature.parameters.values(), *_PHASE.values()]
            )

    def rule_of(self, group: Mapping[str, Any]) -> Rule:
        """The rule that a parameter group's options stand for."""
        raise NotImplementedError

    def slot_names(self, rule: Rule) -> list[str]:
        """The keys in `state[p]` of the rule's slots, in the rule's order."""
        return [self.state_names.get(name, name) for name in rule.form().slots]

    @property
    def backend(self) -> str:
        """The backends of the last step ("numba", "reference", or both); before it, the one asked for."""
        return self.phase.backend if self._plan is None else self._plan.backend

    @property
    def keeps_steps(self) -> bool:
        """Whether `state[p]["step"]` is kept: the rule counts, the average needs to, or the rounding."""
        return self.counts_steps or self.phase.average is not None or self._rounds

    @property
    def _rounds(self) -> bool:
        """Whether anything may be stored with random bits, which depend on the step."""
        return self.phase.state_format not in (None, "float32") or any(
            p.dtype in (torch.bfloat16, torch.float16) for group in self.param_groups for p in group["params"]
        )

    def _step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        try:
            plan = self._plan
            if plan is None or not plan.gather(self):
                plan = self._plan = Plan(self)
                if not plan.gather(self):
                    raise RuntimeError(
                        "a parameter, gradient or state changed as the step was being prepared"
                    )
            scale, found_inf = getattr(self, "grad_scale", None), getattr(self, "found_inf", None)
            self.last_step = plan.run(1.0 if scale is None else 1 / float(scale), bool(found_inf))
        except BaseException:
            if self._plan is not None:  # it holds gradients, and may have made state for this step
                self._plan.withdraw(self)
                self._plan = None
            raise
        if self.last_step.skipped:
            self.skipped_steps += 1
            if plan.withdraw(self):
                self._plan = None
        return loss

    _step_with_hooks = torch.optim.Optimizer.profile_hook_step(_step)
    # A step is compiled already: torch.compile calls it, and must not trace it.
    _step_outside_graphs = _disable_dynamo(_step_with_hooks)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One optimization step on all parameters that have a gradient.

        Args:
            closure: reevaluates the model and returns the loss; called once, first.

        Returns:
            What the closure returned, or None.

        Raises:
            ValueError: an option of a parameter group is out of its range; nothing has changed.
            RuntimeError: a gradient is sparse and the rule cannot take it; nothing has changed.
        """
        if torch.compiler.is_compiling():
            return self._step_outside_graphs(closure)
        if (
            self._optimizer_step_pre_hooks
            or self._optimizer_step_post_hooks
            or _PRE_HOOKS
            or _POST_HOOKS
            or _profiling()
        ):
            return self._step_with_hooks(closure)
        return self._step(closure)

    step.hooked = True  # type: ignore[attr-defined]  # torch need not wrap it again

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a parameter group, as in torch; its options are checked first."""
        if isinstance(param_group, dict):
            group = {**self.defaults, **param_group}
            if group.get("capturable"):
                raise ValueError("capturable=True (CUDA graphs) is not supported; leave it False")
            self._check_keys(self.rule_of(group))
            envelope_of(group)
        self._plan = None
        super().add_param_group(param_group)

    def _check_keys(self, rule: Rule) -> None:
        chosen = self.phase.state_format
        keys = dict.fromkeys([*self.slot_names(rule), *self.state_names.values()])
        for key in chosen if isinstance(chosen, Mapping) else ():
            if key not in keys:
                raise ValueError(
                    f"state_format names {key!r}, and the slots of {type(self).__name__} are "
                    f"{', '.join(keys) or 'none'}"
                )

    def torch_state_dict(self) -> dict[str, Any]:
        """The `state_dict` that torch.optim's class of the same name loads, whatever the state is stored in.

        Every slot is a tensor of its parameter's shape in float32, or in the parameter's own type where that
        is float64 or complex. Averages, which torch does not keep, are left out. `state_dict` itself
        keeps every bit, for this package; this one is for torch and whoever else reads its checkpoints.
        """
        saved = super().state_dict()
        for group, packed in zip(self.param_groups, saved["param_groups"], strict=True):
            rule = self.rule_of(group)
            slots = dict(zip(self.slot_names(rule), rule.form().slots.values(), strict=True))
            for p, index in zip(group["params"], packed["params"], strict=True):
                if index in saved["state"]:
                    saved["state"][index] = self._widened(p, slots, saved["state"][index])
        return saved

    def _widened(
        self, p: torch.Tensor, slots: Mapping[str, Slot], state: Mapping[str, Any]
    ) -> dict[str, Any]:
        """The state of one parameter as torch keeps it."""
        wide = {
            key: as_format(state[key], p, slot_format(p, key, slot, None), slot.signed)
            for key, slot in slots.items()
            if state.get(key) is not None
        }
        dropped = {AVERAGE, *([] if self.counts_steps else ["step"])}
        # What an option has switched off for now may be packed, and its slot is not known.
        dropped |= {
            key for key in state.keys() - slots if torch.is_tensor(state[key]) and is_packed(state[key])
        }
        return {key: wide.get(key, value) for key, value in state.items() if key not in dropped}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load the state of this optimizer, or of the torch.optim class of the same name.

        Raises:
            ValueError: groups or shapes do not match those of the parameters; nothing has changed.
        """
        loaded: dict[str, Any] = {}

        def check(_: torch.optim.Optimizer, final: dict[str, Any]) -> None:
            self._check_shapes(final)
            loaded.update(final)

        # Torch casts every loaded state to its parameter's dtype; hooks around that keep its own.
        before = self.register_load_state_dict_pre_hook(check)
        after = self.register_load_state_dict_post_hook(lambda _: self._keep_dtypes(loaded), prepend=True)
        try:
            super().load_state_dict(state_dict)
        finally:
            before.remove()
            after.remove()

    def _keep_dtypes(self, state_dict: Mapping[str, Any]) -> None:
        saved = [index for group in state_dict["param_groups"] for index in group["params"]]
        params = [p for group in self.param_groups for p in group["params"]]
        for index, p in zip(saved, params, strict=False):
            for key, value in state_dict["state"].get(index, {}).items():
                if isinstance(value, torch.Tensor):
                    self.state[p][key] = value.to(p.device) if value.dim() > 0 else value

    def _check_shapes(self, state_dict: Mapping[str, Any]) -> None:
        saved = [index for group in state_dict["param_groups"] for index in group["params"]]
        params = [p for group in self.param_groups for p in group["params"]]
        slots = {name for group in self.param_groups for name in self.slot_names(self.rule_of(group))}
        slots |= {*self.state_names.values(), AVERAGE}
        for index, p in zip(saved, params, strict=False):
            for key, value in state_dict["state"].get(index, {}).items():
                if key in slots and isinstance(value, torch.Tensor) and not has_shape_of(value, p):
                    raise ValueError(
                        f"the loaded state {key!r} of parameter {index} has shape {tuple(value.shape)}, "
                        f"the parameter {tuple(p.shape)}; nothing was loaded"
                    )

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._plan = None
        for group in self.param_groups:
            for name, value in self.defaults.items():
                group.setdefault(name, value)

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "phase": self.phase, "skipped_steps": self.skipped_steps}

    @contextlib.contextmanager
    def averaged_parameters(self) -> Iterator[None]:
        """Within, every parameter holds its average; after, and after an error, what it held before.

        A parameter that has not been stepped keeps its value.

        Raises:
            RuntimeError: the optimizer keeps no averages.
        """
        if self.phase.average is None:
            raise RuntimeError("this optimizer keeps no averages: construct it with average=0.999, say")
        pairs = [(p, state[AVERAGE]) for p, state in self.state.items() if AVERAGE in state]
        saved = [p.detach().clone() for p, _ in pairs]
        try:
            with torch.no_grad():
                for p, average in pairs:
                    p.copy_(average)
            yield
        finally:
            with torch.no_grad():
                for (p, _), before in zip(pairs, saved, strict=True):
                    p.copy_(before)
