"""The rules that every check runs on: each of the package, found by discovery, its variants, a user's own."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from gpu_support import BACKENDS

import adamas.rules
from adamas.backends import (
    Envelope,
    factors_of,
    host_carry,
    host_scalars,
    reference,
    row_elements,
    text_key,
)
from adamas.backends.numba import SumsJob, ThreadPool
from adamas.rules import (
    MARS,
    NONNEGATIVE,
    SGD,
    SIGNED,
    AdaBound,
    Adagrad,
    Adam,
    AdaMax,
    AdEMAMix,
    AMSGrad,
    NAdam,
    RMSprop,
    Rule,
    ScheduleFreeAdamW,
    SimplifiedAdEMAMix,
    xp,
)

HALF = 0.5
WHOLE = 2
NUMPY_FLOAT = np.float64(0.25)


def soften(x, amount):
    """Stretches x by a factor between 1 and 1 + `amount`; calls a helper of its own."""
    return x * (1 + amount / (1.5 + squared(x)))


def squared(x):
    return x**2


def triple(x):
    return 3 * x


def root_of(x):
    return xp.sqrt(x)


@dataclass(frozen=True)
class OwnRule(Rule):
    """A user's rule with all that an update may hold: constants, literals, powers, helpers, `xp`."""

    lr: float = 1e-3
    beta: float = 0.75
    slots = {"m": SIGNED, "u": NONNEGATIVE.filled(0.5)}

    def scalars(self, t):
        return self.lr, self.beta, 1 - self.beta

    @staticmethod
    def update(p, g, m, u, lr, beta, one_minus_beta):
        """A docstring, which a kernel leaves out."""
        m = beta * m + one_minus_beta * g
        u = xp.minimum(xp.maximum(beta * u, NUMPY_FLOAT * xp.abs(g)), 8 + 0 * u)
        step = xp.where(m**2 > 1e-6, soften(m, HALF), m) / (xp.sqrt(u) + 0.125)
        return p - lr * (step + 0.01 * xp.sign(g) * WHOLE), m, u


RULES: dict[str, type[Rule]] = {
    name: member
    for name in adamas.rules.__all__
    if inspect.isclass(member := getattr(adamas.rules, name))
    and issubclass(member, Rule)
    and member is not Rule
}

CASES: dict[str, Rule] = {
    **{name: rule() for name, rule in RULES.items()},
    "SGD-momentum": SGD(momentum=0.9),
    "SGD-dampening": SGD(momentum=0.9, dampening=0.25),
    "SGD-nesterov": SGD(momentum=0.9, nesterov=True),
    "RMSprop-momentum": RMSprop(momentum=0.9),
    "RMSprop-centered": RMSprop(centered=True),
    "RMSprop-centered-momentum": RMSprop(centered=True, momentum=0.9),
    "Adam-hat": Adam(eps_placement="hat"),
    "Adam-inside": Adam(eps_placement="inside"),
    "Adam-uncorrected": Adam(bias_correction=False),
    "AMSGrad-uncorrected": AMSGrad(bias_correction=False),
    "AdaMax-eps": AdaMax(eps=1e-8),
    "Adagrad-decay": Adagrad(lr_decay=0.1, initial_accumulator_value=0.25),
    "NAdam-constant": NAdam(momentum_decay=1e6),
    "AdEMAMix-warm": AdEMAMix(warmup=5),
    "SimplifiedAdEMAMix-warm": SimplifiedAdEMAMix(alpha=2, warmup=5),
    "ScheduleFreeAdamW-warm": ScheduleFreeAdamW(warmup=5, r=1),
    "AdaBound-tight": AdaBound(gamma=0.1),
    "MARS-unclipped": MARS(clip=False),
    "OwnRule": OwnRule(),
}

# Rules whose roundings grow: Prodigy's d is a quotient of sums that cancel, and every term has it.
AMPLIFIES = {"Prodigy"}

# The first step that moves parameters, of rules for which it is not the first.
BEGINS = {"ADOPT": 2}

# One case for each kernel, that is for each `update`: for checks of what is generated. Rules with sums, whose
# steps are two kernels, have checks of their own.
FORMS: dict[str, Rule] = {}
for _name, _rule in CASES.items():
    _known = [text_key(other.form().update) for other in FORMS.values()]
    if _rule.form().reduction is None and text_key(_rule.form().update) not in _known:
        FORMS[_name] = _rule

every_case = pytest.mark.parametrize("name", CASES)
every_form = pytest.mark.parametrize("name", FORMS)
every_dtype = pytest.mark.parametrize("dtype", [np.dtype(np.float32), np.dtype(np.float64)], ids=str)


def with_lr(rule: Rule, lr: float) -> Rule:
    """The same rule with another stepsize."""
    return dataclasses.replace(rule, lr=lr)  # type: ignore[call-arg]


def has_sums(rule: Rule) -> bool:
    """Whether a step of the rule depends on sums over its tensor."""
    return rule.form().reduction is not None


