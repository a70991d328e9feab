"""Kernels against the float64 reference: every rule, in both dtypes, over short and long runs."""

import functools
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from gpu_support import OF_GPUS, every_backend
from rule_cases import (
    AMPLIFIES,
    CASES,
    FORMS,
    Driver,
    every_case,
    every_dtype,
    gradients,
    parameters,
    run_kernel,
    run_reference,
    state_names,
    undecayed,
    with_lr,
)

from adamas.backends import Envelope
from adamas.rules import Adam, Rule

N = 67  # whole vectors of every width, and a rest

History = list[tuple[np.ndarray, ...]]


def assert_agrees(actual: Sequence[np.ndarray], history: History, kept: bool = False) -> None:
    """`actual`, the parameter and slots a kernel ends with, is the reference's end, to rounding.

    The gradients do not depend on the parameters, so errors add up and are not amplified. With eps
    the spacing of the dtype at 1, each of the steps adds at most
    - to a slot: eps / 2 of it for rounding, and eps / 2 where a decay such as .999 is itself rounded;
      four more are left for the first step's products and sums; where terms have a factor that the rule keeps
      of its sums, rounded itself, as much again a step;
    - to the parameter: eps / 2 of it for rounding, and of the step taken four roundings (root,
      quotient, product, scalars) and half the relative error of the second moment, which the
      root halves: on average over the steps, steps * eps / 4.
    """
    steps = len(history) - 1
    eps = np.finfo(actual[0].dtype).eps
    tiny = np.finfo(actual[0].dtype).tiny  # what a kernel flushes to zero
    for k, (value, expected) in enumerate(zip(actual, history[-1], strict=True)):
        size = np.max([np.abs(now[k]) for now in history], axis=0)
        bound = eps * (4 + (2 if kept else 1) * steps) * size + tiny
        if k == 0:
            path = sum(np.abs(now[0] - before[0]) for before, now in pairwise(history))
            bound = eps * (steps / 2 * size + (4 + (2 if kept else 1) * steps / 4) * path) + eps * size
        error = np.abs(value - expected)
        assert (error <= bound).all(), f"array {k}: {np.max(error - bound)} beyond the bound"


every_stable_case = pytest.mark.parametrize("name", [name for name in CASES if name not in AMPLIFIES])


def keeps(rule: Rule) -> bool:
    """Whether a rule keeps something of its sums."""
    return len(state_names(rule)) > len(rule.form().slots)


@functools.cache
def judged(name: str, lr: float, steps: int) -> History:
    """The reference's history of a case, computed once for both dtypes."""
    return run_reference(with_lr(CASES[name], lr), parameters(N), gradients(steps, N))


@every_stable_case
@every_dtype
@pytest.mark.parametrize("steps", [1, 10, 1000])
@pytest.mark.parametrize("lr", [1e-3, 1.0])
def test_steps(name: str, dtype: np.dtype, steps: int, lr: float) -> None:
    actual = run_kernel(with_lr(CASES[name], lr), parameters(N).astype(dtype), gradients(steps, N))
    assert_agrees(actual, judged(name, lr, steps), keeps(CASES[name]))


@pytest.mark.parametrize("name", FORMS)
@every_dtype
@pytest.mark.parametrize("backend", OF_GPUS)
def test_steps_of_kernels_for_gpus(backend: str, name: str, dtype: np.dtype) -> None:
    """Over small tiles, and whole ones of two chunks."""
    rule, n = FORMS[name], 3 * 1024 + N
    actual = run_kernel(rule, parameters(n).astype(dtype), gradients(3, n), backend=backend)
    assert_agrees(actual, run_reference(rule, parameters(n), gradients(3, n)))


@every_case
@every_dtype
def test_without_gradients_nothing_moves(name: str, dtype: np.dtype) -> None:
    p = parameters(N).astype(dtype)
    moved, *_ = run_kernel(undecayed(CASES[name]), p, np.zeros((10, N)))
    np.testing.assert_array_equal(moved, p, strict=True)


@every_case
@every_dtype
def test_gradients_that_fall_silent(name: str, dtype: np.dtype) -> None:
    grads = np.concatenate([gradients(5, N), np.zeros((50, N))])
    actual = run_kernel(CASES[name], parameters(N).astype(dtype), grads)
    assert_agrees(actual, run_reference(CASES[name], parameters(N), grads))


