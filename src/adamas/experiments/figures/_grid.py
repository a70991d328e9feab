"""Hyperparameters and grids that the figures of the paper's experiments have in common.

Section 6 searches hyperparameters, "such as learning rate and momentum", over a dense grid that it does not
give: the values here are open.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import product

from adamas.rules import SGD, Adadelta, Adagrad, Adam, RMSprop, Rule

__all__ = ["DIGITS_SHIFT", "SEARCHED", "adadelta", "adagrad", "adam", "nesterov", "powers", "rmsprop"]

EPS = 1e-8  # the paper's for Adam (Algorithm 1); open for AdaGrad and RMSProp
BETA1S, BETA2S = (0.9, 0.95, 0.99), (0.999, 0.99)  # the paper's "good default settings" first (Algorithm 1)
MOMENTA = (0.9, 0.95, 0.99)
RMSPROP_DECAYS = (0.99, 0.9, 0.999)
ADADELTA_DECAYS, ADADELTA_EPS = (0.95, 0.9, 0.99), 1e-6  # those of AdaDelta's paper first
DIGITS_SHIFT = 0.5  # the demos' digits are few, so there are fewer steps, and they must be larger

# The fields of rules that are searched beside `lr`, and their names for people.
SEARCHED = {"beta1": "β1", "beta2": "β2", "momentum": "momentum", "alpha": "decay", "rho": "ρ"}


def powers(exponents: Iterable[float], shift: float = 0.0) -> list[float]:
    """Return ten to these exponents plus a shift, to the three digits that are displayed."""
    return [float(f"{10 ** (exponent + shift):.3g}") for exponent in exponents]


def adam(lrs: Sequence[float], beta2s: Sequence[float] = BETA2S) -> list[Rule]:
    """Return Adam with these stepsizes, every β1 and these β2."""
    return [Adam(lr=lr, beta1=one, beta2=two, eps=EPS) for one, two, lr in product(BETA1S, beta2s, lrs)]


def adagrad(lrs: Sequence[float]) -> list[Rule]:
    """Return AdaGrad with these stepsizes, its only hyperparameter."""
    return [Adagrad(lr=lr, eps=EPS) for lr in lrs]


def rmsprop(lrs: Sequence[float]) -> list[Rule]:
    """Return RMSProp with these stepsizes and every decay of its mean square."""
    return [RMSprop(lr=lr, alpha=decay, eps=EPS) for decay, lr in product(RMSPROP_DECAYS, lrs)]


def nesterov(lrs: Sequence[float]) -> list[Rule]:
    """Return SGD with Nesterov momentum, with these stepsizes and every momentum."""
    return [SGD(lr=lr, momentum=momentum, nesterov=True) for momentum, lr in product(MOMENTA, lrs)]


def adadelta(lrs: Sequence[float]) -> list[Rule]:
    """Return AdaDelta with these stepsizes and every decay."""
    return [Adadelta(lr=lr, rho=rho, eps=ADADELTA_EPS) for rho, lr in product(ADADELTA_DECAYS, lrs)]
