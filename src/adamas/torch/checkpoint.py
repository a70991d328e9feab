"""State dictionaries: ours keep every bit, torch's are widened; both are checked before they are loaded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch

from ..backends import state_shapes
from ..rules import Rule
from ..rules._base import Slot
from ..rules._found import rule_classes
from .conversion import widened
from .host import MASTER
from .kept import kept_of
from .keywords import StepOptions
from .mesh import local, spread_of, wrapped
from .options import AVERAGE, FIRST_LR, keep_first_lr
from .packed import is_packed
from .resharding import slot_here
from .skips import WINDOW_KEY
from .slots import fault, find, keys_of
from .state import slot_format

__all__ = ["Checkpoints"]

# The keys in `state[p]` of tensors that are no slots.
_BESIDE = {AVERAGE, MASTER}


class Checkpoints(torch.optim.Optimizer):
    """The part of an optimizer that writes and reads checkpoints."""

    options: StepOptions
    state_names: ClassVar[Mapping[str, str]]
    counts_steps: ClassVar[bool]

    def rule_of(self, group: Mapping[str, Any], checked: bool = False) -> Rule:
        """The rule that a parameter group's options stand for."""
        raise NotImplementedError

    def catch_up(self) -> None:
        """Bring state that lags up to date."""

    def _slot_keys(self, rule: Rule) -> list[str]:
        """The keys in `state[p]` of the rule's slots, in the rule's order."""
        return [self.state_names.get(name, name) for name in rule.form().slots]

    def torch_state_dict(self) -> dict[str, Any]:
        """The `state_dict` that torch.optim's class of the same name loads, whatever the state is stored in.

        Every slot is a tensor of its parameter's shape in float32, or in the parameter's own type where that
        is float64 or complex. Averages and the norms of `skip_spikes`, which torch does not keep, are left
        out. `state_dict` itself keeps every bit, for this package; this one is for torch and whoever else
        reads its checkpoints.
        """
        self.catch_up()
        saved = super().state_dict()
        for group, packed in zip(self.param_groups, saved["param_groups"], strict=True):
            rule = self.rule_of(group)
            packed.pop(WINDOW_KEY, None)
            packed.pop(FIRST_LR, None)
            slots = dict(zip(self._slot_keys(rule), rule.form().slots.values(), strict=True))
            for p, index in zip(group["params"], packed["params"], strict=True):
                if index in saved["state"]:
                    wide = self._widened(p, slots, saved["state"][index])
                    step = wide.get("step")
                    # On a GPU torch reads it at every step, one by one, unless it counts there too.
                    if isinstance(step, torch.Tensor) and not (group.get("fused") or group.get("capturable")):
                        wide["step"] = step.to("cpu", copy=True)
                    saved["state"][index] = wide
        return saved

    def _widened(
        self, p: torch.Tensor, slots: Mapping[str, Slot], state: Mapping[str, Any]
    ) -> dict[str, Any]:
        """The state of one parameter as torch keeps it."""
        wide = {key: _wide(state, key, p, slot) for key, slot in slots.items() if find(state, key)}
        dropped = {*_BESIDE, *([] if self.counts_steps else ["step"])}
        dropped |= {key for slot in slots for key in keys_of(slot)}
        # Codes of a slot that is switched off (momentum=0) cannot be read without the slot.
        others = set(self.state_names.values()) - set(slots)
        dropped |= {key for slot in others for key, name in keys_of(slot).items() if name}
        dropped |= {key for key in others & set(state) if is_packed(state[key])}
        kept = {key: value for key, value in state.items() if key not in dropped}
        return kept | wide

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load the state of this optimizer, or of the torch.optim class of the same name.

        Raises:
            ValueError: groups, shapes or slots do not match those of the parameters; nothing has changed.
        """
        loaded: dict[torch.Tensor, dict[str, torch.Tensor]] = {}
        self.catch_up()  # with the state that there is
        groups = self.param_groups

        def hold(_: torch.optim.Optimizer, final: dict[str, Any]) -> dict[str, Any]:
            self.check_loaded(final)
            state = dict(final["state"])
            for index, p in self._pairs(final):
                if isinstance(state.get(index), dict):
                    mine, offloads = state[index], self.options.offload
                    if not offloads:  # another optimizer's: this one would not keep it up to date
                        mine = {key: value for key, value in mine.items() if key != MASTER}
                    loaded[p] = _on_device(mine, torch.device("cpu") if offloads else p.device)
                    state[index] = _held(mine)
            return {**final, "state": state}

        def release(_: torch.optim.Optimizer) -> None:
            for p, tensors in loaded.items():
                self.state[p].update(tensors)
            keep_first_lr(self.param_groups, self.options.needs_lr_max, groups)

        # Torch casts every tensor to its parameter's dtype, codes to four times their size among them.
        before = self.register_load_state_dict_pre_hook(hold)
        after = self.register_load_state_dict_post_hook(release, prepend=True)
        try:
            super().load_state_dict(state_dict)
        finally:
            before.remove()
            after.remove()

    def _pairs(self, state_dict: Mapping[str, Any]) -> list[tuple[Any, torch.Tensor]]:
        saved = [index for group in state_dict["param_groups"] for index in group["params"]]
        params = [p for group in self.param_groups for p in group["params"]]
        return list(zip(saved, params, strict=False))

    def check_loaded(self, state_dict: Mapping[str, Any]) -> None:
        """Raise a ValueError for state that is not of these parameters, or another optimizer's."""
        slots = {name for group in self.param_groups for name in self._slot_keys(self.rule_of(group))}
        slots |= {*self.state_names.values(), *_BESIDE}
        own = {
            key for group in self.param_groups for key in kept_of(self.rule_of(group), self.state_names)[1]
        }
        others = _keys_of_others() - slots - own
        foreign = {name: scaled for key in others for name, scaled in keys_of(key).items()}
        carried = {
            self.state_names.get(name, name) for g in self.param_groups for name in self.rule_of(g).carried
        }
        for index, p in self._pairs(state_dict):
            state = state_dict["state"].get(index, {})
            for key in sorted(slots):
                wrong = fault(state, key, p)
                if wrong is not None:
                    raise ValueError(
                        f"the loaded state {key!r} of parameter {index} {wrong}; nothing was loaded"
                    )
            for key, value in state.items():
                if not isinstance(value, torch.Tensor):
                    continue
                if key in foreign and value.dim() > 0 and (foreign[key] or value.shape == p.shape):
                    raise ValueError(
                        f"the loaded state {key!r} of parameter {index} is another optimizer's: "
                        f"{type(self).__name__} keeps {', '.join(sorted(slots - _BESIDE)) or 'none'}; "
                        f"nothing was loaded"
                    )
            if missing := carried - set(state) if any(find(state, key) for key in slots) else set():
                raise ValueError(
                    f"the loaded state of parameter {index} lacks {min(missing)!r}, which "
                    f"{type(self).__name__} keeps: it is another optimizer's; nothing was loaded"
                )


