"""The state of one parameter in NumPy, and what two such states must agree in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

__all__ = ["ParamState", "States", "check_names", "check_state"]


class ParamState(NamedTuple):
    """The state of a parameter.

    Attributes:
        t: the number of steps taken; 1 for any number where the rule does not count them.
        slots: the state arrays by the rule's names, and those of what it keeps of sums.
        carried: the rule's carried values.
        average: the running average of the parameter; None where none is kept.
    """

    t: int
    slots: dict[str, np.ndarray[Any, Any]]
    carried: dict[str, float]
    average: np.ndarray[Any, Any] | None


States = dict[str, ParamState]


def check_names(states: Mapping[str, ParamState], names: Iterable[str]) -> None:
    """Raise a ValueError where the parameters that have slots have other names than the target's."""
    wanted = set(names)
    states = {name: state for name, state in states.items() if state.slots or name in wanted}
    if missing := sorted(wanted - states.keys()):
        raise ValueError(
            f"there is no state for the parameter {missing[0]!r} of `like`; there is for "
            f"{_listed(sorted(states.keys() - wanted) or sorted(states))}: pass names="
        )
    if unknown := sorted(states.keys() - wanted):
        raise ValueError(
            f"`like` has no parameter {unknown[0]!r}; it has {_listed(sorted(wanted))}: pass names="
        )


def check_state(
    name: str,
    state: ParamState,
    shapes: Mapping[str, Sequence[int]],
    carried: Iterable[str],
    averages: bool,
) -> None:
    """Raise a ValueError where a state does not fit a parameter of the target with arrays of these shapes."""
    for found, wanted in ((state.slots, sorted(shapes)), (state.carried, sorted(carried))):
        if sorted(found) != wanted:
            raise ValueError(
                f"the state of {name!r} is another rule's: it has {_listed(sorted(found))}, and `like` "
                f"{_listed(wanted)}"
            )
    for slot, array in state.slots.items():
        if array.shape != (shape := tuple(shapes[slot])):
            raise ValueError(
                f"{slot!r} of {name!r} has shape {array.shape}, and in `like` {shape}: convert to "
                f"NumPy first, and transpose it there"
            )
    if averages and state.average is None:
        raise ValueError(f"`like` keeps an average of {name!r}, and the state has none")


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(map(repr, names[:5]))
    return f"{shown}, ... ({len(names)})" if len(names) > 5 else shown or "none"
