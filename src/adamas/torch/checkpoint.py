"""State dictionaries: ours keep every bit, torch's are widened; both are checked before they are loaded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch

from ..rules import Rule
from ..rules._base import Slot
from .options import AVERAGE
from .state import as_format, has_shape_of, is_packed, slot_format

__all__ = ["Checkpoints"]


class Checkpoints(torch.optim.Optimizer):
    """The part of an optimizer that writes and reads checkpoints."""

    state_names: ClassVar[Mapping[str, str]]
    counts_steps: ClassVar[bool]

    def rule_of(self, group: Mapping[str, Any], checked: bool = False) -> Rule:
        """The rule that a parameter group's options stand for."""
        raise NotImplementedError

    def _slot_keys(self, rule: Rule) -> list[str]:
        """The keys in `state[p]` of the rule's slots, in the rule's order."""
        return [self.state_names.get(name, name) for name in rule.form().slots]

    def torch_state_dict(self) -> dict[str, Any]:
        """The `state_dict` that torch.optim's class of the same name loads, whatever the state is stored in.

        Every slot is a tensor of its parameter's shape in float32, or in the parameter's own type where that
        is float64 or complex. Averages, which torch does not keep, are left out. `state_dict` itself
        keeps every bit, for this package; this one is for torch and whoever else reads its checkpoints.
        """
        saved = super().state_dict()
        for group, packed in zip(self.param_groups, saved["param_groups"], strict=True):
            rule = self.rule_of(group)
            slots = dict(zip(self._slot_keys(rule), rule.form().slots.values(), strict=True))
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
        # Packed state of a slot that is switched off (momentum=0) cannot be decoded without the slot.
        dropped |= {
            key for key in state.keys() - slots if torch.is_tensor(state[key]) and is_packed(state[key])
        }
        return {key: wide.get(key, value) for key, value in state.items() if key not in dropped}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load the state of this optimizer, or of the torch.optim class of the same name.

        Raises:
            ValueError: groups, shapes or slots do not match those of the parameters; nothing has changed.
        """
        loaded: dict[str, Any] = {}

        def check(_: torch.optim.Optimizer, final: dict[str, Any]) -> None:
            self._check_loaded(final)
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
        for index, p in self._pairs(state_dict):
            for key, value in state_dict["state"].get(index, {}).items():
                if isinstance(value, torch.Tensor):
                    # Cloned, because two optimizers must not share a counter.
                    self.state[p][key] = value.to(p.device) if value.dim() > 0 else value.clone()

    def _pairs(self, state_dict: Mapping[str, Any]) -> list[tuple[Any, torch.Tensor]]:
        saved = [index for group in state_dict["param_groups"] for index in group["params"]]
        params = [p for group in self.param_groups for p in group["params"]]
        return list(zip(saved, params, strict=False))

    def _check_loaded(self, state_dict: Mapping[str, Any]) -> None:
        slots = {name for group in self.param_groups for name in self._slot_keys(self.rule_of(group))}
        slots |= {*self.state_names.values(), AVERAGE}
        foreign = _keys_of_others() - slots
        carried = {
            self.state_names.get(name, name) for g in self.param_groups for name in self.rule_of(g).carried
        }
        for index, p in self._pairs(state_dict):
            state = state_dict["state"].get(index, {})
            for key, value in state.items():
                if not isinstance(value, torch.Tensor):
                    continue
                if key in slots and not has_shape_of(value, p):
                    raise ValueError(
                        f"the loaded state {key!r} of parameter {index} has shape {tuple(value.shape)}, "
                        f"the parameter {tuple(p.shape)}; nothing was loaded"
                    )
                if key in foreign and value.dim() > 0 and value.shape == p.shape:
                    raise ValueError(
                        f"the loaded state {key!r} of parameter {index} is another optimizer's: "
                        f"{type(self).__name__} keeps {', '.join(sorted(slots - {AVERAGE})) or 'none'}; "
                        f"nothing was loaded"
                    )
            if missing := carried - set(state) if slots & set(state) else set():
                raise ValueError(
                    f"the loaded state of parameter {index} lacks {min(missing)!r}, which "
                    f"{type(self).__name__} keeps: it is another optimizer's; nothing was loaded"
                )


def _keys_of_others() -> set[str]:
    """All keys under which optimizers of this package keep slots; any other key is a user's buffer."""
    found: set[str] = set()
    classes = [Checkpoints]
    while classes:
        each = classes.pop()
        classes += each.__subclasses__()
        found |= set(each.__dict__.get("state_names", {}).values())
    return found
