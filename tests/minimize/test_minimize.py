"""Minima, structures and types; every rule; batches, bounds and averages."""

from __future__ import annotations

import threading
import warnings
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pytest

pytest.importorskip("scipy", reason="adamas.minimize returns SciPy's results")

from minimize_support import PROBLEMS, quadratic
from rule_cases import CASES, every_case
from scipy.optimize import Bounds

import adamas
from adamas.backends import reference
from adamas.rules import SGD, SIGNED, Adam, Rule, xp
from adamas.schedules import inverse_sqrt

bowl = quadratic(1.0, 4.0)


@pytest.mark.parametrize("name", PROBLEMS)
def test_a_minimum_is_found_without_noise(name: str) -> None:
    problem = PROBLEMS[name]
    done = adamas.minimize(problem.fun, problem.x0, jac=True, rule=Adam(lr=0.02), maxiter=30_000)
    assert (done.success, done.status) == (True, 0), done.message
    assert problem.value(done.x) < 1e-6
    assert done.fun == problem.value(done.x)
    assert np.array_equal(done.jac, problem.fun(done.x)[1])
    assert done.nfev == done.njev == done.nit + 1


@every_case
def test_every_rule_takes_the_steps_of_the_reference(name: str) -> None:
    x0 = np.array([1.0, -2.0])
    done = adamas.minimize(bowl, x0, jac=True, rule=CASES[name], maxiter=30, tol=0)
    *_, last = reference.trajectory(CASES[name], x0, lambda t, x: bowl(x)[1], 30)
    np.testing.assert_allclose(done.x, last.p, rtol=1e-9, atol=1e-12)
    assert done.nit == 30
    assert x0.tolist() == [1.0, -2.0]


def test_a_rule_that_cannot_become_a_kernel_warns_once_and_steps_all_the_same() -> None:
    @dataclass(frozen=True)
    class Sorted(Rule):
        lr: float = 0.1
        slots = {"m": SIGNED}

        def scalars(self, t: int) -> tuple[float, ...]:
            return (self.lr,)

        @staticmethod
        def update(p, g, m, lr):  # type: ignore[no-untyped-def]
            m = m + np.tanh(g) * 0 + g
            return p - lr * xp.sign(m), m

    with pytest.warns(RuntimeWarning, match="no kernel for this rule") as told:
        done = adamas.minimize(bowl, [1.0, -2.0], jac=True, rule=Sorted(), maxiter=5, average=0.5)
    assert len(told) == 1
    assert told[0].filename == __file__
    np.testing.assert_allclose(done.x, [0.5, -1.5])


class Pair(NamedTuple):
    a: Any
    b: Any


@pytest.mark.parametrize(
    "x0",
    [
        np.float64(3.0),
        2.0,
        [3.0],
        [1, 2],
        np.ones((2, 3)),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        {"w": np.ones(3), "b": 2.0},
        [np.ones(2), {"x": (np.ones(1), np.zeros((2, 2)))}],
        Pair(np.ones(2), np.ones((1, 2))),
    ],
    ids=str,
)
def test_x_has_the_structure_of_x0(x0: Any) -> None:
    def squares(tree: Any) -> tuple[float, Any]:
        if isinstance(tree, dict):
            parts = {key: squares(child) for key, child in tree.items()}
            return sum(f for f, _ in parts.values()), {key: g for key, (_, g) in parts.items()}
        if isinstance(tree, (list, tuple)):
            each = [squares(child) for child in tree]
            return sum(f for f, _ in each), [g for _, g in each]
        assert isinstance(tree, np.ndarray)
        return float(((tree - 5) ** 2).sum()), 2 * (tree - 5)

    done = adamas.minimize(squares, x0, jac=True, rule=Adam(lr=0.05), average=0.9, tol=1e-3)
    assert done.success

    def check(mine: Any, given: Any) -> None:
        if isinstance(given, dict):
            assert list(mine) == list(given)
            for key in given:
                check(mine[key], given[key])
        elif isinstance(given, tuple) or (isinstance(given, list) and isinstance(given[0], np.ndarray)):
            assert type(mine) is type(given)
            for own, other in zip(mine, given, strict=True):
                check(own, other)
        else:
            assert mine.shape == np.shape(given)
            assert mine.dtype == np.float64
            np.testing.assert_allclose(mine, 5, atol=0.05)

    for tree in (done.x, done.x_average):
        check(tree, x0)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int32", ">f8"])
