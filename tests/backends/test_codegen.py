"""Generated kernels: readable files, no widening, vectors; clear errors where a rule cannot be compiled."""

import ast
import importlib.util
import linecache
import math
import pickle
import random
import re
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rule_cases
from rule_cases import (
    CASES,
    FORMS,
    Driver,
    every_form,
    gradients,
    parameters,
    run_kernel,
    run_reference,
    soften,
)

from adamas.backends import bind
from adamas.backends.numba import RuleSourceError, compile_rule
from adamas.rules import Adam, Rule, xp

FLOAT32, FLOAT64 = np.dtype(np.float32), np.dtype(np.float64)


def rule_of(update: Callable[..., Any], slots: dict[str, Any] | None = None) -> Rule:
    """A rule with this `update` of `(p, g, lr)`, or of more slots."""

    @dataclass(frozen=True)
    class Given(Rule):
        lr: float = 0.5

        def scalars(self, t):
            return (self.lr,)

    Given.update = staticmethod(update)
    Given.slots = slots or {}
    return Given()


def step_once(rule: Rule, p: float, g: float, dtype: np.dtype = FLOAT64) -> float:
    moved, *_ = run_kernel(rule, np.array([p], dtype), np.array([[g]]))
    return moved[0]


# The file.


@every_form
def test_the_source_is_a_file_with_the_rules_own_arithmetic(name: str) -> None:
    kernel = compile_rule(FORMS[name], FLOAT32)
    text = kernel.path.read_text(encoding="utf-8")
    function = next(
        node
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef) and node.name == "update"
    )
    assert [arg.arg for arg in function.args.args][: len(kernel.arrays)] == list(kernel.arrays)
    assert type(FORMS[name]).__name__ in text.splitlines()[0]
    assert not re.search(r"^    x0 = ", text, re.MULTILINE), "it was traced"


def test_the_source_of_a_notebook_cell_is_read() -> None:
    """IPython keeps the text of its cells where `linecache` finds it."""
    text, name = "def update(p, g, lr):\n    moved = lr * g\n    return (p - moved,)\n", "<ipython-input-1-0>"
    linecache.cache[name] = len(text), None, text.splitlines(keepends=True), name
    exec(compile(text, name, "exec"), scope := {})
    kernel = compile_rule(rule_of(scope["update"]), FLOAT32)
    assert "moved = lr * g" in kernel.path.read_text(encoding="utf-8")
    del linecache.cache[name]


def test_without_source_the_text_is_an_operation_a_line() -> None:
    scope: dict[str, Any] = {"xp": np}
    exec("def update(p, g, lr):\n    return (p - lr * xp.sqrt(g),)", scope)
    text = compile_rule(rule_of(scope["update"]), FLOAT32).path.read_text(encoding="utf-8")
    assert "    x0 = xp.sqrt(g)\n    x1 = lr * x0\n    x2 = p - x1\n    return (x2,)" in text


def test_a_nested_function_is_traced() -> None:
    def update(p, g, lr):
        def twice(x):
            return x + x

        return (p - lr * twice(y := g) - sum(x for x in (y, g)),)

    assert step_once(rule_of(update), 1.0, 2.0) == 1.0 - 2.0 - 4.0


def test_the_arithmetic_is_the_rules_text() -> None:
    text = compile_rule(Adam(), FLOAT32).path.read_text(encoding="utf-8")
    assert "m = beta1 * m + one_minus_beta1 * g" in text
    assert "v = beta2 * v + one_minus_beta2 * g * g" in text
    assert "return (p - step * m / (xp.sqrt(v + eps_inside) + eps), m, v)" in text


def test_one_rule_and_dtype_is_one_kernel() -> None:
    assert compile_rule(Adam(), FLOAT32) is compile_rule(Adam(lr=1.0, eps_placement="hat"), FLOAT32)
    assert compile_rule(Adam(), FLOAT32).address != compile_rule(Adam(), FLOAT64).address


# Its machine code.


