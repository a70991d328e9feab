"""Every rule of the package is found and tested; rules are values; names, slots and scalars fit together."""

import dataclasses
import importlib
import inspect
import math
import pickle
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rule_cases import (
    BEGINS,
    CASES,
    RULES,
    every_case,
    gradients,
    parameters,
    run_reference,
    undecayed,
    with_lr,
)

import adamas.rules
from adamas.backends import Envelope, host_carry, host_scalars
from adamas.backends._sums import counts_of
from adamas.rules import SIGNED, Rule

FILES = sorted(Path(adamas.rules.__file__).parent.glob("[!_]*.py"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_file_has_a_rule_that_is_tested(file: Path) -> None:
    module = importlib.import_module(f"adamas.rules.{file.stem}")
    own = [
        name
        for name, member in inspect.getmembers(module, inspect.isclass)
        if issubclass(member, Rule) and member.__module__ == module.__name__
    ]
    assert own, f"{file.name} defines no rule"
    assert set(own) <= set(RULES), f"name it in rules/__init__.py: {set(own) - set(RULES)}"
    assert set(own) <= set(CASES)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_line_one_names_the_paper(file: Path) -> None:
    first = file.read_text(encoding="utf-8").splitlines()[0]
    assert re.search(r"\b(19|20)\d\d\b", first), "no year"


@pytest.mark.parametrize("name", RULES)
def test_every_hyperparameter_is_documented(name: str) -> None:
    for field in dataclasses.fields(RULES[name]):
        assert re.search(rf"^ +{field.name}: ", RULES[name].__doc__ or "", re.MULTILINE), field.name


@every_case
def test_update_takes_slots_then_scalars_and_returns_slots(name: str) -> None:
    rule = CASES[name]
    form = rule.form()
    names, slots = list(inspect.signature(form.update).parameters), list(form.slots)
    scalars = rule.scalars(1, *rule.carry(1, *rule.carried.values()))
    assert names[: 2 + len(slots)] == ["p", "g", *slots]
    assert len(names) == 2 + len(slots) + len(scalars) + counts_of(form, scalars)[1]
    kept = {} if form.reduction is None else form.reduction.kept
    assert len(run_reference(rule, np.ones(1), [np.ones(1)])[-1]) == 1 + len(slots) + len(kept)


@every_case
def test_a_rule_is_a_value(name: str) -> None:
    rule = CASES[name]
    assert dataclasses.replace(rule) == rule
    assert hash(dataclasses.replace(rule)) == hash(rule)
    assert pickle.loads(pickle.dumps(rule)) == rule
    assert with_lr(rule, 0.5) != rule
    with pytest.raises(dataclasses.FrozenInstanceError):
        rule.lr = 0.5  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", RULES)
def test_numbers_of_any_kind_are_computed_with_in_float64(name: str) -> None:
    """A float32 decay from a caller's array must not make 1 - decay**t a float32 computation."""
    defaults = RULES[name]()
    numbers = {k: v for k, v in dataclasses.asdict(defaults).items() if type(v) is float}  # type: ignore[call-overload]
    given = RULES[name](**{k: np.float32(v) for k, v in numbers.items()})
    expected = RULES[name](**{k: float(np.float32(v)) for k, v in numbers.items()})
    for t in (1, 2, 1000):
        carried = host_carry(expected, t, *expected.carried.values())
        assert host_carry(given, t, *given.carried.values()) == carried
        assert host_scalars(given, t, *carried) == host_scalars(expected, t, *carried)
        assert all(type(x) is float for x in host_scalars(given, t, *carried))


@every_case
@given(t=st.integers(1, 10**9))
def test_scalars_are_finite_at_every_step(name: str, t: int) -> None:
    rule = CASES[name]
    scalars = host_scalars(rule, t, *host_carry(rule, t, *rule.carried.values()))
    assert all(type(x) is float and math.isfinite(x) for x in scalars)


def test_a_rule_without_scalars_says_so() -> None:
    @dataclass(frozen=True)
    class Unfinished(Rule):
        lr: float = 1.0

    with pytest.raises(NotImplementedError, match=r"Unfinished does not define scalars"):
        Unfinished().scalars(1)


# What holds for every rule.


@every_case
def test_without_gradients_nothing_moves(name: str) -> None:
    p = parameters(20)
    np.testing.assert_array_equal(run_reference(undecayed(CASES[name]), p, np.zeros((10, 20)))[-1][0], p)


@every_case
def test_a_stepsize_of_zero_moves_nothing(name: str) -> None:
    """Every stepsize: AdaBound has one that it begins with and one that it ends with."""
    rule, p = CASES[name], parameters(20)
    stepsizes = {
        each.name: 0.0 for each in dataclasses.fields(rule) if re.fullmatch("(final_)?lr", each.name)
    }
    still = dataclasses.replace(rule, **stepsizes)
    np.testing.assert_array_equal(run_reference(still, p, gradients(10, 20))[-1][0], p)


@every_case
def test_nonnegative_slots_are(name: str) -> None:
    rule = CASES[name]
    for _, *slots in run_reference(rule, parameters(50), gradients(30, 50)):
        for array, slot in zip(slots, rule.form().slots.values(), strict=False):
            assert slot.signed or (array >= 0).all()


@pytest.mark.parametrize("name", [name for name in CASES if CASES[name].form().reduction is None])
def test_elements_do_not_see_each_other(name: str) -> None:
    p, grads = parameters(12), gradients(5, 12)
    whole = run_reference(CASES[name], p, grads)[-1]
    parts = [run_reference(CASES[name], p[k : k + 1], grads[:, k : k + 1])[-1] for k in range(12)]
    for array, pieces in zip(whole, zip(*parts, strict=True), strict=True):
        np.testing.assert_array_equal(array, np.concatenate(pieces))


@pytest.mark.parametrize("name", [name for name in CASES if CASES[name].form().reduction is not None])
def test_sums_do_not_see_the_order_of_elements(name: str) -> None:
    p, grads = parameters(12), gradients(5, 12)
    order = np.random.default_rng(0).permutation(12)
    expected = run_reference(CASES[name], p, grads)[-1]
    found = run_reference(CASES[name], p[order], grads[:, order])[-1]
    for array, wanted in zip(found, expected, strict=True):
        np.testing.assert_allclose(array, wanted[order] if wanted.shape == p.shape else wanted, rtol=1e-10)


@pytest.mark.parametrize("name", [name for name in CASES if CASES[name].form().reduction is not None])
def test_sums_are_those_of_their_scope(name: str) -> None:
    """Another row's gradients change a row where sums go over more than that, and there alone."""
    rule, p, grads = CASES[name], parameters(24).reshape(4, 6), gradients(5, 24).reshape(5, 4, 6)
    others = grads.copy()
    # They grow, which every rule sees one way or another.
    others[:, 1:] = gradients(5, 18, seed=2).reshape(5, 3, 6) * 10.0 ** np.arange(5)[:, None, None]
    one, two = (run_reference(rule, p, each)[-1][0] for each in (grads, others))
    assert np.array_equal(one[0], two[0]) == (rule.form().reduction.scope == "row")  # type: ignore[union-attr]


@every_case
def test_the_first_step_that_moves_goes_downhill(name: str) -> None:
    """It is the first, but of rules that are known to begin later."""
    p, grads = parameters(50), gradients(1, 50)
    first = BEGINS.get(name, 1)
    *before, (moved, *_) = run_reference(CASES[name], p, np.repeat(grads, first, axis=0))
    assert all((still == p).all() for still, *_ in before)
    assert ((moved - p) * grads[0] < 0).all()


@every_case
@pytest.mark.parametrize("decay", [0.0, 0.25])
def test_decoupled_decay_shrinks_the_parameters_before_the_step(name: str, decay: float) -> None:
    """By 1 - lr λ; the step that follows is the rule's own from there, and without decay nothing else."""
    p, grads = parameters(20), gradients(5, 20)
    shrink = 1 - CASES[name].lr * decay  # type: ignore[attr-defined]
    (decayed, *state) = run_reference(CASES[name], p, grads[:1], Envelope(decay_factor=shrink))[-1]
    (stepped, *expected) = run_reference(CASES[name], shrink * p, grads[:1])[-1]
    np.testing.assert_array_equal(decayed, stepped)
    for a, b in zip(state, expected, strict=True):
        np.testing.assert_array_equal(a, b)
    unchanged = run_reference(CASES[name], p, grads)[-1][0]
    after = run_reference(CASES[name], p, grads, Envelope(decay_factor=shrink))[-1][0]
    assert np.array_equal(after, unchanged) == (decay == 0)


def test_the_example_of_the_package_works() -> None:
    """The rule in the documentation of `adamas.rules`, as it stands there."""
    code = re.search(r"```python\n(.*?)```", adamas.rules.__doc__ or "", re.DOTALL)
    assert code
    scope: dict[str, object] = {"__name__": "example"}
    exec(code[1], scope)
    rule = scope["SignMomentum"]()  # type: ignore[operator]
    assert rule.form().slots == {"m": SIGNED}
    moved, m = run_reference(rule, np.zeros(2), [np.array([3.0, -4.0])])[-1]
    np.testing.assert_allclose(moved, [-1e-3, 1e-3])
    np.testing.assert_allclose(m, [0.3, -0.4])