def test_x_has_the_type_of_x0_and_integers_become_floats(dtype: str) -> None:
    kinds = set()

    def fun(x: np.ndarray) -> tuple[float, np.ndarray]:
        kinds.add(x.dtype)
        return float((x.astype(float) ** 2).sum()), 2 * x

    done = adamas.minimize(fun, np.array([3, -2], dtype), jac=True, rule=Adam(lr=0.05), seed=0, tol=0.05)
    expected = np.dtype(dtype).newbyteorder("=") if dtype != "int32" else np.dtype(np.float64)
    assert done.success
    assert kinds == {done.x.dtype} == {expected}
    assert np.abs(done.x).max() < 0.1


def test_leaves_keep_their_own_types() -> None:
    x0 = {"a": np.ones(2, np.float32), "b": np.ones(2)}

    def fun(x: Any) -> tuple[float, Any]:
        assert (x["a"].dtype, x["b"].dtype) == (np.float32, np.float64)
        return float((x["a"] ** 2).sum() + (x["b"] ** 2).sum()), {"b": 2 * x["b"], "a": 2 * x["a"]}

    assert adamas.minimize(fun, x0, jac=True, maxiter=3).x["a"].dtype == np.float32


def test_fun_may_change_or_keep_its_x() -> None:
    kept = []

    def fun(x: np.ndarray) -> tuple[float, np.ndarray]:
        found = bowl(x)
        kept.append(x)
        x.fill(np.nan)
        return found

    plain = adamas.minimize(bowl, [1.0, 2.0], jac=True, maxiter=10)
    assert np.array_equal(adamas.minimize(fun, [1.0, 2.0], jac=True, maxiter=10).x, plain.x)
    assert len({x.ctypes.data for x in kept}) == len(kept)


@pytest.mark.parametrize(
    ("jac", "evaluations"), [("2-point", 4), ("spsa", 2), (None, 2), (lambda x: 2 * (x - 3), 1)]
)
def test_gradients_from_values_count_their_evaluations(jac: Any, evaluations: int) -> None:
    calls = 0

    def fun(x: np.ndarray) -> float:
        nonlocal calls
        calls += 1
        return float(((x - 3) ** 2).sum())

    done = adamas.minimize(fun, [1.0, 2.0, 4.0], jac=jac, seed=1, rule=Adam(lr=0.05), tol=1e-3)
    assert done.success, done.message
    np.testing.assert_allclose(done.x, 3, atol=0.01)
    assert done.nfev == calls == evaluations * (done.nit + 1)
    assert done.njev == (done.nit + 1 if callable(jac) else 0)


def test_a_schedule_is_the_factor_on_the_step_size() -> None:
    rule = SGD(lr=0.1)
    done = adamas.minimize(bowl, [1.0, 2.0], jac=True, rule=rule, schedule=inverse_sqrt, maxiter=3)
    x = np.array([1.0, 2.0])
    for taken in range(3):
        x = x - 0.1 / np.sqrt(taken + 1) * bowl(x)[1]
    np.testing.assert_allclose(done.x, x)
    assert done.rule == rule
    frozen = adamas.minimize(bowl, [1.0, 2.0], jac=True, rule=rule, schedule=0, maxiter=3)
    assert frozen.x.tolist() == [1.0, 2.0]


def test_the_default_step_size_goes_with_the_scale_of_x0_and_is_told() -> None:
    def fun(x: np.ndarray, unit: float) -> tuple[float, np.ndarray]:
        return float(((x / unit - 2) ** 2).sum()), 2 * (x / unit - 2) / unit

    small = adamas.minimize(fun, np.ones(3), (1.0,), jac=True, maxiter=50, tol=0)
    large = adamas.minimize(fun, 1e6 * np.ones(3), 1e6, jac=True, maxiter=50, tol=0, rule=None)
    assert large.rule.lr == pytest.approx(1e4)
    assert "the step size was 1e+04, by the scale of x0" in large.message
    np.testing.assert_allclose(large.x, 1e6 * small.x, rtol=1e-2)
    assert adamas.minimize(fun, np.zeros(3), (1.0,), jac=True, maxiter=1).rule.lr == 0.01


