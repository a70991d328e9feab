"""The arguments of a run, checked, with their defaults."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..backends import check_rule
from ..rules import Adam, Rule
from .gradients import ALPHA
from .trees import Array, Layout

__all__ = ["FORMAT", "Settings", "State", "check_resume", "check_rule_value", "schedule_of", "settings_of"]

# The share of the scale of x0 that one step of the default rule moves.
_STEP = 0.01
_MAXITER = 10_000
_TOL = 1e-5
# The version of the state for `resume`.
FORMAT = 1


class State:
    """All that a run goes on from; plain values, arrays and the rule, which can be pickled."""

    def __init__(self, values: dict[str, Any]) -> None:
        self.values = values

    def __getitem__(self, name: str) -> Any:
        return self.values[name]

    def __repr__(self) -> str:
        return f"<state after {self['t']} iterations>"


@dataclass(frozen=True)
class Settings:
    """What the arguments say, defaults included."""

    rule: Rule
    chosen: bool
    maxiter: int
    tol: float
    decay: float | None
    average: Any
    bounded: bool
    seed: int
    gain_offset: float
    signature: list[Any]


def settings_of(
    layout: Layout,
    rule: Rule | None,
    maxiter: Any,
    tol: Any,
    average: Any,
    diff_step: Any,
    seed: Any,
    resume: State | None,
    bounded: bool,
) -> Settings:
    """The settings of a run; of one that is resumed, some are those of its state.

    Raises:
        ValueError: one is out of its range.
    """
    steps = _MAXITER if maxiter is None else maxiter
    if isinstance(steps, bool) or not isinstance(steps, (int, np.integer)) or steps < 0:
        raise ValueError(f"maxiter must be an integer from 0 on, got {maxiter!r}")
    limit = _TOL if tol is None else tol
    if not isinstance(limit, (int, float, np.floating)) or not limit >= 0:
        raise ValueError(f"tol must be a number from 0 on, got {tol!r}")
    if diff_step is not None and not 0 < diff_step < math.inf:
        raise ValueError(f"diff_step must be positive, got {diff_step!r}")
    decay = None if average is None or average == "polyak" else _decay(average)
    if resume is not None:
        rule, number, offset = rule or resume["rule"], resume["seed"], resume["gain_offset"]
    else:
        number, offset = _seed(seed), 0.1 * steps
    chosen = rule is None
    return Settings(
        rule=rule or Adam(lr=_STEP * _scale(layout.start)),
        chosen=chosen,
        maxiter=int(steps),
        tol=float(limit),
        decay=decay,
        average=average,
        bounded=bounded,
        seed=number,
        gain_offset=offset,
        signature=layout.signature(),
    )


def _decay(average: Any) -> float:
    if isinstance(average, bool) or not isinstance(average, (int, float)) or not 0 <= average < 1:
        raise ValueError(f'average must be a decay in [0, 1), "polyak" or None, got {average!r}')
    return float(average)


def _seed(seed: Any) -> int:
    if seed is None:
        return int(np.random.SeedSequence().generate_state(1, np.uint64)[0] >> np.uint64(1))
    if isinstance(seed, np.random.Generator):
        return int(seed.integers(1 << 63))
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0:
        raise ValueError(f"seed must be an integer from 0 on, a numpy.random.Generator or None, got {seed!r}")
    return int(seed)


def _scale(x: Array) -> float:
    """The root mean square of x0, 1 where that is 0."""
    largest = float(np.abs(x).max())
    if largest == 0:
        return 1.0
    return largest * float(np.sqrt(np.mean((x.astype(np.float64) / largest) ** 2)))


def schedule_of(schedule: Any, jac: Any, offset: float) -> Callable[[int], float] | None:
    """The factor on the step size by the steps taken; None for 1. With SPSA, Spall's gains by default.

    Raises:
        TypeError: it is neither a function nor a number.
    """
    if schedule is None:
        if jac is None or jac == "spsa":
            return lambda taken: ((offset + 1) / (offset + taken + 1)) ** ALPHA
        return None
    if callable(schedule):
        return schedule  # type: ignore[no-any-return]
    if isinstance(schedule, bool) or not isinstance(schedule, (int, float)):
        raise TypeError(f"schedule must be a function of the steps taken, or a factor, got {schedule!r}")
    return lambda taken: schedule


def check_rule_value(rule: Any) -> None:
    """Raise a TypeError that says what to write where `rule` is neither a rule nor None."""
    if rule is None:
        return
    if isinstance(rule, type) and issubclass(rule, Rule):
        raise TypeError(f"rule must be a rule, not its class: write rule={rule.__name__}()")
    if not isinstance(rule, Rule):
        raise TypeError(f"rule must be one of adamas.rules, such as Adam(lr=0.01), got {rule!r}"[:200])
    check_rule(rule)


def check_resume(state: Any, layout: Layout, rule: Rule | None, average: Any, bounded: bool) -> None:
    """Raise where a run of these arguments cannot go on from a state.

    Raises:
        TypeError: it is no state.
        ValueError: it is that of a run over another structure, with another rule, average or bounds.
    """
    if not isinstance(state, State) or state["format"] != FORMAT:
        raise TypeError("resume must be the state of a result, or the adamas_state of an error")
    if state["layout"] != layout.signature() or state["dtype"] != layout.dtype.str:
        raise ValueError(f"resume is the state of a run over another x0; this one has {layout.describe()}")
    own = state["rule"]
    same = rule is None or (type(rule) is type(own) and list(rule.form().slots) == list(own.form().slots))
    if not same:
        raise ValueError(f"resume is the state of a run by {own!r}, which {rule!r} cannot take over")
    if state["average"] != average:
        raise ValueError(f"resume is the state of a run with average={state['average']!r}, not {average!r}")
    if state["bounded"] != bounded:
        said, now = ("with", "without") if state["bounded"] else ("without", "with")
        raise ValueError(f"resume is the state of a run {said} bounds, not {now} them")