def _wide(state: Mapping[str, Any], key: str, p: torch.Tensor, slot: Slot) -> torch.Tensor:
    """A slot that the state of `p` has, in the format that torch keeps it in, and placed as `p` is."""
    spread, format = spread_of(p), slot_format(p, key, slot, None)
    if spread is not None:
        state = slot_here(state, key, slot.signed, local(p), spread, whole=False)
    held = find(state, key)
    assert held is not None
    wide = widened(held, local(p), format, slot.signed)
    return wide if spread is None else wrapped(wide, spread, spread.shape, whole=False)


def _keys_of_others() -> set[str]:
    """All keys under which optimizers of this package keep slots; any other key is a user's buffer."""
    found: set[str] = set()
    classes = [Checkpoints]
    while classes:
        each = classes.pop()
        classes += each.__subclasses__()
        found |= set(each.__dict__.get("state_names", {}).values())
    # Where a class has no names of its own, they are the rule's.
    rules = [rule() for rule in rule_classes().values()]
    return found.union(*(state_shapes(rule, ()) for rule in rules))


class _Held:
    """What stands for a loaded tensor where torch would cast it."""


def _on_device(state: Mapping[str, Any], device: torch.device) -> dict[str, torch.Tensor]:
    """The tensors of one parameter's state on a device, each in its own dtype."""
    tensors = {key: value for key, value in state.items() if isinstance(value, torch.Tensor)}
    # Counters are copied, because two optimizers must not share one; those of a GPU may be another GPU's.
    return {
        key: x.to(device) if x.dim() > 0 else x.clone() if x.device.type == "cpu" else x.to(device, copy=True)
        for key, x in tensors.items()
    }


def _held(state: Mapping[str, Any]) -> dict[str, Any]:
    """The state of one parameter without its tensors, but for numbers such as "step": torch looks at it."""
    tensors = (key for key, value in state.items() if isinstance(value, torch.Tensor) and value.dim() > 0)
    return {**state, **{key: _Held() for key in tensors}}