@pytest.mark.parametrize(
    "bounds", [Bounds(1, 3), Bounds([1, 1], [3, 3]), [(1, 3), (1, None)], np.array([[1, 3], [1, 3]])]
)
@pytest.mark.parametrize("jac", [True, "2-point", "spsa"])
def test_bounds_hold_at_every_evaluation(bounds: Any, jac: Any) -> None:
    def fun(x: np.ndarray) -> Any:
        assert ((x >= 1) & (x <= 3)).all()
        value, g = bowl(x - np.array([0.0, 2.0]))
        return (value, g) if jac is True else value

    done = adamas.minimize(
        fun, [-5.0, 2.5], jac=jac, bounds=bounds, rule=Adam(lr=0.03), seed=0, average=0.9, tol=1e-3
    )
    assert done.success, done.message
    np.testing.assert_allclose(done.x, [1, 2], atol=0.02)
    assert (done.x_average >= 1).all()


def test_batches_are_rows_of_arrays_each_once_an_epoch() -> None:
    seen = []

    def fun(x: np.ndarray, batch: Any, scale: float) -> tuple[float, np.ndarray]:
        seen.append(batch[0].tolist())
        assert (batch[1] == 10 * batch[0]).all()
        return scale * float(x[0] ** 2), 2 * scale * x

    rows = np.arange(7)
    adamas.minimize(fun, [1.0], 2.0, jac=True, batches=(rows, 10 * rows), batch_size=3, maxiter=5, seed=0)
    assert [len(batch) for batch in seen] == [3, 3, 1, 3, 3, 1]
    first, second = np.concatenate(seen[:3]).tolist(), np.concatenate(seen[3:]).tolist()
    assert sorted(first) == sorted(second) == rows.tolist()
    assert first != second


def test_an_iterable_begins_again_and_an_iterator_ends_the_run() -> None:
    def fun(x: np.ndarray, batch: float) -> tuple[float, np.ndarray]:
        return batch, x

    again = adamas.minimize(fun, [1.0], jac=True, batches=[1.0, 2.0], maxiter=5)
    assert (again.nit, again.nfev, again.status) == (5, 6, 1)
    once = adamas.minimize(fun, [1.0], jac=True, batches=iter([1.0, 2.0]), maxiter=5)
    assert (once.nit, once.nfev, once.status, once.success) == (2, 2, 2, False)
    assert once.message.startswith("batches ran out after 2 iterations")


@pytest.mark.parametrize("average", [0.99, "polyak"])
def test_the_interval_of_the_average_covers_the_minimum(average: Any) -> None:
    """Of 40 runs × 5 coordinates a 95 % interval (t of 7 degrees) covers about 190: 180 are asked for."""
    covered, widths = 0, []
    for seed in range(40):
        random = np.random.default_rng(seed)

        def fun(x: np.ndarray, random: Any = random) -> tuple[float, np.ndarray]:
            value, g = quadratic(1.0, 2.0, 3.0, 5.0, 8.0)(x)
            return value, g + random.standard_normal(5)

        done = adamas.minimize(
            fun, np.zeros(5), jac=True, rule=Adam(lr=0.05), average=average, maxiter=2000, stationary=False
        )
        covered += int((np.abs(done.x_average) <= 2.365 * done.x_stderr).sum())
        widths.append(done.x_stderr)
    assert covered >= 180
    if average == "polyak":
        assert np.mean(widths) < 0.05


def test_the_callback_sees_each_step_and_may_end_the_run() -> None:
    seen: list[float] = []

    def by_true(x: np.ndarray) -> bool:
        seen.append(float(x[0]))
        return len(seen) == 3

    def by_stop(*, intermediate_result: Any) -> None:
        if intermediate_result.nit == 4:
            raise StopIteration

    done = adamas.minimize(bowl, [1.0, 2.0], jac=True, callback=by_true)
    assert (done.nit, done.status, done.success) == (3, 99, False)
    assert seen[-1] == done.x[0]
    assert adamas.minimize(bowl, [1.0, 2.0], jac=True, callback=by_stop).nit == 4


