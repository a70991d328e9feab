"""Every rule with its state and parameters in storage formats, beside the float64 reference."""

from __future__ import annotations

import dataclasses
import importlib.util
import re
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from code_support import SCALED, STORED, coarseness, smallest, spacing
from format_support import EPS, TINY, Driver, Stored, representable
from gpu_support import OF_GPUS
from rule_cases import BEGINS, FORMS, parameters, with_lr

from adamas import formats
from adamas.backends import Envelope, reference
from adamas.rules import Adam, Rule

STATES = STORED
PARAMS = ["float32", "bfloat16", "float16"]
N = 300  # two blocks and a part of one
ENVELOPE = Envelope(scale=0.5, coupled_decay=1e-3, decay_factor=1 - 1e-4, average=0.25)

# Every rule in every scaled format, which tells signed slots from others, and in another with averages kept;
# Adam with all formats of parameters and state; slots that differ. Not the full product, for each is a
# compilation.
BLOCKS = [
    pytest.param(name, "float32", state, False, id=f"{name}-float32-{state}")
    for name in FORMS
    for state in SCALED
]
OTHERS = [state for state in STATES if state not in SCALED]
HALVES = [
    pytest.param(name, PARAMS[k % 3], OTHERS[k % len(OTHERS)], True, id=f"{name}-{k % 3}-{k % len(OTHERS)}")
    for k, name in enumerate(FORMS)
]
ADAM = [
    pytest.param("Adam", p, state, False, id=f"Adam-{p}-{state}-plain")
    for p in PARAMS
    for state in STATES
    if (p, state not in SCALED) != ("float32", False)
]
MIXED = [
    pytest.param("Adam", "bfloat16", {"m": "float8", "v": "bfloat16"}, True, id="Adam-mixed"),
    pytest.param(
        "AMSGrad", "float16", {"m": "float16", "v": "float8", "v_max": "float32"}, False, id="AMSGrad-mixed"
    ),
    pytest.param("Adam", "bfloat16", {"m": "float4", "v": "float8"}, True, id="Adam-packed-and-not"),
]


def moderate(steps: int, n: int, seed: int = 0) -> np.ndarray:
    """Gradients over three decades, whose squares float16 can hold."""
    random = np.random.default_rng(seed)
    return random.standard_normal((steps, n)) * 10.0 ** random.uniform(-3, 0, n)


def lost(array: Stored, exact: np.ndarray) -> np.ndarray:
    """What storing a value may change it by at most: the distance of the two codes beside it, and what is
    flushed to zero, by a little more where a scale takes part."""
    if not array.format.scaled:
        return spacing(array.format, exact) + TINY
    return 1.0001 * spacing(array.format, exact, array.spread) + 4 * TINY


def exact_step(driver: Driver, rule: Rule, g: np.ndarray) -> tuple[np.ndarray, ...]:
    """The float64 reference's next step from what a driver has stored."""
    p, *slots = (array.values.astype(np.float64) for array in (driver.params[0], *driver.slots[0]))
    mean = driver.averages[0][0].values.astype(np.float64) if driver.averages[0] else None
    carried = rule.carry(driver.t + 1, *driver.carried)
    return reference.step(rule, driver.t + 1, p, g, slots, carried=carried, envelope=ENVELOPE, mean=mean)


def assert_stored(driver: Driver, before: list[np.ndarray], exact: tuple[np.ndarray, ...]) -> None:
    """Every array holds the exact value to its format's spacing, and float32's arithmetic before that:

    of a slot, 32 roundings of the larger of its old and new size (a difference may cancel); of the
    parameter and its average, 8 of their sizes and 64 of the largest step, whose root and quotient carry
    the roundings of their operands.
    """
    longest = np.abs(exact[0] - before[0]).max()
    arrays = [driver.params[0], *driver.slots[0], *driver.averages[0]]
    last = len(arrays) - len(driver.averages[0])
    for k, (array, old, new) in enumerate(zip(arrays, before, exact, strict=True)):
        size = np.maximum(np.abs(old), np.abs(new))
        rounding = EPS * (32 * size if 0 < k < last else 8 * size + 64 * longest)
        excess = np.abs(array.values - new) - lost(array, new) - rounding
        assert (excess <= 0).all(), f"step {driver.t}, array {k}: {excess.max()} beyond the bound"


