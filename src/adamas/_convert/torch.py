"""Optimizers of `adamas.torch` and `torch.optim`, and their state dictionaries."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch

from ..backends import state_shapes
from ..rules import Rule
from ..rules._found import rule_classes
from ..torch.optimizer import FusedOptimizer
from ..torch.options import AVERAGE
from ..torch.slots import keys_of
from ._state import ParamState, States, check_names, check_state

__all__ = ["owns", "read", "write"]


def owns(value: Any) -> bool:
    """Whether it is an optimizer or the state dictionary of one."""
    is_dict = isinstance(value, Mapping) and {"state", "param_groups"} <= value.keys()
    return is_dict or isinstance(value, torch.optim.Optimizer)


def read(value: Any) -> States:
    """The states of all parameters that have one."""
    if isinstance(value, torch.optim.Optimizer):
        return _read_optimizer(value)
    found = {}
    names = _rule_names()
    for index, name, _ in _places(value):
        state = value["state"].get(index, {})
        state = {_own_name(key, names): x for key, x in state.items() if x is not None}
        if state:
            found[name] = _state(state, _carried_names())
    return found


def _read_optimizer(optimizer: torch.optim.Optimizer) -> States:
    cls = _class_of(optimizer)
    own = optimizer if isinstance(optimizer, FusedOptimizer) else None
    saved = optimizer.state_dict() if own is None else own.torch_state_dict()
    params = [p for group in optimizer.param_groups for p in group["params"]]
    names = {key: name for name, key in cls.state_names.items()}
    found = {}
    for p, (index, name, group) in zip(params, _places(saved), strict=True):
        state = {names.get(key, key): x for key, x in saved["state"].get(index, {}).items()}
        rule = cls.rule_of(optimizer, group)
        kept = {"step", *state_shapes(rule, p.shape), *rule.carried}
        state = {key: x for key, x in state.items() if key in kept and x is not None}
        if own is not None and AVERAGE in optimizer.state.get(p, {}):
            state[AVERAGE] = optimizer.state[p][AVERAGE]
        if state:
            found[name] = _state(state, rule.carried)
    return found


def write(states: States, like: Any) -> dict[str, Any]:
    """A state dictionary for the optimizer, with its own groups and options."""
    if not isinstance(like, torch.optim.Optimizer):
        raise TypeError("like must be the torch optimizer itself, not its state_dict(): its parameters count")
    cls, saved = _class_of(like), like.state_dict()
    params = [p for group in like.param_groups for p in group["params"]]
    places = list(zip(params, _places(saved), strict=True))
    rules_of = {id(group): cls.rule_of(like, group) for group in saved["param_groups"]}
    check_names(states, [name for _, (_, name, group) in places if _keeps(rules_of[id(group)])])
    averages = isinstance(like, FusedOptimizer) and like.options.average is not None
    new = {}
    for p, (index, name, group) in places:
        state, rule = states.get(name), rules_of[id(group)]
        if state is None or state.t == 0:
            continue
        check_state(name, state, state_shapes(rule, p.shape), rule.carried, averages)
        new[index] = _tensors(state, p, cls, averages)
    return {**saved, "state": new}


def _tensors(state: ParamState, p: torch.Tensor, cls: Any, averages: bool) -> dict[str, Any]:
    """The state of one parameter under torch's keys."""
    wide = p.dtype if p.dtype == torch.float64 or p.is_complex() else torch.float32
    arrays: dict[str, Any] = {cls.state_names.get(name, name): x for name, x in state.slots.items()}
    if averages:
        arrays[AVERAGE] = state.average
    # Copied: training goes on in place.
    tensors = {key: torch.tensor(np.asarray(x), dtype=wide, device=p.device) for key, x in arrays.items()}
    numbers = {
        cls.state_names.get(name, name): torch.tensor(x, dtype=torch.float64)
        for name, x in state.carried.items()
    }
    # Torch's SparseAdam computes with its step as Python does.
    t = state.t if issubclass(cls, torch.optim.SparseAdam) else torch.tensor(float(state.t))
    return {**({"step": t} if cls.counts_steps else {}), **numbers, **tensors}


def _keeps(rule: Rule) -> bool:
    """Whether parameters of this rule have state that a step could not do without."""
    return bool(state_shapes(rule, ()) or rule.carried)


def _class_of(optimizer: torch.optim.Optimizer) -> Any:
    """The class of this package that has an optimizer's names and rule: its own, or that of the same name.

    Raises:
        TypeError: there is none.
    """
    for cls in _classes():
        if isinstance(optimizer, cls) or type(optimizer) is getattr(cls, "upstream", None):
            return type(optimizer) if isinstance(optimizer, cls) else cls
    raise TypeError(f"{type(optimizer).__name__} is no optimizer that adamas.torch has the rule of")


def _classes() -> list[Any]:
    """The optimizers of `adamas.torch`."""
    from .. import torch as package

    members = [getattr(package, name) for name in package.__all__]
    return [x for x in members if isinstance(x, type) and issubclass(x, FusedOptimizer)]


def _places(saved: Mapping[str, Any]) -> Iterator[tuple[Any, str, Mapping[str, Any]]]:
    """Index, name and group of each parameter: the name it was given, or else its number."""
    for group in saved["param_groups"]:
        given = group.get("param_names") or map(str, group["params"])
        for index, name in zip(group["params"], given, strict=True):
            yield index, name, group


def _state(state: Mapping[str, Any], carried: Any) -> ParamState:
    arrays = {key: _array(x) for key, x in state.items() if key not in (*carried, "step")}
    average = arrays.pop(AVERAGE, None)
    numbers = {key: float(x) for key, x in state.items() if key in carried}
    return ParamState(int(state.get("step", 1)), arrays, numbers, average)


def _array(x: torch.Tensor) -> np.ndarray[Any, Any]:
    """A tensor as NumPy's array, of 32 bits or more, with memory of its own."""
    whole: Callable[[], torch.Tensor] = getattr(x, "full_tensor", lambda: x)
    x = whole().detach().resolve_conj().cpu()
    return np.array(x.to(torch.promote_types(x.dtype, torch.float32)).numpy())


# A dictionary does not say whose it is; no two rules have different names for one key of torch.


def _rule_names() -> dict[str, str]:
    return {key: name for cls in _classes() for name, key in cls.state_names.items()}


def _carried_names() -> set[str]:
    return {name for rule in rule_classes().values() for name in rule.carried}


def _own_name(key: str, names: Mapping[str, str]) -> str:
    coded = {each for torch_key in names for each, format in keys_of(torch_key).items() if format}
    if key in coded:
        raise ValueError(f"the state has codes in {key!r}: pass the optimizer itself, not its state_dict()")
    return names.get(key, key)
