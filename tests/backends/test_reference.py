"""The reference: one text in every namespace, dtypes kept, arguments left alone, the envelope as printed."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import pytest
from rule_cases import CASES, every_case, gradients, parameters, run_reference

from adamas.backends import Envelope, reference
from adamas.rules import SGD, Adagrad, Adam

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


@every_case
def test_arguments_stay_as_they_are(name: str) -> None:
    rule, p, grads = CASES[name], parameters(N), gradients(1, N)
    before = p.copy(), grads.copy()
    start, end = run_reference(rule, p, grads, ENVELOPE)
    np.testing.assert_array_equal(p, before[0])
    np.testing.assert_array_equal(grads, before[1])
    for array, slot in zip(start[1:], rule.form().slots.values(), strict=True):
        np.testing.assert_array_equal(array, slot.initial)
    assert not any(new is old for new, old in zip(end, start, strict=True))


@every_case
def test_init_is_the_rules_slots(name: str) -> None:
    p = parameters(N).astype(np.float32)
    slots = reference.init(CASES[name], p)
    assert len(slots) == len(CASES[name].form().slots)
    for array, slot in zip(slots, CASES[name].form().slots.values(), strict=True):
        np.testing.assert_array_equal(array, np.full_like(p, slot.initial), strict=True)


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
        assert all(np.shape(array) == shape for array in (p, *slots))


def test_the_envelope() -> None:
    """Gradient descent shows it: p shrinks, the gradient is scaled, then decay is added to it, unscaled."""
    p, g = np.array([2.0]), np.array([3.0])
    envelope = Envelope(scale=-2.0, coupled_decay=0.25, decay_factor=0.5)
    ((moved,),) = [run_reference(SGD(lr=0.1), p, [g], envelope)[-1]]
    np.testing.assert_allclose(moved, 0.5 * 2.0 - 0.1 * (-2.0 * 3.0 + 0.25 * 2.0), rtol=1e-15)


@every_case
def test_the_default_envelope_changes_nothing(name: str) -> None:
    rule, p, g = CASES[name], parameters(N), gradients(1, N)[0]
    (*_, carried) = [rule.carry(1, *rule.carried.values())]
    slots = reference.init(rule, p)
    expected = rule.form().update(p, g, *slots, *rule.scalars(1, *carried))
    for a, b in zip(reference.step(rule, 1, p, g, slots, carried=carried), expected, strict=True):
        np.testing.assert_array_equal(a, b)


@every_case
def test_maximize_is_descent_on_the_negated_gradient(name: str) -> None:
    p, grads = parameters(N), gradients(5, N)
    up = run_reference(CASES[name], p, grads, Envelope(scale=-1))[-1]
    down = run_reference(CASES[name], p, -grads)[-1]
    for a, b in zip(up, down, strict=True):
        np.testing.assert_array_equal(a, b)
