"""One clear error for each mistake, before anything is evaluated or with the state before it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("scipy", reason="adamas.minimize returns SciPy's results")

from minimize_support import quadratic

import adamas
from adamas.rules import Adam

bowl = quadratic(1.0, 4.0)
X0 = [1.0, 2.0]


def never(x: Any, *_: Any) -> Any:
    raise AssertionError("nothing is evaluated")


@pytest.mark.parametrize(
    ("x0", "given", "error", "message"),
    [
        ([1j, 2], {}, TypeError, "x0 is complex: minimize over its real"),
        ([True], {}, TypeError, "must be an array of numbers"),
        ("abc", {}, TypeError, "x0 must be an array of numbers, got str"),
        (None, {}, TypeError, "x0 must be an array of numbers, got NoneType"),
        ([], {}, ValueError, "x0 has no elements"),
        ({}, {}, ValueError, "x0 has no elements"),
        ({"a": np.ones(2), "b": [1, np.nan]}, {}, ValueError, r"x0\['b'\] must be finite, got nan"),
        (np.ones(2, np.longdouble), {}, TypeError, "must hold float16, float32, float64 or integers"),
        (X0, {"bounds": [(0, 1), (3, 2)]}, ValueError, "infeasible: element 1 would be from 3 to 2"),
        (X0, {"bounds": [(0, 1)]}, ValueError, "as many as x0 has elements, 2, got 1"),
        (X0, {"bounds": 3}, TypeError, "list of pairs"),
        (X0, {"bounds": [(0, np.nan)] * 2}, ValueError, "must not be NaN"),
        (X0, {"rule": Adam}, TypeError, r"write rule=Adam\(\)"),
        (X0, {"rule": "adam"}, TypeError, "must be one of adamas.rules"),
        (X0, {"jac": "3-point"}, ValueError, "jac must be True, a function"),
        (X0, {"maxiter": -1}, ValueError, "maxiter must be an integer from 0 on, got -1"),
        (X0, {"maxiter": 1.5}, ValueError, "maxiter must be an integer"),
        (X0, {"tol": -1}, ValueError, "tol must be"),
        (X0, {"average": 1}, ValueError, r"decay in \[0, 1\)"),
        (X0, {"average": "all"}, ValueError, "average must be"),
        (X0, {"seed": -1}, ValueError, "seed must be"),
        (X0, {"diff_step": 0}, ValueError, "diff_step must be positive"),
        (X0, {"schedule": "cosine"}, TypeError, "schedule must be a function"),
        (X0, {"callback": 3}, TypeError, "callback must be a function"),
        (X0, {"batches": np.ones(3)}, ValueError, "batch_size=32"),
        (X0, {"batches": 3}, TypeError, "batches must be an iterable"),
        (
            X0,
            {"batches": np.ones(3), "batch_size": 4},
            ValueError,
            "from 1 to the 3 rows of the arrays, got 4",
        ),
        (X0, {"batches": np.ones((0, 2)), "batch_size": 1}, ValueError, "the arrays have no rows"),
        (X0, {"batches": (np.ones(3), np.ones(4)), "batch_size": 1}, ValueError, "as many rows each"),
        (X0, {"batch_size": 1}, ValueError, "there is no batches="),
        (X0, {"batches": []}, ValueError, "the iterable was empty"),
        (X0, {"batches": iter([])}, ValueError, "the iterable was empty"),
    ],
)
def test_a_wrong_argument_is_told_before_anything_is_evaluated(
    x0: Any, given: dict[str, Any], error: Any, message: str
) -> None:
    with pytest.raises(error, match=message):
        adamas.minimize(never, x0, **{"jac": True, **given})


def test_fun_must_be_a_function() -> None:
    with pytest.raises(TypeError, match="fun must be a function, got float"):
        adamas.minimize(3.0, X0)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("returned", "jac", "error", "message"),
    [
        (1.0, True, TypeError, r"must return \(value, gradient\), got float"),
        ((1.0, np.ones(2)), None, TypeError, "say jac=True"),
        (np.ones(2), None, TypeError, r"one real number, got an array of shape \(2,\)"),
        (None, None, TypeError, "one real number, got NoneType"),
        (1j, None, TypeError, "one real number"),
        ((1.0, np.ones(3)), True, ValueError, r"the gradient must have the shape \(2,\) of x0, got \(3,\)"),
        ((1.0, np.ones((2, 1))), True, ValueError, r"got \(2, 1\)"),
        ((1.0, 1j * np.ones(2)), True, TypeError, "must hold real numbers, got complex128"),
        ((1.0, None), True, TypeError, "the gradient must be an array of numbers, got NoneType"),
        ((np.nan, np.ones(2)), True, FloatingPointError, "fun returned nan in iteration 4"),
        ((np.inf, np.ones(2)), True, FloatingPointError, "fun returned inf"),
        ((1.0, np.array([1.0, np.nan])), True, FloatingPointError, "the gradient has nan at element 1"),
    ],
)
def test_a_wrong_value_is_told_with_the_state_before_it(
    returned: Any, jac: Any, error: Any, message: str
) -> None:
    calls = 0

    def fun(x: np.ndarray) -> Any:
        nonlocal calls
        calls += 1
        value, g = bowl(x)
        good = (value, g) if jac is True else value
        return good if calls <= (3 if jac is True else 6) else returned

    with pytest.raises(error, match=message) as raised:
        adamas.minimize(fun, X0, jac=jac, maxiter=10, seed=0)
    state = raised.value.adamas_state
    assert state["t"] == 3
    before = adamas.minimize(
        bowl if jac else lambda x: bowl(x)[0], X0, jac=jac, maxiter=3, seed=0, schedule=None
    )
    if jac is True:  # SPSA's gains go with maxiter
        assert np.array_equal(state["x"], before.x)


def test_a_tree_of_another_structure_is_told() -> None:
    x0 = {"a": np.ones(2), "b": np.ones(1)}
    with pytest.raises(
        ValueError, match=r"a tree like x0, with x0\['a'\] of shape \(2,\).*got one with x0\['a'\]"
    ):
        adamas.minimize(lambda x: (1.0, {"a": np.ones(2)}), x0, jac=True)
    with pytest.raises(ValueError, match=r"the gradient\['b'\] must have the shape \(1,\)"):
        adamas.minimize(lambda x: (1.0, {"a": np.ones(2), "b": np.ones(2)}), x0, jac=True)


def test_a_value_of_one_element_is_a_number() -> None:
    done = adamas.minimize(lambda x: (np.array([bowl(x)[0]]), bowl(x)[1]), X0, jac=True, maxiter=3)
    assert isinstance(done.fun, float)
