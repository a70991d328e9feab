"""Online convex optimization (section 4): from a problem, a rule and a seed to regret."""

from __future__ import annotations

import inspect
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from adamas.backends import bind, reference
from adamas.rules import Rule
from adamas.schedules import inverse_sqrt

from .. import ExperimentError, online_problems
from ..online_problems import OnlineProblem, Point
from ..problems import Option
from . import Alone, Outcome, recorded_fields, rule_defaults

__all__ = ["Online", "Scheduled", "recorded_rounds"]

# Bump when this module or `online_problems` changes results, or stale records are reused. Version 1 is left
# out of configurations, so that records older than this constant are found.
VERSION = 1
# An estimate: a round takes some ten microseconds, an epoch of training some tenths of a second.
ROUNDS_PER_EPOCH = 10_000


class Scalars:
    """The namespace of Python's floats, for points on the line: NumPy's bits in a tenth of the time."""

    sqrt = staticmethod(math.sqrt)
    abs = staticmethod(abs)
    maximum = staticmethod(max)
    minimum = staticmethod(min)

    @staticmethod
    def where(condition: bool, one: float, other: float) -> float:
        """Return one or the other."""
        return one if condition else other

    @staticmethod
    def full_like(point: float, value: float) -> float:
        """Return the value, the only element."""
        return value


class Scheduled(Rule):
    """A rule with the schedules of Theorem 4.1: α_t = α / √t, and β1,t = β1 λ^(t-1) where m is updated.

    Args:
        rule: its `lr` is α, its `beta1`, if it has one, is β1.
        decay: λ; with 1, β1 stays.

    Raises:
        ExperimentError: α or, unless λ is 1, β1 of this rule is no scalar of its update by itself.

    The paper leaves open what 1 - β1^t becomes while β1 decays. Here it stays as Algorithm 1 prints it, with
    the constant β1, as in the paper's proof (appendix 10.1); 1 - Π_s β1,s would leave no bias. Both are the
    same at t = 1 and as t grows.
    """

    def __init__(self, rule: Rule, decay: float) -> None:
        if rule.form().reduction is not None:
            raise ExperimentError(
                f"the stepsize of {type(rule).__name__} cannot be scheduled here: it depends on sums over "
                f"the parameters. Choose another rule"
            )
        self._rule, self._decay = rule, decay
        _, _, *names = inspect.signature(rule.form().update).parameters
        names = names[len(rule.form().slots) :]
        # Steps are proportional to a scalar of either name; a rule without one uses α in several scalars.
        step = "step" if "step" in names else "lr"
        for scheduled, name in [("α", step), *([("β1", "beta1")] if decay != 1 else [])]:
            if name not in names:
                raise ExperimentError(
                    f"{scheduled} of {type(rule).__name__} cannot be scheduled: its update has no scalar "
                    f"{name!r}, only {', '.join(names)}. Choose another rule, or for β1 λ = 1"
                )
        self._step = names.index(step)
        self._beta1 = names.index("beta1") if decay != 1 else None
        self.form = rule.form  # type: ignore[method-assign]

    def scalars(self, t: int, *carried: Any, **_: Any) -> tuple[float, ...]:
        scalars = list(self._rule.scalars(t, *carried))
        scalars[self._step] *= inverse_sqrt(t - 1)
        if self._beta1 is not None:
            beta1 = scalars[self._beta1] * self._decay ** (t - 1)
            scalars[self._beta1 : self._beta1 + 2] = beta1, 1 - beta1
        return tuple(scalars)