@every_stable_case
@every_dtype
def test_many_tensors_of_odd_sizes(name: str, dtype: np.dtype) -> None:
    sizes = [0, 1, 2, 3, 5, 7, 8, 9, 15, 16, 17, 31, 33, 0, 63, 65, 127, 1001]
    params = [parameters(n, seed=n) for n in sizes]
    grads = [gradients(10, n, seed=n) for n in sizes]
    driver = Driver(CASES[name], [p.astype(dtype) for p in params])
    for t in range(10):
        driver.step(*(g[t].astype(dtype) for g in grads))
    found = zip(params, grads, driver.params, driver.slots, driver.kept, strict=True)
    for p, g, moved, slots, kept in found:
        if p.size:
            assert_agrees((moved, *slots, *kept[:, None]), run_reference(CASES[name], p, g), kept.size > 0)


@every_dtype
@every_backend
@pytest.mark.parametrize("sizes", [[], [0], [0, 0]], ids=str)
def test_nothing_to_do(dtype: np.dtype, backend: str, sizes: list[int]) -> None:
    driver = Driver(Adam(), [np.empty(n, dtype) for n in sizes], dtype=dtype, backend=backend)
    driver.step(*(np.empty(n, dtype) for n in sizes))


ENVELOPES = {
    "maximize": Envelope(scale=-1),
    "loss-scale": Envelope(scale=2.0**-10),
    "coupled": Envelope(coupled_decay=0.01),
    "decoupled": Envelope(decay_factor=1 - 1e-3),
    "all": Envelope(scale=-0.3, coupled_decay=0.01, decay_factor=0.99),
}


@every_case
@every_dtype
@pytest.mark.parametrize("envelope", ENVELOPES.values(), ids=ENVELOPES)
def test_envelope(name: str, dtype: np.dtype, envelope: Envelope) -> None:
    actual = run_kernel(CASES[name], parameters(N).astype(dtype), gradients(20, N), envelope)
    history = run_reference(CASES[name], parameters(N), gradients(20, N), envelope)
    assert_agrees(actual, history)


@every_dtype
def test_decoupled_decay_alone_shrinks(dtype: np.dtype) -> None:
    p = parameters(N).astype(dtype)
    moved, *_ = run_kernel(Adam(), p, np.zeros((1, N)), Envelope(decay_factor=0.5))
    np.testing.assert_array_equal(moved, p / 2, strict=True)


@every_dtype
@every_backend
def test_every_tensor_has_its_own_scalars(dtype: np.dtype, backend: str) -> None:
    rules: list[Rule] = [Adam(lr=1e-3), Adam(lr=1.0, beta1=0.5), Adam(lr=0.1, eps_placement="hat")]
    params = [parameters(N, seed=k) for k in range(3)]
    driver = Driver(Adam(), [p.astype(dtype) for p in params], rows=[0, 1, 2], backend=backend)
    grads = gradients(1, N).astype(dtype)
    driver.step(*(grads[0] for _ in rules), rules=rules)
    for rule, p, moved, slots in zip(rules, params, driver.params, driver.slots, strict=True):
        assert_agrees((moved, *slots), run_reference(rule, p, gradients(1, N)))


@every_dtype
@pytest.mark.parametrize("n", [10, 100_000])
def test_rows_may_be_shared_and_come_in_any_order(dtype: np.dtype, n: int) -> None:
    rules: list[Rule] = [Adam(lr=1e-3), Adam(lr=1.0)]
    rows = [1, 0, 1]
    params = [parameters(n, seed=k) for k in range(3)]
    driver = Driver(Adam(), [p.astype(dtype) for p in params], rows=rows, threads=2)
    driver.step(*(gradients(1, n)[0].astype(dtype) for _ in rows), rules=rules)
    for row, p, moved, slots in zip(rows, params, driver.params, driver.slots, strict=True):
        assert_agrees((moved, *slots), run_reference(rules[row], p, gradients(1, n)))


@pytest.mark.parametrize("backend", OF_GPUS)
def test_a_step_that_is_skipped_on_the_device_changes_nothing(backend: str) -> None:
    driver = Driver(Adam(), [parameters(N)], backend=backend)
    driver.job.skip(True)
    driver.step(gradients(1, N)[0])
    np.testing.assert_array_equal(driver.params[0], parameters(N), strict=True)
    assert not any(slot.any() for slot in driver.slots[0])
    driver.job.skip(False)
    driver.step(gradients(1, N)[0])
    assert (driver.params[0] != parameters(N)).all()