def state_names(rule: Rule) -> list[str]:
    """The names of the arrays of `reference.init`: slots, then what the rule keeps of its sums."""
    form = rule.form()
    return [*form.slots, *(form.reduction.kept if form.reduction is not None else ())]


def undecayed(rule: Rule) -> Rule:
    """The same rule without decay of its own."""
    return dataclasses.replace(rule, weight_decay=0.0) if hasattr(rule, "weight_decay") else rule


def gradients(steps: int, n: int, seed: int = 0) -> np.ndarray:
    """Gradients whose sizes span five decades; each is a float32 number, so that all dtypes see the same."""
    random = np.random.default_rng(seed)
    sizes = 10.0 ** random.uniform(-3, 2, n)
    return (random.standard_normal((steps, n)) * sizes).astype(np.float32).astype(np.float64)


def parameters(n: int, seed: int = 1) -> np.ndarray:
    """Parameters of the order of one; each is a float32 number."""
    return np.random.default_rng(seed).standard_normal(n).astype(np.float32).astype(np.float64)


def run_reference(
    rule: Rule, p: Any, grads: Sequence[Any], envelope: Envelope = Envelope(), namespace: Any = np
) -> list[tuple[Any, ...]]:
    """`(p, *slots)` before the first step and after every one."""
    history = [(p, *reference.init(rule, p, namespace))]
    carried = tuple(rule.carried.values())
    for t, g in enumerate(grads, start=1):
        carried = host_carry(rule, t, *carried)
        p, *slots = history[-1]
        history.append(reference.step(rule, t, p, g, slots, carried=carried, envelope=envelope, xp=namespace))
    return history


class Driver:
    """Kernels over NumPy arrays, through the public seam alone: the smallest front end there can be."""

    def __init__(
        self,
        rule: Rule,
        params: Sequence[np.ndarray],
        envelope: Envelope = Envelope(),
        *,
        threads: int = 1,
        rows: Sequence[int] | None = None,
        dtype: np.dtype | None = None,
        backend: str = "numba",
        **job_options: int,
    ) -> None:
        compile_rule, job = BACKENDS[backend]
        self.rule, self.envelope, self.pool = rule, envelope, ThreadPool(threads)
        self.params = list(params)
        initial = [slot.initial for slot in rule.form().slots.values()]
        self.slots = [[np.full_like(p, x) for x in initial] for p in params]
        cautious = envelope.cautious_decay != 0
        kernel = compile_rule(rule, dtype or params[0].dtype, cautious=cautious)
        self._around = envelope if cautious else envelope[:-1]
        reduction = rule.form().reduction
        more: dict[str, Any] = dict(job_options)
        if reduction is not None:
            more["units"] = [row_elements(p.shape, reduction.scope) for p in params]
        self.job = job(kernel, [p.size for p in params], rows or [0] * len(params), **more)
        self.sums = None if reduction is None else SumsJob(self.job, rule)
        if self.sums is not None:
            self.kept[...] = list(rule.form().reduction.kept.values())  # type: ignore[union-attr]
        self.t, self.carried = 0, tuple(rule.carried.values())

    def step(self, *grads: np.ndarray, rules: Sequence[Rule] | None = None) -> None:
        """One step of every parameter, in place; row k of the scalars is that of `rules[k]`."""
        self.t += 1
        self.carried = host_carry(self.rule, self.t, *self.carried)
        for row, rule in enumerate(rules or [self.rule]):
            self.job.write_scalars(row, *self._around, *host_scalars(rule, self.t, *self.carried))
        tensors = zip(self.params, grads, self.slots, strict=True)
        self.job.write_table([array.ctypes.data for p, g, slots in tensors for array in (p, g, *slots)])
        if self.sums is not None:
            self.measure(host_scalars(self.rule, self.t, *self.carried))
        self.job.run(self.pool)

    @property
    def kept(self) -> np.ndarray:
        """What the rule has kept of its sums, of shape (units, values)."""
        reduction = self.rule.form().reduction
        if self.sums is None or reduction is None:
            return np.zeros((len(self.params), 0))
        return self.sums.kept[:, : len(reduction.kept)]

    def measure(self, scalars: Sequence[float]) -> None:
        """Make factors of the sums of this step; each tensor is a group."""
        assert self.sums is not None
        reduction = self.rule.form().reduction
        assert reduction is not None
        sums, kept = self.sums.measure(self.pool), self.kept.astype(np.float64)
        for k, x in enumerate(factors_of(reduction, list(sums.T), scalars, list(kept.T))):
            self.job.factors[:, k] = x
        self.kept[...] = self.job.factors[:, : kept.shape[1]]


def run_kernel(
    rule: Rule, p: np.ndarray, grads: np.ndarray, envelope: Envelope = Envelope(), **options: Any
) -> tuple[np.ndarray, ...]:
    """`(p, *slots)` after the steps, from a copy of `p`, in the dtype of `p`."""
    driver = Driver(rule, [p.copy()], envelope, **options)
    for g in grads.astype(p.dtype):
        driver.step(g)
    return (driver.params[0], *driver.slots[0], *driver.kept.T)