@dataclass(frozen=True)
class Online(Alone):
    """T rounds of an online problem with a rule: everything they depend on.

    The "epoch" of a record is a round, T; its other measures cover the rounds 1 to T: "regret", R(T), see
    `OnlineProblem.best`; "average_regret", R(T) / T; "best", the cost of the best fixed point a round; "x",
    the first element of θ_{T+1}; and the arguments of Theorem 4.1's bound: "root_v", Σ_i √v̂_{T,i}, for rules
    with a second moment; "gradient_norms", Σ_i ‖g_{1:T,i}‖₂; "diameter" and "widest", the sides of a box of
    all points, D and D∞; "gradient_bound", G∞; "dimensions", d.

    Args:
        problem: a module of `adamas.experiments.online_problems` ("stream" in configurations).
        options: that problem's options, as sorted pairs.
        rule: the update rule; its `lr` is the α of α / √t.
        decay: λ of β1,t = β1 λ^(t-1).
        rounds: T of the last record.
        seed: decides the costs.
        per_decade: the number of records a decade of rounds.
    """

    problem: str = field(metadata={"recorded_as": "stream"})
    options: tuple[tuple[str, Option], ...]
    rule: Rule
    decay: float
    rounds: int
    seed: int
    per_decade: int = 8

    @property
    def epochs(self) -> int:
        """The length, as the progress bar counts: in epochs of training that take about as long."""
        return max(1, self.rounds // ROUNDS_PER_EPOCH)

    def configuration(self) -> dict[str, Any]:
        version = {"version": VERSION} if VERSION > 1 else {}
        stream = online_problems.recorded_name(self.problem)
        return {"kind": "online", **version, **recorded_fields(self), "stream": stream}

    def defaults(self) -> dict[str, Any]:
        return {"rule": rule_defaults(self.rule)}

    def prepare(self) -> None:
        """Do nothing: the costs are made of random numbers."""

    def describe(self) -> str:
        options = ", ".join(f"{name} {value}" for name, value in self.options)
        rule = f"{type(self.rule).__name__} lr {self.rule.lr:g}/√t, λ {self.decay:g}"
        return f"{rule}, {self.problem} ({options}), {self.rounds:,} rounds, seed {self.seed}"

    def execute(self) -> Outcome:
        """Play; one thread is enough.

        Raises:
            ExperimentError: no such problem, or a rule that cannot be scheduled.
        """
        start = time.perf_counter()
        problem = online_problems.load(self.problem).build(self.seed, self.rounds, **dict(self.options))
        game = _Game(self.rule, self.decay, problem)
        epochs, clock = [game.measures()], [0.0]
        diverged = False
        for last in recorded_rounds(self.rounds, self.per_decade, problem.period):
            began = time.perf_counter()
            game.play(last)
            clock.append(clock[-1] + time.perf_counter() - began)
            epochs.append(game.measures())
            diverged = None in epochs[-1].values()
            if diverged:
                break
        status: Literal["done", "diverged"] = "diverged" if diverged else "done"
        return Outcome(status, tuple(epochs), tuple(clock), time.perf_counter() - start)


def recorded_rounds(rounds: int, per_decade: int, period: int) -> list[int]:
    """Return whole multiples of the period, so many a decade, to the last one within `rounds`."""
    cycles = rounds // period
    exponents = np.arange(math.ceil(per_decade * math.log10(max(cycles, 1))) + 1) / per_decade
    return sorted({min(round(10**exponent), cycles) * period for exponent in exponents} - {0})


class _Game:
    """The state of the rounds played so far."""

    def __init__(self, rule: Rule, decay: float, problem: OnlineProblem) -> None:
        self._rule, self._problem = Scheduled(rule, decay), problem
        self._beta2 = getattr(rule, "beta2", None) if getattr(rule, "bias_correction", True) else 0.0
        self._xp = np if isinstance(problem.start, np.ndarray) else Scalars
        # Not `reference.trajectory`, which knows no projection, and binds at every step: longer than a step
        # on the line takes.
        self._update = bind(rule.form().update, self._xp)
        self._point: Point = problem.start
        self._slots: Sequence[Any] = reference.init(rule, problem.start, self._xp)
        self._low: Point = problem.start
        self._high: Point = problem.start
        self._squares = 0.0 * problem.start
        self._cost, self._t = 0.0, 0

    def play(self, last: int) -> None:
        """Play the rounds to number `last`; f_t is charged at the point chosen before f_t was known."""
        problem, rule, update = self._problem, self._rule, self._update
        minimum, maximum = self._xp.minimum, self._xp.maximum
        point, slots, cost = self._point, self._slots, self._cost
        low, high, squares = self._low, self._high, self._squares
        for t in range(self._t + 1, last + 1):
            cost += problem.cost(t, point)
            gradient = problem.gradient(t, point)
            squares = squares + gradient * gradient
            point, *slots = update(point, gradient, *slots, *rule.scalars(t))
            point = problem.project(point)
            low, high = minimum(low, point), maximum(high, point)
        self._point, self._slots, self._cost = point, slots, cost
        self._low, self._high, self._squares, self._t = low, high, squares, last

    def measures(self) -> Mapping[str, float | None]:
        """Return the measures that `Online` names; before the first round, the point alone."""
        t, x = self._t, float(np.ravel(self._point)[0])
        if t == 0:
            return {"epoch": 0.0, "regret": None, "average_regret": None, "x": x}
        best, least = self._problem.best(t)
        # The theorem's proof needs D to bound the distances to the best point too, so the box includes that.
        sides = np.maximum(self._high, best) - np.minimum(self._low, best)
        measured = {
            "epoch": float(t),
            "regret": self._cost - least,
            "average_regret": (self._cost - least) / t,
            "best": least / t,
            "x": x,
            "gradient_norms": float(np.sum(np.sqrt(self._squares))),
            "diameter": float(np.sqrt(np.sum(sides * sides))),
            "widest": float(np.max(sides)),
            "gradient_bound": float(self._problem.gradient_bound),
            "dimensions": float(np.size(self._problem.start)),
            **self._root_v(t),
        }
        return {name: value if math.isfinite(value) else None for name, value in measured.items()}

    def _root_v(self, t: int) -> Mapping[str, float]:
        slots = dict(zip(self._rule.form().slots, self._slots, strict=True))
        v = slots.get("v_max", slots.get("v"))
        if v is None or self._beta2 is None:
            return {}
        return {"root_v": float(np.sum(np.sqrt(v / (1 - self._beta2**t))))}