def assert_every_step(driver: Driver, rule: Rule, p: str, grads: np.ndarray) -> None:
    """From what is stored, each step: nothing can add up unseen."""
    for g in grads:
        g = representable(p, g)
        before = [array.values.astype(np.float64) for array in driver.arrays]
        exact = exact_step(driver, rule, g)
        driver.step(g, envelope=ENVELOPE)
        assert_stored(driver, before, exact)


@pytest.mark.parametrize(("name", "p", "state", "average"), BLOCKS + HALVES + ADAM + MIXED)
def test_every_step_is_the_references_to_the_precision_of_the_formats(
    name: str, p: str, state: str | dict[str, str], average: bool
) -> None:
    driver = Driver(FORMS[name], [parameters(N)], p, state, average=average)
    assert_every_step(driver, FORMS[name], p, moderate(100, N))


# Of the difference of two gradients in a slot more is lost than the bounds allow.
@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("name", [name for name in FORMS if name != "Adan"])
@pytest.mark.parametrize("backend", OF_GPUS)
def test_every_step_of_kernels_for_gpus(backend: str, name: str, state: str) -> None:
    """Every rule in every format, over a tile that is whole and one that is not."""
    place = list(FORMS).index(name) + STATES.index(state)
    p, average = PARAMS[place % 3], place % 2 == 0
    n, rule = 1024 + N, FORMS[name]
    driver = Driver(rule, [parameters(n)], p, state, average=average, backend=backend, guard=48)
    assert_every_step(driver, rule, p, moderate(4, n))


# Whole runs, in the mean of squares. A second moment that n equal squares have built has been rounded at each
# of them with the variance |Δv| * spacing, which comes to half a relative spacing: √(2^-4 / 2) = .18 in
# float8, .044 in bfloat16, .016 in float16, of which the root halves, and a sum of steps evens out, a part.
LOST = {name: coarseness(name) ** 0.5 / 3 for name in STATES}
# Slots whose rounding would come back are refused by front ends.
RUNS = [
    case
    for case in BLOCKS + HALVES + ADAM
    if case.values[1] == "float32"
    and all(
        slot.least_bits <= formats.get(str(case.values[2])).bits
        for slot in FORMS[str(case.values[0])].form().slots.values()
    )
]


def displacement(rule: Rule, grads: np.ndarray) -> np.ndarray:
    start = parameters(grads.shape[1])
    *_, last = reference.trajectory(rule, start, lambda t, _: grads[t - 1], len(grads))
    return last.p - start


@pytest.mark.parametrize(("name", "p", "state", "average"), RUNS)
def test_a_run_ends_where_the_references_does(name: str, p: str, state: str, average: bool) -> None:
    """After 1, 10 and 100 steps with gradients that have a direction, in the mean of squares."""
    rule = with_lr(FORMS[name], 1e-2)
    grads = 0.05 + 0.05 * np.random.default_rng(0).standard_normal((100, 1024))
    driver = Driver(rule, [parameters(1024)], p, state, average=average)
    for t in range(1, 101):
        driver.step(grads[t - 1])
        if t in (1, 10, 100) and t >= BEGINS.get(name, 1):
            expected = displacement(rule, grads[:t])
            moved = driver.params[0].values.astype(np.float64) - parameters(1024)
            error = np.linalg.norm(moved - expected) / np.linalg.norm(expected)
            assert error <= LOST[state], t


# Sizes and neighbours.


