"""Weight decay and noise settle at a size of the parameters that Adam's hyperparameters alone decide.

Gradients of pure noise, of standard deviation σ, leave √v̂ near σ. A step is then θ ← ρ θ - η m / σ
with ρ = 1 - η λ, an autoregression driven by m, itself one of the noise. Its variance, in closed form,
is

    η² (1 - β1)² (1 + ρ β1) / ((1 - ρ²)(1 - β1²)(1 - ρ β1)),

which tends to η / (2 λ) where η λ is small beside 1 - β1.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from adamas.backends import Envelope, reference
from adamas.rules import Adam

from ..bootstrap import Estimate, mean_of
from ..findings import verdict
from . import Comparison, Learned, Value

ELEMENTS, BLOCKS = 4_000, 50  # parameters, and the groups of them that the interval is over
TIMES = 4.0  # of the memory 1 / (η λ), after which e^-8 of the variance is missing
WITHIN = (0.95, 1.05)  # of the prediction; ours
SMALL = 1 / 20  # of 1 - β1: how small η λ must be for the limit; ours


@dataclass(frozen=True)
class Case:
    """The hyperparameters."""

    eta: float
    decay: float
    beta1: float = 0.9
    beta2: float = 0.999

    @property
    def in_limit(self) -> bool:
        """Whether η λ is small beside 1 - β1."""
        return self.eta * self.decay <= SMALL * (1 - self.beta1)

    def __str__(self) -> str:
        return f"η {self.eta:g}, λ {self.decay:g}, β1 {self.beta1:g}"


CASES = (Case(1e-2, 0.2), Case(1e-3, 1.0), Case(1e-2, 0.5, 0.5), Case(1e-3, 5.0, 0.0), Case(0.1, 1.0))


def limit(case: Case) -> float:
    """Return √(η / 2 λ)."""
    return float(np.sqrt(case.eta / (2 * case.decay)))


def exact(case: Case) -> float:
    """Return the root of the variance of the autoregression."""
    rho, beta1 = 1 - case.eta * case.decay, case.beta1
    variance = (1 - beta1) ** 2 * (1 + rho * beta1) / ((1 - rho**2) * (1 - beta1**2) * (1 - rho * beta1))
    return float(case.eta * np.sqrt(variance))


def squares(case: Case) -> np.ndarray:
    """Return θ² at equilibrium of independent parameters, as means over blocks of them."""
    random = np.random.default_rng(0)
    rule = Adam(case.eta, case.beta1, case.beta2, 1e-12)
    envelope = Envelope(decay_factor=1 - case.eta * case.decay)
    # v starts at its mean, as after a long training: its first values are few and far from it.
    slots = (np.zeros(ELEMENTS), np.ones(ELEMENTS))
    steps = int(TIMES / (case.eta * case.decay))
    states = reference.trajectory(
        Adam(rule.lr, rule.beta1, rule.beta2, rule.eps, bias_correction=False),
        np.zeros(ELEMENTS),
        lambda t, p: random.normal(size=ELEMENTS),
        steps,
        slots=slots,
        envelope=envelope,
    )
    last = next(itertools.islice(states, steps, None))
    found: np.ndarray = (last.p**2).reshape(BLOCKS, -1).mean(axis=1)
    return found


def size(case: Case) -> Estimate:
    """Return the RMS of the parameters over its limit, with an interval over blocks."""
    square = mean_of(squares(case) / limit(case) ** 2)
    low, high = square.interval or (square.value, square.value)
    return Estimate(float(np.sqrt(square.value)), (float(np.sqrt(max(low, 0.0))), float(np.sqrt(high))))


def measure() -> Comparison:
    """Measure the size at equilibrium, where the limit holds and where it does not."""
    values, held, texts = [], [], []
    for case in CASES:
        found, predicted = size(case), limit(case)
        values.append(Value(f"{case}: limit", predicted, found.value * predicted))
        values.append(Value(f"{case}: exact", exact(case), found.value * predicted))
        if case.in_limit:
            held.append(found.within(*WITHIN))
        texts.append(f"{found:.3f} ({case}{'' if case.in_limit else ', where η λ is not small'})")
        ratio = exact(case) / predicted
        held.append(found.within(WITHIN[0] * ratio, WITHIN[1] * ratio))
    return Comparison(
        f"the RMS of {ELEMENTS:,} parameters over √(η / 2 λ): {'; '.join(texts)} (within 5 %, ours; also "
        "of the closed form, which holds for every η λ)",
        verdict(held),
        values,
    )


CLAIM = Learned(
    "Under noise, AdamW's parameters settle at a root mean square of √(η / 2 λ)",
    "Kosson, Messmer & Jaggi 2023, arXiv 2305.17212; the closed form is derived here",
    "RMS(θ) → √(η / (2 λ)) where η λ ≪ 1 - β1",
    measure,
    read=False,
)
