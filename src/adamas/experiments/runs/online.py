"""Online convex optimization: a stream of costs, a rule and a seed in, regret out (section 4)."""

from __future__ import annotations

import dataclasses
import inspect
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np

from adamas.backends import bind, reference
from adamas.rules import Rule
from adamas.schedules import inverse_sqrt

from .. import ExperimentError, streams
from ..problems import Option
from ..streams import Point, Stream
from . import Outcome

__all__ = ["Online", "Scheduled", "recorded_rounds"]

# Of what runs are made of: this module and `streams`. To be counted up with every change there that changes
# results, else records of before pass for results of now. The first version is not part of a configuration,
# so that records are found again that are older than this constant.
VERSION = 1
ROUNDS_PER_EPOCH = (
    10_000  # an estimate: a round takes some ten microseconds, an epoch some tenths of a second
)


class Scalars:
    """The namespace of Python's floats, for points on the line: NumPy's bits in a tenth of the time."""

    sqrt = staticmethod(math.sqrt)
    abs = staticmethod(abs)
    maximum = staticmethod(max)
    minimum = staticmethod(min)

    @staticmethod
    def where(condition: bool, one: float, other: float) -> float:
        """The one or the other."""
        return one if condition else other

    @staticmethod
    def full_like(point: float, value: float) -> float:
        """One element is all there is."""
        return value


class Scheduled(Rule):
    """A rule as Theorem 4.1 has it: α_t = α / √t, and β1,t = β1 λ^(t-1) where m is updated.

    Args:
        rule: its `lr` is α, its `beta1`, if it has one, is β1.
        decay: λ; with 1, β1 stays.

    Raises:
        ExperimentError: α or, unless λ is 1, β1 of this rule is no scalar of its update by itself.

    The paper does not say what 1 - β1^t becomes while β1 decays. Here it stays as Algorithm 1 prints it, with
    the constant β1, as in the paper's proof (appendix 10.1); what would leave no bias is 1 - Π_s β1,s. Both
    are the same at t = 1 and as t grows.
    """

    def __init__(self, rule: Rule, decay: float) -> None:
        self._rule, self._decay = rule, decay
        _, _, *names = inspect.signature(rule.form().update).parameters
        names = names[len(rule.form().slots) :]
        # Steps are proportional to a scalar of either name; a rule without one has α in more than one scalar.
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
class Online:
    """T rounds of a stream with a rule: everything they depend on.

    "epoch" of a record is a round, T, and the others are of the rounds 1 to T: "regret", R(T), see
    `Stream.best`; "average_regret", R(T) / T; "best", the cost of the best fixed point a round; "x", the
    first element of θ_{T+1}; and what `bounds` takes: "root_v", Σ_i √v̂_{T,i}, of rules with a second moment;
    "gradient_norms", Σ_i ‖g_{1:T,i}‖₂; "diameter" and "widest", the sides of a box of all points: D and D∞.

    Args:
        stream: a module of `adamas.experiments.streams`.
        options: that stream's options, as sorted pairs.
        rule: the update rule; its `lr` is the α of α / √t.
        decay: λ of β1,t = β1 λ^(t-1).
        rounds: T of the last record.
        seed: of the stream.
        per_decade: records a decade of rounds.
    """

    stream: str
    options: tuple[tuple[str, Option], ...]
    rule: Rule
    decay: float
    rounds: int
    seed: int
    per_decade: int = 8

    @property
    def epochs(self) -> int:
        """How long it is, as the progress bar counts: in epochs of training that take about as long."""
        return max(1, self.rounds // ROUNDS_PER_EPOCH)

    def configuration(self) -> dict[str, Any]:
        """The run as plain data: what a record keeps, and what its name is the hash of."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        rule = {"name": type(self.rule).__name__, **dataclasses.asdict(cast(Any, self.rule))}
        version = {"version": VERSION} if VERSION > 1 else {}
        return {"kind": "online", **version, **values, "options": dict(self.options), "rule": rule}

    def prepare(self) -> None:
        """Streams are made of random numbers: there is nothing to get."""

    def describe(self) -> str:
        options = ", ".join(f"{name} {value}" for name, value in self.options)
        rule = f"{type(self.rule).__name__} lr {self.rule.lr:g}/√t, λ {self.decay:g}"
        return f"{rule}, {self.stream} ({options}), {self.rounds:,} rounds, seed {self.seed}"

    def execute(self) -> Outcome:
        """Plays; one thread is enough.

        Raises:
            ExperimentError: no such stream, or a rule that cannot be scheduled.
        """
        start = time.perf_counter()
        stream = streams.load(self.stream).build(self.seed, self.rounds, **dict(self.options))
        game = _Game(self.rule, self.decay, stream)
        epochs, clock = [game.measures()], [0.0]
        diverged = False
        for last in recorded_rounds(self.rounds, self.per_decade, stream.period):
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
    """Whole multiples of the period, so many a decade, to the last one within `rounds`."""
    cycles = rounds // period
    exponents = np.arange(math.ceil(per_decade * math.log10(max(cycles, 1))) + 1) / per_decade
    return sorted({min(round(10**exponent), cycles) * period for exponent in exponents} - {0})


class _Game:
    """The state of the rounds played so far."""

    def __init__(self, rule: Rule, decay: float, stream: Stream) -> None:
        self._rule, self._stream = Scheduled(rule, decay), stream
        self._beta2 = getattr(rule, "beta2", None) if getattr(rule, "bias_correction", True) else 0.0
        self._xp = np if isinstance(stream.start, np.ndarray) else Scalars
        # Bound once: `reference.step` binds at every step, which takes longer than a step on the line.
        self._update = bind(rule.form().update, self._xp)
        self._point: Point = stream.start
        self._slots: Sequence[Any] = reference.init(rule, stream.start, self._xp)
        self._low: Point = stream.start
        self._high: Point = stream.start
        self._squares = 0.0 * stream.start
        self._cost, self._t = 0.0, 0

    def play(self, last: int) -> None:
        """Rounds to number `last`: f_t is charged at the point that was there before it was known."""
        stream, rule, update = self._stream, self._rule, self._update
        minimum, maximum = self._xp.minimum, self._xp.maximum
        point, slots, cost = self._point, self._slots, self._cost
        low, high, squares = self._low, self._high, self._squares
        for t in range(self._t + 1, last + 1):
            cost += stream.cost(t, point)
            gradient = stream.gradient(t, point)
            squares = squares + gradient * gradient
            point, *slots = update(point, gradient, *slots, *rule.scalars(t))
            point = stream.project(point)
            low, high = minimum(low, point), maximum(high, point)
        self._point, self._slots, self._cost = point, slots, cost
        self._low, self._high, self._squares, self._t = low, high, squares, last

    def measures(self) -> Mapping[str, float | None]:
        """See `Online`; before the first round there is the point alone."""
        t, x = self._t, float(np.ravel(self._point)[0])
        if t == 0:
            return {"epoch": 0.0, "regret": None, "average_regret": None, "x": x}
        best, least = self._stream.best(t)
        # The proof of the theorem needs D of the distances to the best point too, so the box has it as well.
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
            **self._root_v(t),
        }
        return {name: value if math.isfinite(value) else None for name, value in measured.items()}

    def _root_v(self, t: int) -> Mapping[str, float]:
        slots = dict(zip(self._rule.form().slots, self._slots, strict=True))
        v = slots.get("v_max", slots.get("v"))
        if v is None or self._beta2 is None:
            return {}
        return {"root_v": float(np.sum(np.sqrt(v / (1 - self._beta2**t))))}