@pytest.mark.parametrize("state", STATES)
def test_odd_sizes_and_neighbours(state: str) -> None:
    """Each tensor comes out as in the reference, and guards around every array, scales too, as they were."""
    sizes = [0, 1, 2, 3, 5, 127, 128, 129, 0, 255, 256, 257, 1001]
    driver = Driver(Adam(), [parameters(n, seed=n) for n in sizes], "bfloat16", state)
    for t in range(3):
        driver.step(*(representable("bfloat16", moderate(3, n, seed=n)[t]) for n in sizes))
    for k, n in enumerate(sizes):
        alone = Driver(Adam(), [parameters(n, seed=n)], "bfloat16", state, tensor_index=[k])
        for t in range(3):
            alone.step(representable("bfloat16", moderate(3, n, seed=n)[t]))
        for a, b in zip([driver.params[k], *driver.slots[k]], alone.arrays, strict=True):
            np.testing.assert_array_equal(a.data, b.data)


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("sizes", [[], [0], [0, 0]], ids=str)
def test_nothing_to_do(state: str, sizes: list[int]) -> None:
    driver = Driver(Adam(), [np.empty(n) for n in sizes], slots=state)
    driver.step(*(np.empty(n) for n in sizes))


def test_float64_parameters_are_computed_in_float64() -> None:
    """Whatever the state is stored in."""
    driver = Driver(Adam(), [parameters(N)], "float64", {"m": "float64", "v": "float64"})
    g = moderate(1, N)[0]
    expected, *_ = reference.step(Adam(), 1, parameters(N), g, reference.init(Adam(), g))
    driver.step(g)
    np.testing.assert_allclose(driver.params[0].values, expected, rtol=1e-14)


# What other libraries lose.

STEPS = 2000


def test_bfloat16_neither_stands_still_nor_forgets() -> None:
    """keras-hub#2629: p from 1 at lr 1e-5 and a constant gradient of .1, all in bfloat16, for 2,000 steps.

    Of 4,096 elements, whose means scatter by .00014 and .1 %.
    """
    n = 4096
    driver = Driver(with_lr(Adam(), 1e-5), [np.ones(n)], "bfloat16", "bfloat16")
    for _ in range(STEPS):
        driver.step(np.full(n, 0.1))
    p, m, v = (array.values.mean(dtype=np.float64) for array in driver.arrays)
    assert p == pytest.approx(0.98, abs=1e-3)
    assert v == pytest.approx(0.00865, rel=0.01)
    assert m == pytest.approx(0.1, rel=0.01)


@pytest.mark.parametrize("p", ["bfloat16", "float16"])
def test_weight_decay_is_not_lost(p: str) -> None:
    """OneTrainer#996: a decay of 1e-5 a step, far below the spacing of either format."""
    n = 4096
    driver = Driver(Adam(), [np.ones(n)], p, "bfloat16")
    for _ in range(STEPS):
        driver.step(np.zeros(n), envelope=Envelope(decay_factor=1 - 1e-5))
    assert driver.params[0].values.mean(dtype=np.float64) == pytest.approx((1 - 1e-5) ** STEPS, abs=1e-3)


@pytest.mark.parametrize("state", STATES)
def test_a_second_moment_decays_in_the_mean(state: str) -> None:
    """At .999 a step, which rounding to nearest would undo every time.

    The largest of each block grows a thousandfold, or, where a format has no codes so far below, stays.
    """
    wide = state not in SCALED or smallest(state, False) < 1e-5
    n = 1 << 15
    driver = Driver(Adam(beta2=0.999), [np.ones(n)], "float32", {"m": "float32", "v": state})
    kept = np.arange(n) % 128 == 0
    driver.step(np.where(kept, 1.0, 0.3))
    start = driver.slots[0][1].values[~kept].mean(dtype=np.float64)
    for _ in range(500):
        driver.step(np.where(kept, 1.0 if wide else 0.001**0.5, 0.0))
    end = driver.slots[0][1].values[~kept].mean(dtype=np.float64)
    # A scale that moves makes every step a rounding: in float8 one element then scatters by .6 of its value,
    # the mean of 32,512 by .0033; in float4, whose scale stays here, by √(500 .001 2^-2) = .35 and .002.
    assert end / start == pytest.approx(0.999**500, rel=0.015)


