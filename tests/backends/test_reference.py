"""The reference: one text in every namespace, dtypes kept, arguments left alone, the envelope as printed."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import pytest
from rule_cases import (
    CASES,
    every_case,
    gradients,
    has_sums,
    parameters,
    run_reference,
    state_names,
)

from adamas.backends import Envelope, host_carry, host_scalars, reference
from adamas.rules import SGD, Adagrad, Adam, Rule

N = 33
ENVELOPE = Envelope(scale=-0.5, coupled_decay=0.01, decay_factor=0.99)


class Namespace(NamedTuple):
    module: ModuleType
    array: Callable[[np.ndarray], Any]


@contextmanager
def opened(name: str) -> Iterator[Namespace]:
    """A namespace by name, with 64-bit floats where those are a choice."""
    if name == "numpy":
        yield Namespace(np, np.array)
    elif name == "torch":
        torch = pytest.importorskip("torch", reason="torch is not installed")
        yield Namespace(torch, torch.tensor)
    else:
        jax = pytest.importorskip("jax", reason="jax is not installed")
        with jax.enable_x64(True):
            yield Namespace(jax.numpy, jax.numpy.array)


@pytest.fixture(params=["numpy", "torch", "jax"])
def namespace(request: pytest.FixtureRequest) -> Iterator[Namespace]:
    with opened(request.param) as found:
        yield found


@every_case
def test_namespaces_agree(name: str, namespace: Namespace) -> None:
    p, grads = parameters(N), gradients(10, N)
    expected = run_reference(CASES[name], p, grads, ENVELOPE)[-1]
    converted = [namespace.array(g) for g in grads]
    actual = run_reference(CASES[name], namespace.array(p), converted, ENVELOPE, namespace.module)[-1]
    for a, b in zip(actual, expected, strict=True):
        # The order of operations is the same; a fused multiply-add may round each of the ten steps
        # otherwise, and sums that cancel show that relative to what was summed.
        np.testing.assert_allclose(np.asarray(a), b, rtol=1e-13, atol=1e-15 * np.abs(b).max())


@pytest.mark.parametrize("name", [name for name in CASES if name != "OwnRule"])  # its constant is a float64
def test_float32_is_kept(name: str, namespace: Namespace) -> None:
    p = namespace.array(parameters(N).astype(np.float32))
    grads = [namespace.array(g.astype(np.float32)) for g in gradients(2, N)]
    for array in run_reference(CASES[name], p, grads, ENVELOPE, namespace.module)[-1]:
        assert str(array.dtype).endswith("float32")


every_elementwise = pytest.mark.parametrize("name", [name for name in CASES if not has_sums(CASES[name])])


def initials(rule: Rule) -> list[float]:
    """The values of the arrays of `init`."""
    form = rule.form()
    kept = {} if form.reduction is None else form.reduction.kept
    return [*(slot.initial for slot in form.slots.values()), *kept.values()]


@every_case
def test_arguments_stay_as_they_are(name: str) -> None:
    rule, p, grads = CASES[name], parameters(N), gradients(1, N)
    before = p.copy(), grads.copy()
    start, end = run_reference(rule, p, grads, ENVELOPE)
    np.testing.assert_array_equal(p, before[0])
    np.testing.assert_array_equal(grads, before[1])
    for array, initial in zip(start[1:], initials(rule), strict=True):
        np.testing.assert_array_equal(array, initial)
    assert not any(new is old for new, old in zip(end, start, strict=True))


@every_case
def test_init_is_the_rules_slots(name: str) -> None:
    p = parameters(N).astype(np.float32)
    slots = reference.init(CASES[name], p)
    assert len(slots) == len(state_names(CASES[name]))
    for array, initial in zip(slots, initials(CASES[name]), strict=True):
        np.testing.assert_array_equal(array, np.full(array.shape, initial, np.float32), strict=True)
    assert all(array.shape == p.shape for array in slots[: len(CASES[name].form().slots)])


def test_an_initial_value_is_in_the_slot() -> None:
    (accumulator,) = reference.init(Adagrad(initial_accumulator_value=0.1), np.zeros(3))
    np.testing.assert_array_equal(accumulator, 0.1)


def test_slots_of_an_infinite_parameter_start_clean() -> None:
    """A parameter that has diverged gets the state of any other."""
    m, v = reference.init(Adam(), np.array([np.inf, np.nan, 1.0]))
    np.testing.assert_array_equal(m, 0)
    np.testing.assert_array_equal(v, 0)


@every_case
def test_no_elements_and_no_dimensions(name: str) -> None:
    for shape in [(0,), (), (2, 0), (2, 3)]:
        (p, *slots) = run_reference(CASES[name], np.ones(shape), [np.ones(shape)] * 2)[-1]
        assert all(np.shape(array) == shape for array in (p, *slots[: len(CASES[name].form().slots)]))


def test_the_envelope() -> None:
    """Gradient descent shows it: p shrinks, the gradient is scaled, then decay is added to it, unscaled."""
    p, g = np.array([2.0]), np.array([3.0])
    envelope = Envelope(scale=-2.0, coupled_decay=0.25, decay_factor=0.5)
    ((moved,),) = [run_reference(SGD(lr=0.1), p, [g], envelope)[-1]]
    np.testing.assert_allclose(moved, 0.5 * 2.0 - 0.1 * (-2.0 * 3.0 + 0.25 * 2.0), rtol=1e-15)


@every_elementwise
def test_the_default_envelope_changes_nothing(name: str) -> None:
    rule, p, g = CASES[name], parameters(N), gradients(1, N)[0]
    carried = host_carry(rule, 1, *rule.carried.values())
    slots = reference.init(rule, p)
    expected = rule.form().update(p, g, *slots, *host_scalars(rule, 1, *carried))
    for a, b in zip(reference.step(rule, 1, p, g, slots, carried=carried), expected, strict=True):
        np.testing.assert_array_equal(a, b)


@every_case
def test_maximize_is_descent_on_the_negated_gradient(name: str) -> None:
    p, grads = parameters(N), gradients(5, N)
    up = run_reference(CASES[name], p, grads, Envelope(scale=-1))[-1]
    down = run_reference(CASES[name], p, -grads)[-1]
    for a, b in zip(up, down, strict=True):
        np.testing.assert_array_equal(a, b)


@every_case
def test_a_traced_step_is_the_same(name: str) -> None:
    """The step number too may be an array: a front end that traces whole steps has no other."""
    jax = pytest.importorskip("jax")
    rule, p, g = CASES[name], parameters(N), gradients(1, N)[0]
    carried = host_carry(rule, 1, *rule.carried.values())
    slots = reference.init(rule, p)
    with jax.enable_x64(True):
        step = jax.jit(
            lambda t, p, g, *slots: reference.step(rule, t, p, g, slots, carried=carried, xp=jax.numpy)
        )
        actual = step(jax.numpy.array(1), p, g, *slots)
    for a, b in zip(actual, reference.step(rule, 1, p, g, slots, carried=carried), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)


class Listed:
    """Several arrays as one, with operators: what a front end makes of many tensors."""

    def __init__(self, arrays: list[np.ndarray]) -> None:
        self.arrays = arrays


def _operator(name: str) -> Callable[[Listed, Any], Listed]:
    def apply(self: Listed, other: Any) -> Listed:
        others = other.arrays if isinstance(other, Listed) else [other] * len(self.arrays)
        return Listed([getattr(a, name)(b) for a, b in zip(self.arrays, others, strict=True)])

    return apply


for _name in ("add", "sub", "mul", "truediv", "pow", "gt", "lt", "eq", "ne"):
    for _side in ("", "r"):
        setattr(Listed, f"__{_side}{_name}__", _operator(f"__{_side}{_name}__"))


class OfLists:
    """Their namespace."""

    def __getattr__(self, name: str) -> Any:
        def function(*values: Any) -> Any:
            listed = [x.arrays if isinstance(x, Listed) else None for x in values]
            count = len(next(x for x in listed if x is not None))
            columns = [x or [value] * count for x, value in zip(listed, values, strict=True)]
            return Listed([getattr(np, name)(*row) for row in zip(*columns, strict=True)])

        return function


@pytest.mark.parametrize(
    "name", [name for name in CASES if name != "OwnRule" and not has_sums(CASES[name])]
)  # np.float64 times anything is an array
def test_a_step_needs_operators_and_its_namespace_alone(name: str) -> None:
    rule, xp = CASES[name], OfLists()
    params, grads = [parameters(n) for n in (3, 5)], [gradients(1, n)[0] for n in (3, 5)]
    carried = host_carry(rule, 1, *rule.carried.values())
    slots = [reference.init(rule, p) for p in params]
    listed = [Listed(list(column)) for column in zip(*slots, strict=True)]
    found = reference.step(
        rule, 1, Listed(params), Listed(grads), listed, carried=carried, envelope=ENVELOPE, xp=xp
    )
    for k, (p, g) in enumerate(zip(params, grads, strict=True)):
        expected = reference.step(rule, 1, p, g, slots[k], carried=carried, envelope=ENVELOPE)
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_array_equal(a.arrays[k], b)


@every_case
def test_a_trajectory_is_steps_one_after_another(name: str) -> None:
    rule, p, grads = CASES[name], parameters(N), gradients(5, N)
    states = list(reference.trajectory(rule, p, lambda t, _: grads[t - 1], 5, envelope=ENVELOPE))
    assert [state.t for state in states] == [0, 1, 2, 3, 4, 5]
    for state, expected in zip(states, run_reference(rule, p, grads, ENVELOPE), strict=True):
        for a, b in zip((state.p, *state.slots), expected, strict=True):
            np.testing.assert_array_equal(a, b)


def test_a_trajectory_sees_where_it_is_and_takes_any_envelope_and_start() -> None:
    states = reference.trajectory(
        SGD(lr=1.0, momentum=0.5),
        np.array([8.0]),
        lambda t, p: p / 8,
        2,
        slots=[np.array([2.0])],
        envelope=lambda t: Envelope(scale=-1.0 if t == 1 else 1.0),
    )
    # b = .5 * 2 - 1 = 0; then b = 0 + 8 / 8.
    assert [float(state.p[0]) for state in states] == [8.0, 8.0, 7.0]


def test_in_torch_numbers_stand_beside_tensors() -> None:
    """`torch.maximum` takes no number, and `torch.where` no bool; in a rule both work."""
    torch = pytest.importorskip("torch")
    from dataclasses import dataclass

    from adamas.rules import Rule, xp

    @dataclass(frozen=True)
    class Clipped(Rule):
        lr: float = 1.0

        def scalars(self, t):
            return (self.lr,)

        @staticmethod
        def update(p, g, lr):
            return (p - xp.where(lr > 0, lr, 0) * xp.minimum(xp.maximum(-0.5, g), 0.5),)

    for dtype in (torch.float32, torch.float64):
        (moved,) = reference.step(
            Clipped(),
            1,
            torch.zeros(3, dtype=dtype),
            torch.tensor([-2.0, 0.25, 2.0], dtype=dtype),
            [],
            xp=torch,
        )
        assert moved.tolist() == [0.5, -0.25, -0.5]
        assert moved.dtype == dtype
