"""A method for `scipy.optimize.minimize`, by SciPy's conventions for custom ones."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from ..rules import Rule
from .minimize import minimize
from .settings import check_rule_value

__all__ = ["scipy_method"]


def scipy_method(rule: Rule | None = None, **defaults: Any) -> Callable[..., Any]:
    """A `method=` for `scipy.optimize.minimize`.

    ```python
    import adamas, scipy.optimize

    fun = lambda x: (float(x @ x), 2 * x)
    method = adamas.scipy_method(adamas.Adam(lr=0.01))
    result = scipy.optimize.minimize(fun, [1.0, 2.0], jac=True, method=method)
    ```

    Without `jac` gradients are forward differences, as in SciPy; `scipy_method(rule, jac="spsa")` has others.
    SciPy's `tol` is the tolerance on the gradient, `options` are the keywords of `adamas.minimize`, with
    `disp=True` for `progress=True`.

    Args:
        rule: the update rule; Adam with a step size of the scale of x0 by default.
        defaults: keywords of `adamas.minimize`, which `options` override.

    Raises:
        TypeError: `rule` is none; when called, an option that is no keyword of `adamas.minimize`.
        ValueError: when called, constraints are given.
    """
    check_rule_value(rule)

    def method(
        fun: Callable[..., Any],
        x0: Any,
        args: tuple[Any, ...] = (),
        *,
        jac: Any = None,
        hess: Any = None,
        hessp: Any = None,
        bounds: Any = None,
        constraints: Any = (),
        callback: Any = None,
        disp: bool = False,
        **options: Any,
    ) -> Any:
        if constraints is not None and not (isinstance(constraints, (list, tuple, dict)) and not constraints):
            raise ValueError("adamas.scipy_method takes no constraints; bounds it takes, by projection")
        if hess is not None or hessp is not None:
            warnings.warn("adamas.scipy_method does not use hess or hessp", RuntimeWarning, stacklevel=3)
        chosen = {"jac": "2-point", "rule": rule, "progress": disp, **defaults, **options}
        if jac is not None and jac is not False:
            chosen["jac"] = jac
        for name, value in (("bounds", bounds), ("callback", callback)):
            if value is not None:
                chosen[name] = value
        return minimize(fun, x0, args, **chosen)

    return method
