"""Noisy functions without a gradient: `adamas.minimize` beside a plain SPSA and noisyopt, and its overhead.

Each method gets the same number of evaluations, and the excess is the median of f(x) - f* without noise over
seeded runs from the standard starting points. Functions: Rosenbrock's, Beale's and Booth's, and the skewed
quartic of Spall (2003), "Introduction to Stochastic Search and Optimization", example 6.6; noise: additive
and normal, or relative and uniform as in Moré & Wild (2009), "Benchmarking derivative-free
optimization algorithms". Workloads do not matter.
"""

from __future__ import annotations

import math
import statistics
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import adamas
from adamas.rules import Adam

from ..machine import machine
from ..pairs import Bench
from ..progress import tell

WORKLOADS = ("rl-mlp",)
_EVALUATIONS = 2000
_ADDITIVE, _RELATIVE = 0.1, 1e-3

Fun = Callable[[Any], float]
Method = Callable[[Fun, Any, int], Any]


def _rosenbrock(x: Any) -> float:
    return float(100 * (x[1] - x[0] ** 2) ** 2 + (1 - x[0]) ** 2)


def _beale(p: Any) -> float:
    x, y = p
    return float((1.5 - x + x * y) ** 2 + (2.25 - x + x * y**2) ** 2 + (2.625 - x + x * y**3) ** 2)


def _booth(x: Any) -> float:
    return float((x[0] + 2 * x[1] - 7) ** 2 + (2 * x[0] + x[1] - 5) ** 2)


def _skewed_quartic(x: Any) -> float:
    y = np.cumsum(x[::-1])[::-1] / len(x)
    return float((y**2).sum() + 0.1 * (y**3).sum() + 0.01 * (y**4).sum())


FUNCTIONS: dict[str, tuple[Fun, tuple[float, ...]]] = {
    "Rosenbrock": (_rosenbrock, (-1.2, 1.0)),
    "Beale": (_beale, (1.0, 1.0)),
    "Booth": (_booth, (-3.0, 4.0)),
    "skewed quartic": (_skewed_quartic, (1.0,) * 10),
}


def run(workloads: Sequence[str], rounds: int, peers: bool) -> Bench:
    """Minimize every function with every method, `rounds` runs each; peers are those that are installed."""
    methods = {"adamas, spsa": _ours, "plain SPSA": _spsa}
    notes = [_overhead(n, rounds) for n in (2, 1000)]
    if peers:
        try:
            methods |= _noisyopt()
        except ImportError as reason:
            notes.append(f"not measured: noisyopt: {reason}; pip install 'adamas[bench]'")
    rows = []
    for name, (fun, x0) in FUNCTIONS.items():
        for noise in ("additive", "relative"):
            tell(f"{name}, {noise} noise")
            row: dict[str, Any] = {"function": name, "noise": noise, "evaluations": _EVALUATIONS}
            for label, method in methods.items():
                row[label] = statistics.median(_excess(fun, noise, x0, method, k) for k in range(rounds))
            rows.append(row)
    return Bench("Noisy functions: f(x) - f*, the median of the runs", rows, machine(), notes)


def _excess(fun: Fun, noise: str, x0: Sequence[float], method: Method, seed: int) -> float:
    random = np.random.default_rng(seed)

    def noisy(x: Any, **_: Any) -> float:
        value = fun(x)
        if noise == "additive":
            return value + _ADDITIVE * random.standard_normal()
        return value * (1 + _RELATIVE * random.uniform(-1, 1))

    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # those of the peers
        try:
            found = fun(np.asarray(method(noisy, np.array(x0), seed)))
        except (ArithmeticError, ValueError):
            return math.inf
    return found if math.isfinite(found) else math.inf


def _ours(fun: Fun, x0: Any, seed: int) -> Any:
    given: dict[str, Any] = {"maxiter": _EVALUATIONS // 2 - 1, "stationary": False, "tol": 0}
    return adamas.minimize(fun, x0, rule=Adam(lr=0.05), diff_step=0.1, seed=seed, **given).x


def _spsa(fun: Fun, x0: Any, seed: int) -> Any:
    """Spall's algorithm with his gains; a makes the first steps about 0.05, as he advises."""
    random, x, steps = np.random.default_rng([seed, 1]), x0.copy(), _EVALUATIONS // 2

    def gradient(k: int) -> Any:
        shift = 0.1 / (k + 1) ** 0.101 * random.choice([-1.0, 1.0], x.size)
        return (fun(x + shift) - fun(x - shift)) / (2 * shift)

    first = np.mean([np.abs(gradient(0)) for _ in range(10)])
    a = 0.05 * (0.1 * steps + 1) ** 0.602 / first
    for k in range(steps - 10):
        x -= a / (0.1 * steps + k + 1) ** 0.602 * gradient(k)
    return x


def _noisyopt() -> dict[str, Method]:
    from noisyopt import minimizeCompass, minimizeSPSA

    def spsa(fun: Fun, x0: Any, seed: int) -> Any:
        np.random.seed(seed)  # it draws from the global generator
        return minimizeSPSA(fun, x0=x0, niter=_EVALUATIONS // 2, paired=False, a=0.01, c=0.1).x

    def compass(fun: Fun, x0: Any, seed: int) -> Any:
        """Stop it by an exception, since it has no limit of evaluations."""
        np.random.seed(seed)
        best, left = [x0.copy()], _EVALUATIONS

        def counted(x: Any, **_: Any) -> float:
            nonlocal left
            left -= 1
            if left < 0:
                raise StopIteration
            return fun(x)

        try:
            options = {"deltatol": 0.01, "paired": False, "errorcontrol": True}
            return minimizeCompass(counted, x0=x0, callback=lambda x: best.append(x.copy()), **options).x
        except StopIteration:
            return best[-1]

    return {"noisyopt, SPSA": spsa, "noisyopt, compass": compass}


def _overhead(n: int, rounds: int) -> str:
    """The time of an iteration beyond that of the function, which returns what is there already."""
    g = np.random.default_rng(0).standard_normal(n)
    x0, steps, found = np.ones(n), 20_000, []

    def fun(x: Any) -> tuple[float, Any]:
        return 1.0, g

    for _ in range(max(3, min(rounds, 10))):
        start = time.perf_counter()
        adamas.minimize(fun, x0, jac=True, rule=Adam(), maxiter=steps, tol=0)
        found.append((time.perf_counter() - start) / steps)
    return f"overhead an iteration, {n} elements: {min(found) * 1e6:.1f} µs, the fastest of {len(found)} runs"