def test_no_steps_at_all() -> None:
    done = adamas.minimize(bowl, [1.0, 2.0], jac=True, maxiter=0)
    assert (done.nit, done.nfev, done.status, done.fun) == (0, 1, 1, 8.5)
    assert done.x.tolist() == [1.0, 2.0]


def test_a_constant_has_no_gradient_and_is_at_its_minimum() -> None:
    done = adamas.minimize(lambda x: (1.0, np.zeros(2)), [1.0, 2.0], jac=True)
    assert done.success
    assert done.nit == 2


def test_nested_and_in_threads_as_alone() -> None:
    def outer(x: np.ndarray) -> tuple[float, np.ndarray]:
        inner = adamas.minimize(bowl, [1.0, 2.0], jac=True, maxiter=3)
        return bowl(x + inner.x)

    results: dict[int, Any] = {}

    def work(k: int) -> None:
        results[k] = adamas.minimize(outer, [1.0, 2.0], jac=True, maxiter=20).x

    threads = [threading.Thread(target=work, args=(k,)) for k in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {x.tobytes() for x in results.values()} == {
        adamas.minimize(outer, [1.0, 2.0], jac=True, maxiter=20).x.tobytes()
    }


def test_a_million_elements() -> None:
    x0 = np.ones(1_000_000, np.float32)
    done = adamas.minimize(lambda x: (0.0, x), x0, jac=True, rule=SGD(lr=0.5), maxiter=20, tol=0)
    np.testing.assert_allclose(done.x, 0.5**20, rtol=1e-5)


def test_progress_is_one_line_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings():
        adamas.minimize(bowl, [1.0, 2.0], jac=True, maxiter=5, progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    assert line.startswith("5 iterations in")
    assert len(line) < 80


def test_a_logistic_regression_comes_to_sklearns_optimum() -> None:
    linear_model = pytest.importorskip("sklearn.linear_model", reason="the optimum is scikit-learn's")
    random = np.random.default_rng(0)
    X = random.standard_normal((400, 4))
    y = (random.random(400) < 1 / (1 + np.exp(-X @ [2.0, -1.0, 0.5, 0.0] - 0.3))).astype(float)

    def loss(w: np.ndarray, batch: Any) -> tuple[float, np.ndarray]:
        """The mean negative log-likelihood, and a Gaussian prior for the coefficients, as C=1 has it."""
        features, target = batch
        score = features @ w[:4] + w[4]
        error = (1 / (1 + np.exp(-score)) - target) / len(target)
        value = (np.logaddexp(0, score) - target * score).mean() + (w[:4] @ w[:4]) / 800
        return value, np.append(features.T @ error + w[:4] / 400, error.sum())

    best = linear_model.LogisticRegression(C=1.0, tol=1e-10, max_iter=1000).fit(X, y)
    w = np.append(best.coef_[0], best.intercept_)
    done = adamas.minimize(
        loss,
        np.zeros(5),
        jac=True,
        batches=(X, y),
        batch_size=20,
        rule=Adam(lr=0.02),
        seed=0,
        average="polyak",
        maxiter=8000,
        stationary=False,
    )
    np.testing.assert_allclose(done.x_average, w, atol=0.03)
    assert loss(done.x_average, (X, y))[0] - loss(w, (X, y))[0] < 1e-4
    assert (np.abs(done.x_average - w) < 5 * done.x_stderr).all()


def test_a_noisy_function_of_values_alone_comes_nearer_than_a_plain_spsa() -> None:
    """The functions, noise and number of evaluations of `adamas bench minimize`; medians of 7 runs."""
    pytest.importorskip("torch", reason="the benchmarks need it")
    from adamas.bench.suites import minimize as suite

    better = 0
    for fun, x0 in suite.FUNCTIONS.values():
        for noise in ("additive", "relative"):
            ours, plain = (
                np.median([suite._excess(fun, noise, x0, method, seed) for seed in range(7)])
                for method in (suite._ours, suite._spsa)
            )
            better += bool(ours < plain)
            assert ours < 0.5
    assert better >= 5