@pytest.mark.parametrize("p", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("state", STATES)
def test_a_step_of_size_zero_leaves_every_parameter_as_it_is(p: str, state: str) -> None:
    """To the bit, of all numbers there are: what a distributed checkpoint does before it loads."""
    codes = np.arange(1 << 16, dtype=np.uint16)
    values = (codes.astype(np.uint32) << 16).view(np.float32) if p != "float16" else codes.view(np.float16)
    values = values[np.isfinite(values) & ((values != 0) | ~np.signbit(values))].astype(np.float64)
    driver = Driver(with_lr(Adam(), 0.0), [values], p, state)
    before = driver.params[0].data.copy()
    driver.step(np.zeros(values.size), envelope=Envelope())
    np.testing.assert_array_equal(driver.params[0].data, before)
    for slot in driver.slots[0]:
        np.testing.assert_array_equal(slot.values, 0)


# Denormals.


@pytest.mark.parametrize("state", ["bfloat16", *SCALED])
@pytest.mark.parametrize("beta", [0.9, 0.95, 0.99])
def test_silent_state_ends_at_zero_and_is_never_denormal(state: str, beta: float) -> None:
    """Processors compute with denormals a hundred times slower (pytorch#3863); rounding would keep them."""
    driver = Driver(dataclasses.replace(Adam(), beta1=beta, beta2=beta), [np.ones(N)], "float32", state)
    for slot in driver.slots[0]:
        slot.write(np.logspace(-37, -34, N))
    silence = np.zeros(N)
    for _ in range(round(14 / (1 - beta))):  # of which ten decades, in powers of e, lead below 1e-38
        driver.step(silence)
        for slot in driver.slots[0]:
            values = np.abs(slot.values)
            assert ((values == 0) | (values >= TINY)).all()
    for slot in driver.slots[0]:
        np.testing.assert_array_equal(slot.values, 0)


# Machine code.


@pytest.fixture(scope="module")
def llvm(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], str]:
    """The optimized LLVM of a generated file, compiled afresh (a kernel from the cache has none)."""

    def compiled(source: Path) -> str:
        path = tmp_path_factory.mktemp("fresh") / "fresh_formats_kernel.py"
        path.write_bytes(source.read_bytes())
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec is not None
        assert spec.loader is not None
        module = sys.modules[path.stem] = importlib.util.module_from_spec(spec)
        try:
            spec.loader.exec_module(module)
        finally:
            del sys.modules[path.stem]
        return str(module.step.inspect_llvm())

    return compiled


def llvm_type(format: str) -> str:
    plain = {"float32": "float", "float64": "double", "float16": "half"}
    return plain.get(format, f"i{8 * formats.get(format).stored.itemsize}")


# Two halves that are stored as one word are whole vectors of words.
WHOLE = [*BLOCKS[: len(SCALED)], *ADAM, *MIXED[::2]]
WHOLE = [case for case in WHOLE if case.values[1] != case.values[2]]


@pytest.mark.parametrize(("name", "p", "state", "average"), WHOLE)
def test_whole_vectors_are_stored_and_nothing_widens(
    name: str, p: str, state: str | dict[str, str], average: bool, llvm: Callable[[Path], str]
) -> None:
    kernel = Driver(FORMS[name], [], p, state, average=average).kernel
    text = llvm(kernel.path)
    assert "double" not in text
    for format in {format.name for array, format in kernel.formats.items() if array != "g"}:
        assert re.search(rf"store <\d+ x {llvm_type(format)}>", text), f"{format} is not stored in vectors"