@pytest.fixture(scope="module")
def llvm(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """The optimized LLVM of a case's float32 kernel, compiled afresh (a kernel from the cache has none)."""

    def compiled(name: str) -> str:
        source = compile_rule(FORMS[name], FLOAT32).path
        path = tmp_path_factory.mktemp("fresh") / "fresh_kernel.py"
        path.write_bytes(source.read_bytes())
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[path.stem] = module
        try:
            spec.loader.exec_module(module)
        finally:
            del sys.modules[path.stem]
        return module.step.inspect_llvm()

    return compiled


@every_form
def test_float32_stays_float32_in_vectors(name: str, llvm: Callable[[str], str]) -> None:
    text = llvm(name)
    assert "double" not in text
    assert "fpext" not in text
    stores = len(FORMS[name].form().slots) + 1
    assert len(re.findall(r"store <\d+ x float>", text)) >= stores, "the loop is not vectorized"


# What an update may hold.

LIMIT = math.inf
WHOLE, HALF, SWITCH, FACTORS = 2, 0.5, False, (1, 2.0)
NUMPY_FLOAT = np.float64(0.25)
NUMPY_FLOAT32 = np.float32(0.25)
NUMPY_INT = np.int64(3)


def twice(x, factor=2.0):
    return factor * x


def sum_of(x, /, y=1.5):
    return x + y


ALLOWED: dict[str, tuple[Callable[..., Any], Callable[[float, float], float]]] = {}


def allowed(expected: Callable[[float, float], float]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """An update that must compile, with what it makes of p and g (lr is 0.5)."""

    def register(update: Callable[..., Any]) -> Callable[..., Any]:
        ALLOWED[update.__name__] = update, expected
        return update

    return register


@allowed(lambda p, g: p - 0.25 * g)
def numpy_scalar_constant(p, g, lr):
    return (p - NUMPY_FLOAT * g,)


@allowed(lambda p, g: p - 0.25 * g)
def numpy_float32_constant(p, g, lr):
    return (p - NUMPY_FLOAT32 * g,)


@allowed(lambda p, g: p - 3 * g)
def numpy_integer_constant(p, g, lr):
    return (p - NUMPY_INT * g,)


@allowed(lambda p, g: p - g)
def infinite_constant(p, g, lr):
    return (p - xp.minimum(g, LIMIT),)


@allowed(lambda p, g: p - 2 * g)
def argument_with_default(p, g, lr):
    return (p - twice(g) * twice(0.5, factor=lr) * 4,)


@allowed(lambda p, g: p - (g + 1.5) - (g + p))
def positional_only_argument(p, g, lr):
    return (p - sum_of(g) - sum_of(g, p),)


@allowed(lambda p, g: p - 0.5 * g**3 - g**-1 - abs(g) ** 0.5)
def powers(p, g, lr):
    return (p - lr * g**3 - g**-1 - xp.abs(g) ** 0.5,)


@allowed(lambda p, g: p - 0.5 * g)
def annotated(p: Any, g: Any, lr: float) -> tuple[Any, ...]:
    return (p - lr * g,)


@allowed(lambda p, g: p - 0.5 * g)
def local_name_like_a_global(p, g, lr):
    twice = lr * g
    return (p - twice,)


@allowed(lambda p, g: p - 0.5 * g**0.5)
def numpy_root(p, g, lr):
    return (p - lr * np.sqrt(g),)


@allowed(lambda p, g: p - 0.5 * (g**0.5 + math.pi))
def standard_library_root_and_constant(p, g, lr):
    return (p - lr * (math.sqrt(g) + math.pi),)


@allowed(lambda p, g: p - 0.5 * (abs(g) + max(g, p, 0.25) + min(g, 0.5)))
def builtins_of_python(p, g, lr):
    return (p - lr * (abs(g) + max(g, p, 0.25) + min(g, 0.5)),)


@allowed(lambda p, g: p - 0.5 * max(g, 1e-8))
def number_in_a_maximum(p, g, lr):
    return (p - lr * xp.maximum(xp.abs(g), 1e-8),)


@allowed(lambda p, g: p * 0.5 - g)
def in_place_operators(p, g, lr):
    p *= lr
    p -= g
    return (p,)


@allowed(lambda p, g: (p - 1) - 1 - g * 3)
def loop_over_constants(p, g, lr):
    for _ in range(WHOLE):
        p = p - 1
    for factor in FACTORS:
        p = p - factor * g
    return (p,)


@allowed(lambda p, g: p - 0.5 * g)
def annotated_variables(p, g, lr):
    step: float = lr
    return (p - step * g,)


@allowed(lambda p, g: p - 2 * g)
def conditions(p, g, lr):
    both = (p > 0) & (g > 0) & ~(g < 0) | (lr == 0)
    return (p - both * g - xp.where(both, 1, 0) * g - xp.where(lr, 0, 1),)


@allowed(lambda p, g: p - 0.5 * g)
def condition_on_a_scalar(p, g, lr):
    return (p - xp.where(lr > 0, lr * g, 0),)


@allowed(lambda p, g: p - 0.5 * g)
def condition_on_a_constant(p, g, lr):
    if WHOLE == 2 and not SWITCH:
        return (p - lr * g,)
    return (p + lr * g,)


@allowed(lambda p, g: p - 0.5 * g)
def any_number_of_scalars(p, g, *scalars):
    (step,) = scalars
    return (p - step * g,)


@allowed(lambda p, g: p - 2.0 * 0.5 * g)
def argument_named_like_the_type(p, g, real):
    return (p - 2.0 * real * g,)


@allowed(lambda p, g: p - 0.5 * 6 * g)
def function_through_a_module(p, g, lr):
    return (p - lr * rule_cases.triple(g) * rule_cases.WHOLE,)


@allowed(lambda p, g: p - 0.5 * g**0.5)
def function_with_xp_through_a_module(p, g, lr):
    return (p - lr * rule_cases.root_of(g),)


def with_recursion():
    def halved(x, times):
        return xp.abs(x) if times == 0 else halved(0.5 * x, times - 1)

    def a_recursion(p, g, lr):
        return (p - lr * halved(g, 3),)

    return a_recursion


allowed(lambda p, g: p - 0.5 * g / 8)(with_recursion())


@allowed(lambda p, g: p - 0.25 * g)
def function_that_returns_a_list(p, g, lr):
    return [p - lr * HALF * g]


allowed(lambda p, g: p - 0.5 * g)(lambda p, g, lr: (p - lr * g,))


def closure_over(factor, function):
    def a_closure(p, g, lr):
        return (p - factor * lr * function(g),)

    return a_closure


allowed(lambda p, g: p - 3 * 0.5 * 2 * g)(closure_over(3, lambda x: 2 * x))


def with_a_local_import():
    from adamas.rules import xp as arrays

    def a_namespace_in_a_closure(p, g, lr):
        return (p - lr * arrays.sqrt(g),)

    return a_namespace_in_a_closure


allowed(lambda p, g: p - 0.5 * g**0.5)(with_a_local_import())


def of_no_file(text, **names):
    """A function typed at a prompt, whose text is nowhere."""
    exec(text, scope := {"xp": np, **names})
    return scope["typed"]


allowed(lambda p, g: p - 0.5 * max(g, 0.5))(
    of_no_file("def typed(p, g, lr):\n    return (p - lr * xp.maximum(g, half),)", half=0.5)
)


def flush(x, tiny):
    return x + tiny


@allowed(lambda p, g: p - 0.5 * (g + p))
def helper_named_like_the_kernels(p, g, lr):
    return (p - lr * flush(g, p),)


def real(x):
    return 10 * x


@allowed(lambda p, g: p - 0.5 * 10 * g)
def helper_named_like_the_type(p, g, lr):
    return (p - lr * real(g),)


def update(x):
    return 3 * x


@allowed(lambda p, g: p - 0.5 * 3 * g)
def helper_named_update(p, g, lr):
    return (p - lr * update(g),)


def squared(x):
    return 7 * x


@allowed(lambda p, g: p - 0.5 * 7 * g - g * (1 + 0.5 / (1.5 + g**2)))
def helpers_of_one_name_in_two_modules(p, g, lr):
    return (p - lr * squared(g) - soften(g, lr),)  # which calls the other module's `squared`


@pytest.mark.parametrize("name", ALLOWED)
@pytest.mark.parametrize("dtype", [FLOAT32, FLOAT64], ids=str)
def test_an_update_may_hold(name: str, dtype: np.dtype) -> None:
    update, expected = ALLOWED[name]
    rule = rule_of(update)
    # Two roundings to float32 in the longest of these sums.
    tolerance = 4 * float(np.finfo(dtype).eps)
    assert step_once(rule, 1.5, 2.0, dtype) == pytest.approx(expected(1.5, 2.0), rel=tolerance)
    p, g = np.array([1.5]), np.array([2.0])
    np.testing.assert_allclose(run_reference(rule, p, [g])[-1][0], expected(1.5, 2.0), rtol=1e-15)


def test_a_docstring_is_left_out() -> None:
    text = compile_rule(CASES["OwnRule"], FLOAT32).path.read_text(encoding="utf-8")
    assert "A docstring, which a kernel leaves out" not in text


def test_helpers_see_the_bound_namespace() -> None:
    seen: list[float] = []
    namespace = types.SimpleNamespace(
        **{name: getattr(np, name) for name in ("sqrt", "abs", "maximum", "minimum", "sign")},
        where=lambda *args: (seen.append(1), np.where(*args))[1],
    )
    update = bind(CASES["OwnRule"].form().update, namespace)
    update(*(np.ones(1) for _ in range(4)), 1e-3, 0.75, 0.25)
    assert seen == [1]
    assert rule_cases.xp is np, "binding must not touch the rule's own module"


def rooted(x):
    return xp.sqrt(x)


def uses_rooted(p, g, lr):
    return (p - lr * rooted(g),)


def through_a_module(p, g, lr):
    return (p - lr * rule_cases.root_of(g),)


def test_a_helper_of_another_module_is_rebound_too() -> None:
    namespace = types.SimpleNamespace(sqrt=lambda x: 10 * x)
    assert bind(through_a_module, namespace)(1.0, 2.0, 0.5) == (1.0 - 0.5 * 20.0,)


def test_a_helpers_own_xp_is_rebound_too() -> None:
    namespace = types.SimpleNamespace(sqrt=lambda x: 10 * x)
    assert bind(uses_rooted, namespace)(1.0, 2.0, 0.5) == (1.0 - 0.5 * 20.0,)
    assert step_once(rule_of(uses_rooted), 1.0, 4.0) == 0.0


# What it may not hold: an error that says where, what, and what to do.


def foreign(p, g, lr):
    return (p - lr * np.tanh(g),)


def other_function(p, g, lr):
    return (p - lr * xp.exp(g),)


def attribute(p, g, lr):
    return (p - lr * g.T,)


def of_the_standard_library(p, g, lr):
    return (p - lr * g * random.random(),)


def a_class(p, g, lr):
    return (p - lr * g * Fraction(1, 2),)


@pytest.mark.parametrize(
    ("update", "word"),
    [
        (foreign, "np.tanh is unknown"),
        (other_function, "xp.exp is unknown"),
        (attribute, "'.T'"),
        (of_the_standard_library, "it uses 'random.random'"),
        (a_class, "it uses 'Fraction'"),
    ],
)
def test_a_foreign_name_is_refused(update: Callable[..., Any], word: str) -> None:
    with pytest.raises(RuleSourceError) as caught:
        compile_rule(rule_of(update), FLOAT32)
    message = str(caught.value)
    assert message.startswith("Given.update: ")
    assert word in message
    assert message.endswith(f"({Path(__file__).name}:{update.__code__.co_firstlineno + 1})")
    assert "xp.sqrt/abs/maximum/minimum/where/sign" in message


# The job.


def test_a_scalar_too_large_for_the_dtype_is_named() -> None:
    driver = Driver(Adam(lr=1e41), [np.ones(1, FLOAT32)])
    with pytest.raises(ValueError, match="too large for float32"):
        driver.step(np.ones(1, FLOAT32))
    assert driver.params[0] == 1


def test_a_job_cannot_be_pickled() -> None:
    with pytest.raises(TypeError, match="addresses"):
        pickle.dumps(Driver(Adam(), [np.ones(1)]).job)


def test_the_table_has_every_array_in_the_rules_order() -> None:
    for rule in FORMS.values():
        assert compile_rule(rule, FLOAT32).arrays == ("p", "g", *rule.form().slots)


def test_gradients_are_read_only() -> None:
    for rule in FORMS.values():
        p, g = parameters(9), gradients(1, 9)
        before = g.copy()
        run_kernel(rule, p, g)
        np.testing.assert_array_equal(g, before)
