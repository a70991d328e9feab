"""A kernel belongs to what a rule's text says now, with every name resolved, and not to a function object."""

import importlib.util
import itertools
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rule_cases import CASES, FORMS, run_kernel, run_reference

from adamas.backends import same_form, text_key, watch
from adamas.backends.numba import compile_rule
from adamas.rules import SIGNED, Rule

TEXT = """
from dataclasses import dataclass
from adamas.rules import SIGNED, Rule, xp
import helpers_of_it

SCALE = 1.0
TABLE = (1.0, 2.0)

def helper(x):
    return deeper(x) * helpers_of_it.FACTOR * helpers_of_it.function(x) / x

def deeper(x):
    return SCALE * x

@dataclass(frozen=True)
class Mine(Rule):
    lr: float = 1.0
    slots = {"m": SIGNED}

    def scalars(self, t):
        return (self.lr,)

    @staticmethod
    def update(p, g, m, lr):
        first, second = TABLE
        m = 0.9 * m + 0.1 * g
        return p - lr * first * helper(m), m
"""


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    helpers, found = types.ModuleType("helpers_of_it"), types.ModuleType("module_of_it")
    exec("FACTOR = 1.0\ndef function(x): return x", helpers.__dict__)
    monkeypatch.setitem(sys.modules, "helpers_of_it", helpers)
    monkeypatch.setitem(sys.modules, "module_of_it", found)
    exec(TEXT, found.__dict__)
    return found


def stepped(rule: Rule) -> tuple[float, float]:
    """The first element after a step, by the kernel and by the reference."""
    p, g = np.zeros(3, np.float32), np.ones((1, 3))
    return float(run_kernel(rule, p, g)[0][0]), float(run_reference(rule, p, g)[-1][0][0])


CHANGES: dict[str, Callable[[Any], Any]] = {
    "constant": lambda m: setattr(m, "SCALE", 10.0),
    "tuple": lambda m: setattr(m, "TABLE", (10.0, 2.0)),
    "helper": lambda m: exec("def deeper(x): return 10 * x", m.__dict__),
    "other module's constant": lambda m: setattr(m.helpers_of_it, "FACTOR", 10.0),
    "other module's function": lambda m: exec("def function(x): return 10 * x", m.helpers_of_it.__dict__),
    "code put in place": lambda m: setattr(m.deeper, "__code__", (lambda x: 10 * x).__code__),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_has_changed_since_is_computed_with(module: Any, change: str) -> None:
    rule = module.Mine()
    assert stepped(rule) == pytest.approx((-0.1, -0.1))
    key, unchanged = text_key(rule.form().update), watch(rule.form().update)
    assert unchanged()
    CHANGES[change](module)
    assert not unchanged()
    assert text_key(rule.form().update) != key
    assert watch(rule.form().update)()
    assert stepped(rule) == pytest.approx((-1.0, -1.0))


def test_a_cell_run_again_is_the_same_kernel(module: Any) -> None:
    """And so is a constant that is set to what it was."""
    kernel, key = compile_rule(module.Mine(), "float32"), text_key(module.Mine.update)
    exec(TEXT, module.__dict__)
    assert text_key(module.Mine.update) == key
    assert compile_rule(module.Mine(), "float32") is kernel


def test_a_form_that_makes_a_new_function_each_time() -> None:
    @dataclass(frozen=True)
    class Making(Rule):
        lr: float = 1.0
        power: float = 2.0

        def form(self):
            power = self.power

            def update(p, g, m, lr):
                return p - lr * g**power, m

            return super().form()._replace(slots={"m": SIGNED}, update=update)

        def scalars(self, t):
            return (self.lr,)

    two, other, three = Making(), Making(), Making(power=3.0)
    assert two.form().update is not other.form().update
    assert text_key(two.form().update) == text_key(other.form().update) != text_key(three.form().update)
    assert same_form(two.form(), other.form())
    assert not same_form(two.form(), three.form())
    assert not same_form(two.form(), two.form()._replace(slots={"n": SIGNED}))
    assert compile_rule(two, "float32") is compile_rule(other, "float32")
    g = np.full((1, 1), 2.0)
    assert [run_kernel(rule, np.zeros(1, np.float32), g)[0][0] for rule in (two, three)] == [-4.0, -8.0]


def test_rules_of_different_text_have_different_keys() -> None:
    keys = {name: text_key(rule.form().update) for name, rule in FORMS.items()}
    assert len(set(keys.values())) == len(keys)
    for rule in CASES.values():
        assert (
            text_key(rule.form().update) == text_key(type(rule)().form().update)
            or rule.form() != type(rule)().form()
        )


@pytest.mark.parametrize("constant", [float("nan"), -0.0, 0.0, 1, 1.0, True])
def test_keys_tell_numbers_apart_and_know_them_again(constant: Any) -> None:
    def using(value: Any) -> Callable[..., Any]:
        return lambda p, g: (p - value * g,)

    assert text_key(using(constant)) == text_key(using(constant))
    others = [x for x in (float("nan"), -0.0, 0.0, 1, 1.0, True, 2.0) if repr(x) != repr(constant)]
    assert all(text_key(using(x)) != text_key(using(constant)) for x in others)


def test_recursion_has_a_key() -> None:
    def again(x, n):
        return x if n == 0 else again(x, n - 1)

    assert text_key(again) == text_key(again)
    assert watch(again)()


def test_a_file_that_was_edited_after_its_import(tmp_path: Path) -> None:
    """The kernel is that of the function there is, not of the text there is."""
    path = tmp_path / "edited_later.py"
    path.write_text(
        TEXT.replace("import helpers_of_it\n", "").replace(
            "deeper(x) * helpers_of_it.FACTOR * helpers_of_it.function(x) / x", "deeper(x)"
        )
    )
    spec = importlib.util.spec_from_file_location("edited_later", path)
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    path.write_text(path.read_text().replace("p - lr", "p + lr"))
    assert stepped(loaded.Mine()) == pytest.approx((-0.1, -0.1))


def test_watching_costs_less_than_a_microsecond() -> None:
    """Counted, not timed: a look-up for each function and each constant."""
    unchanged = watch(CASES["OwnRule"].form().update)
    calls = itertools.count()
    sys.setprofile(lambda frame, event, arg: next(calls) if event == "call" else None)
    try:
        unchanged()
    finally:
        sys.setprofile(None)
    assert next(calls) <= 1
