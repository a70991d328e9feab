"""SciPy's conventions for custom methods."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("scipy", reason="a method for SciPy")

from scipy import optimize

import adamas
from adamas.rules import Adam

X0 = [1.35, 0.9, 0.8, 1.1, 1.2]
method = adamas.scipy_method(Adam(lr=0.02))


@pytest.mark.parametrize("jac", [True, optimize.rosen_der, None, "2-point", False])
def test_it_minimizes_as_a_method(jac: Any) -> None:
    fun: Any = optimize.rosen
    if jac is True:
        fun = lambda x: (optimize.rosen(x), optimize.rosen_der(x))  # noqa: E731
    done = optimize.minimize(fun, X0, jac=jac, method=method, options={"maxiter": 20_000})
    assert isinstance(done, optimize.OptimizeResult)
    assert done.success
    np.testing.assert_allclose(done.x, 1, atol=1e-3)


def test_args_tol_bounds_and_options_arrive() -> None:
    def fun(x: np.ndarray, a: float, b: float) -> float:
        assert (x >= 1).all()
        return float(((x - a) ** 2).sum()) + b

    done = optimize.minimize(
        fun, [2.0, 3.0], (0.5, 7.0), method=method, tol=1e-2, bounds=[(1, None)] * 2, options={"maxiter": 500}
    )
    assert done.success
    assert done.fun == pytest.approx(7.5)
    loose = optimize.minimize(optimize.rosen, X0, jac=optimize.rosen_der, method=method, tol=1.0)
    tight = optimize.minimize(optimize.rosen, X0, jac=optimize.rosen_der, method=method, tol=1e-4)
    assert tight.fun < loose.fun
    one = optimize.minimize(lambda x, a: (x[0] - a) ** 2, [2.0], args=3.0, method=method)
    assert one.x[0] == pytest.approx(3, abs=1e-3)


def test_callbacks_of_both_kinds() -> None:
    seen = []

    def plain(x: np.ndarray) -> None:
        seen.append(x)

    def whole(intermediate_result: Any) -> None:
        seen.append(intermediate_result.x)
        raise StopIteration

    optimize.minimize(optimize.rosen, X0, method=method, callback=plain, options={"maxiter": 3})
    assert len(seen) == 3
    done = optimize.minimize(optimize.rosen, X0, method=method, callback=whole)
    assert len(seen) == 4
    assert done.status == 99


def test_what_it_does_not_take() -> None:
    with pytest.raises(ValueError, match="takes no constraints"):
        optimize.minimize(
            optimize.rosen, X0, method=method, constraints={"type": "eq", "fun": lambda x: x[0]}
        )
    with pytest.raises(TypeError, match="maxfev"):
        optimize.minimize(optimize.rosen, X0, method=method, options={"maxfev": 3})
    with pytest.warns(RuntimeWarning, match="does not use hess"):
        optimize.minimize(optimize.rosen, X0, method=method, hess=optimize.rosen_hess, options={"maxiter": 2})
    with pytest.raises(TypeError, match=r"write rule=Adam\(\)"):
        adamas.scipy_method(Adam)  # type: ignore[arg-type]


def test_defaults_of_the_method_and_options_over_them() -> None:
    own = adamas.scipy_method(Adam(lr=0.02), jac="spsa", seed=1, maxiter=5)
    assert optimize.minimize(optimize.rosen, X0, method=own).nfev == 12
    assert optimize.minimize(optimize.rosen, X0, method=own, options={"maxiter": 7}).nit == 7
