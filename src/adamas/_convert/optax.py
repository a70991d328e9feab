"""States of `adamas.optax`, anywhere inside a state of optax, and of optax's own `scale_by_adam`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ..optax import RuleState
from ..optax._leaf import path_name
from ._state import ParamState, States, check_names, check_state

__all__ = ["owns", "read", "write"]

_NODES = (RuleState, optax.ScaleByAdamState)


def owns(value: Any) -> bool:
    """Whether there is such a state in it."""
    return bool(_nodes(value))


def _nodes(value: Any) -> list[Any]:
    leaves = jax.tree.leaves(value, is_leaf=lambda x: isinstance(x, _NODES))
    return [x for x in leaves if isinstance(x, _NODES)]


def read(value: Any) -> States:
    """The states of all parameters in it, by their paths."""
    found: States = {}
    for node in map(_as_rule_state, _nodes(value)):
        slots = {name: _by_name(tree) for name, tree in {**node.slots, **node.kept}.items()}
        averages = _by_name(node.average)
        carried = {name: float(x) for name, x in node.carried.items()}
        for name in _names(node):
            arrays = {slot: _widened(column[name]) for slot, column in slots.items()}
            average = _widened(averages[name]) if name in averages else None
            if name in found:
                raise ValueError(f"there are two states of the parameter {name!r}: convert them one by one")
            found[name] = ParamState(int(node.count), arrays, dict(carried), average)
    return found


def write(states: States, like: Any) -> Any:
    """`like` with these states in the place of its own."""
    nodes = [_as_rule_state(node) for node in _nodes(like)]
    check_names(states, [name for node in nodes for name in _names(node)])
    new = iter([_filled(states, node) for node in nodes])

    def replaced(x: Any) -> Any:
        if not isinstance(x, _NODES):
            return x
        node = next(new)
        if isinstance(x, RuleState):
            return node
        return x._replace(count=node.count, mu=node.slots["m"], nu=node.slots["v"])

    return jax.tree.map(replaced, like, is_leaf=lambda x: isinstance(x, _NODES))


def _filled(states: States, node: RuleState) -> RuleState:
    """A state of the same structure with these values."""
    names = _names(node)
    # A rule without slots has one count for all parameters, whatever their names.
    mine = {name: states[name] for name in names} if names else states
    for name in names:
        trees = {**node.slots, **node.kept}
        shapes = {slot: jnp.shape(_by_name(tree)[name]) for slot, tree in trees.items()}
        check_state(name, mine[name], shapes, node.carried, node.average is not None)
    for what, values in (
        ("have taken", {state.t for state in mine.values()}),
        ("carry", {tuple(sorted(state.carried.items())) for state in mine.values()}),
    ):
        if len(values) > 1:
            raise ValueError(
                f"the parameters of one optax state {what} the same number of steps, and these "
                f"{sorted(values)[:3]}: give each kind its own by optax.multi_transform"
            )
    if not mine:
        return node
    first = next(iter(mine.values()))
    slots, kept = (
        {slot: _tree(tree, {n: x.slots[slot] for n, x in mine.items()}) for slot, tree in trees.items()}
        for trees in (node.slots, node.kept)
    )
    carried = {key: _like(first.carried[key], x) for key, x in node.carried.items()}
    average = node.average
    if average is not None:
        average = _tree(average, {name: state.average for name, state in mine.items()})
    return RuleState(_like(first.t, node.count), slots, carried, average, kept)


def _as_rule_state(node: Any) -> RuleState:
    if isinstance(node, RuleState):
        return node
    return RuleState(node.count, {"m": node.mu, "v": node.nu}, {}, None)


def _names(node: RuleState) -> list[str]:
    """The names of the parameters of which there is state."""
    return list(_by_name(_tree_of(node)))


def _tree_of(node: RuleState) -> Any:
    """A tree like that of the parameters; None where a state has none."""
    return next(iter({**node.slots, **node.kept}.values()), node.average)


def _by_name(tree: Any) -> dict[str, Any]:
    """The leaves of a tree by their paths."""
    return {path_name(path): x for path, x in jax.tree_util.tree_flatten_with_path(tree)[0]}


def _tree(like: Any, values: Mapping[str, Any]) -> Any:
    return jax.tree_util.tree_map_with_path(lambda path, x: _like(values[path_name(path)], x), like)


def _like(value: Any, x: Any) -> Any:
    """A value in the type and placement of an array."""
    array = np.asarray(value).astype(x.dtype)
    return jax.device_put(array, x.sharding) if isinstance(x, jax.Array) else jnp.asarray(array)


def _widened(x: Any) -> np.ndarray[Any, Any]:
    """An array as NumPy's, of 32 bits or more."""
    return np.asarray(jnp.asarray(x).astype(jnp.promote_types(x.dtype, jnp.float32)))
