"""A rule beside Adam: the same problems, seeds, steps and stepsizes for both, and who wins by how much.

α is chosen for each of the two by a sweep on a few seeds; fresh seeds at that α are compared, in pairs.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from adamas.backends import reference
from adamas.rules import Adam, Rule

from .. import problems
from ..runs.training import Training
from .agreement import with_lr
from .functions import FUNCTIONS, Function

__all__ = ["ALPHAS", "DIGITS", "Contest", "Side", "contests", "count"]

# Half decades.
ALPHAS = tuple(float(f"{10.0**k:.3g}") for k in np.arange(-4.5, 1.25, 0.5))
# The seeds that α is chosen by, and those that are compared at it.
CHOOSING, FRESH = 2, 6
_STEPS = 400
DIGITS = "digits, a network"
_OPTIONS = {"data": "digits", "width": 32}
_EPOCHS, _BATCH = 6, 64
_LEAST = 1e-8  # a cost below it has nothing left to win
Costs = NDArray[np.float64]


@dataclass(frozen=True)
class Side:
    """One of the two on a problem.

    Attributes:
        lr: the best α of the sweep.
        sweep: the cost at each α: the geometric mean over the seeds that it is chosen by; None is no number.
        costs: those of the fresh seeds at that α.
        at_edge: whether the best α is the least or the largest of the sweep, beyond which a better may be.
        test_error: the mean share of test images that are wrong; None where there is none.
    """

    lr: float
    sweep: Mapping[float, float | None]
    costs: Sequence[float]
    at_edge: bool
    test_error: float | None = None

    @property
    def cost(self) -> float:
        """The geometric mean over the fresh seeds."""
        return float(np.exp(np.mean(np.log(np.maximum(self.costs, _LEAST)))))


@dataclass(frozen=True)
class Contest:
    """A rule and Adam on one problem.

    Attributes:
        problem, measure: names.
        mine, adam: the two.
        ratio: the rule's cost over Adam's: the geometric mean over pairs of runs with the same seed.
        low, high: where that ratio is with 95 % confidence, by Student's t of the logarithms.
        winner: "mine" or "Adam" where both ends are on one side of 1, else None: no difference shows.
    """

    problem: str
    measure: str
    mine: Side
    adam: Side
    ratio: float
    low: float
    high: float
    winner: str | None


def contests(
    rule: Rule, tell: Callable[[str], object], functions: Sequence[Function] = FUNCTIONS
) -> list[Contest]:
    """Compare on every test function and on digits; `tell` hears of each of the `count` parts."""
    found = []
    for function in functions:
        sides = []
        for each in (rule, Adam()):
            sides.append(_swept(functools.partial(_on_function, each, function)))
            tell(function.name)
        found.append(_compared(function.name, "f - f*", *sides))
    problems.load("images_mlp").prepare(**_OPTIONS)  # type: ignore[arg-type]
    sides = [_on_digits(each, tell) for each in (rule, Adam())]
    return [*found, _compared(DIGITS, "cost in the last epoch", *sides)]


def count(functions: Sequence[Function] = FUNCTIONS) -> int:
    """The calls of `tell` in `contests`."""
    return 2 * len(functions) + 2 * (CHOOSING * len(ALPHAS) + FRESH)


def _swept(costs_at: Callable[[float], Costs]) -> Side:
    """Choose α, where all seeds of an α come at once."""
    costs = {lr: costs_at(lr) for lr in ALPHAS}
    lr, sweep = _best({lr: values[:CHOOSING] for lr, values in costs.items()})
    return _side(lr, sweep, costs[lr][CHOOSING:].tolist())


def _side(
    lr: float, sweep: Mapping[float, float], costs: Sequence[float], test_error: float | None = None
) -> Side:
    shown = {a: cost if math.isfinite(cost) else None for a, cost in sweep.items()}
    return Side(lr, shown, costs, lr in (ALPHAS[0], ALPHAS[-1]), test_error)


def _best(costs: Mapping[float, Any]) -> tuple[float, dict[float, float]]:
    with np.errstate(all="ignore"):
        sweep = {
            lr: float(np.exp(np.mean(np.log(np.maximum(values, _LEAST))))) for lr, values in costs.items()
        }
    return min(sweep, key=lambda lr: sweep[lr]), sweep


def _on_function(rule: Rule, function: Function, lr: float) -> Costs:
    """The mean of f over the last fifth of the steps, by seed; each has its own start and noise."""
    random = [np.random.default_rng(seed) for seed in range(CHOOSING + FRESH)]
    start = np.array([function.start + 0.3 * each.standard_normal(2) for each in random])
    noise = np.stack([function.noise * each.standard_normal((_STEPS, 2)) for each in random], axis=1)
    changed = with_lr(rule, lr)
    if changed is None:
        return np.full(len(random), np.inf)
    values = []
    with np.errstate(all="ignore"):
        states = reference.trajectory(
            changed, start, lambda t, p: function.gradient(p) + noise[t - 1], _STEPS
        )
        for state in states:
            if state.t > _STEPS * 4 // 5:
                values.append(function.value(state.p))
        found = np.mean(values, axis=0)
    return np.where(np.isfinite(found), found, np.inf)


def _on_digits(rule: Rule, tell: Callable[[str], object]) -> Side:
    def trained(lr: float, seed: int) -> tuple[float, float]:
        options, data = problems.fields("images_mlp", _OPTIONS)  # type: ignore[arg-type]
        changed = with_lr(rule, lr)
        tell(DIGITS)
        if changed is None:
            return math.inf, 1.0
        run = Training("images_mlp", options, data, changed, "constant", 0.0, _BATCH, _EPOCHS, seed)
        done = run.execute()
        last = done.epochs[-1]
        lost = done.status == "diverged" or last["cost"] is None
        return (math.inf, 1.0) if lost else (float(last["cost"] or 0), float(last["test_error"] or 0))

    lr, sweep = _best({lr: [trained(lr, seed)[0] for seed in range(CHOOSING)] for lr in ALPHAS})
    fresh = [trained(lr, CHOOSING + seed) for seed in range(FRESH)]
    costs, errors = zip(*fresh, strict=True)
    return _side(lr, sweep, costs, float(np.mean(errors)))


def _compared(problem: str, measure: str, mine: Side, adam: Side) -> Contest:
    logs = [np.log(np.maximum(side.costs, _LEAST)) for side in (mine, adam)]
    finite = [bool(np.isfinite(each).all()) for each in logs]
    if not all(finite):
        winner = {(True, False): "mine", (False, True): "Adam"}.get((finite[0], finite[1]))
        nan = math.nan
        return Contest(problem, measure, mine, adam, nan, nan, nan, winner)
    difference = logs[0] - logs[1]
    mean, error = float(difference.mean()), float(difference.std(ddof=1) / math.sqrt(len(difference)))
    half = float(stats.t.ppf(0.975, len(difference) - 1)) * error
    ratio, low, high = (math.exp(min(x, 700)) for x in (mean, mean - half, mean + half))
    winner = "mine" if high < 1 else "Adam" if low > 1 else None
    return Contest(problem, measure, mine, adam, ratio, low, high, winner)
