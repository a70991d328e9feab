"""The scalars of a step computed on the device, in Triton's interpreter, beside those of the host."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gpu_support import OF_GPUS
from prepare_support import FLOAT32, FLOAT64, TIMES, Device, at_times, live_fields, on_host, traced
from rule_cases import CASES, every_case

import adamas.torch
from adamas.backends import RuleSourceError, host_carry, host_scalars, trace_scalars
from adamas.rules import SGD, Adam, Rule, xp
from adamas.torch.keywords import StepOptions
from adamas.torch.options import group_envelope

pytestmark = pytest.mark.skipif(not OF_GPUS, reason="there is no Triton for this system")


@every_case
def test_scalars_are_those_of_the_host(name: str) -> None:
    """Powers are the only operations not rounded once; in float32 not one scalar differs."""
    rule = CASES[name]
    expected = np.array([on_host(rule, t) for t in TIMES])
    device = at_times(rule)
    found = device.prepare()[:, 4:]
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(found.astype(np.float32), expected.astype(np.float32))
    # To the bit: counters are stored between steps, and a step from a checkpoint is the same.
    np.testing.assert_array_equal(device.counters[0], TIMES)
    np.testing.assert_array_equal(device.counters[1], 1)
    before = [float(np.float32(0.9 * value)) for value in rule.carried.values()]
    after = [np.array(host_carry(rule, t, *before), np.float32) for t in TIMES]
    np.testing.assert_array_equal(device.counters[2:].T, np.array(after).reshape(len(TIMES), -1))


def test_scalars_in_float32_are_those_in_float64_rounded() -> None:
    wide, narrow = (at_times(CASES["Adam"], real=real).prepare() for real in (FLOAT64, FLOAT32))
    np.testing.assert_array_equal(narrow, wide.astype(np.float32))


def test_the_weight_of_an_average_and_the_key_of_random_bits() -> None:
    for seed, average in ((-3, 0.0), (2**70 + 12345, 0.999)):
        options = StepOptions(average=average, seed=seed)
        device = at_times(SGD(), options)
        weights = device.prepare()[:, 3]
        assert device.keys.tolist() == [options.key(t) for t in TIMES]
        np.testing.assert_array_equal(weights, [options.average_weight(t) for t in TIMES])


def numbers_of(group: Mapping[str, Any]) -> list[tuple[str, int | None]]:
    """The places of the numbers among the options of a group."""
    found: list[tuple[str, int | None]] = []
    for name, value in group.items():
        parts = enumerate(value) if isinstance(value, tuple) else [(None, value)]
        found += [(name, k) for k, x in parts if isinstance(x, (int, float)) and not isinstance(x, bool)]
    return found


def with_numbers(group: Mapping[str, Any], places: Sequence[Any], numbers: Sequence[Any]) -> dict[str, Any]:
    changed = dict(group)
    for (name, k), number in zip(places, numbers, strict=True):
        old = changed[name]
        changed[name] = number if k is None else (*old[:k], number, *old[k + 1 :])
    return changed


OPTIMIZERS = {
    name: cls
    for name in adamas.torch.__all__
    if isinstance(cls := getattr(adamas.torch, name), type)
    and issubclass(cls, torch.optim.Optimizer)
    and name != "Optimizer"
}


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize(
    "options", [{}, {"weight_decay": 0.1}, {"weight_decay": 0.1, "maximize": True}], ids=str
)
def test_a_group_of_every_optimizer(name: str, options: dict[str, Any]) -> None:
    """The front end's own code, on numbers that are not known yet."""
    optimizer = OPTIMIZERS[name]([torch.zeros(1)], lr=0.01)
    group = {key: value for key, value in optimizer.param_groups[0].items() if key != "params"} | options
    places = numbers_of(group)
    values = [group[key] if k is None else group[key][k] for key, k in places]

    def make(numbers: Sequence[Any]) -> Any:
        changed = with_numbers(group, places, numbers)
        return optimizer.rule_of(changed), group_envelope(changed, optimizer.options)[:3]

    rule = optimizer.rule_of(group)
    traces = trace_scalars(make, values, list(rule.carried))
    taken = [[4.0], [1.0], *([value] for value in rule.carried.values())]
    found = Device(traces, [values], taken, counts_steps=rule.counts_steps).prepare()[0]
    t = 5 if rule.counts_steps else 2
    carried = host_carry(rule, t, *rule.carried.values())
    assert found[:3].tolist() == list(group_envelope(group, optimizer.options)[:3])
    np.testing.assert_allclose(found[4:], host_scalars(rule, t, *carried), rtol=1e-15)


def test_only_members_are_counted() -> None:
    rule = Adam()
    device = at_times(rule)
    before = device.counters.copy()
    device.members = np.array([[0, 5, 1], [3, 2, 0]], np.int64)
    rows = device.prepare()
    changed = (device.counters[0] != before[0]).nonzero()[0].tolist()
    assert changed == [2, 5]
    for row, t in ((0, TIMES[5]), (3, TIMES[2])):
        np.testing.assert_allclose(rows[row, 4:], on_host(rule, t), rtol=1e-12)
    assert np.isnan(rows[[1, 2, 4, 5, 6]]).all()


def test_more_parameters_than_a_program_takes() -> None:
    rule, count = Adam(), 300
    hyper = [[1e-3 * k, 0.9, 0.999, 1e-8] for k in range(count)]
    device = Device(traced(rule), hyper, [np.arange(count), np.ones(count)])
    rows = device.prepare()
    for k in (0, 1, 127, 128, 299):
        expected = host_scalars(dataclasses.replace(rule, lr=1e-3 * k), k + 1)
        np.testing.assert_allclose(rows[k, 4:], expected, rtol=1e-12)


@every_case
def test_another_hyperparameter_is_no_other_kernel(name: str) -> None:
    rule = CASES[name]
    changed = dataclasses.replace(rule, **{k: x * 0.75 for k, x in live_fields(rule).items()})  # type: ignore[type-var]
    kernels = [
        Device(traced(each), [[0.0]], [[0.0]] * (2 + len(rule.carried))).kernel for each in (rule, changed)
    ]
    assert kernels[0] is kernels[1]


@pytest.mark.parametrize(("one", "other"), [("SGD", "SGD-momentum"), ("RMSprop", "RMSprop-momentum")])
def test_a_branch_on_a_hyperparameter_is_noted(one: str, other: str) -> None:
    here, there = traced(CASES[one])[1], traced(CASES[other])[1]
    assert here.holds(list(live_fields(dataclasses.replace(CASES[one], lr=7.0)).values()))  # type: ignore[type-var]
    assert not here.holds(list(live_fields(CASES[other]).values()))
    assert not there.holds(list(live_fields(CASES[one]).values()))
    assert here.key != there.key


@dataclasses.dataclass(frozen=True)
class Own(Rule):
    """A rule whose scalars hold all that they may."""

    lr: float = 0.5
    warmup: float = 8.0
    power: float = -0.75

    def scalars(self, t):
        ramp = min(1, t / self.warmup) if self.warmup else 1.0
        wave = abs(t % 10 - 5) + t // 3 + max(t, 4, self.lr) - xp.sign(self.lr - 1)
        late = xp.where((t > 4) & ~(t == 7), xp.sqrt(t), 2 * (t < 3))
        return self.lr * ramp, t**self.power, wave, late, t**3 / self.warmup**t, 2.0**-t + (-self.lr) ** t

    @staticmethod
    def update(p, g, a, b, c, d, e, f):
        return (p - a * b * c * d * e * f * g,)


def test_a_rule_of_your_own() -> None:
    rule = Own()
    times = [1, 2, 3, 4, 5, 7, 10, 29, 30]
    device = Device(
        traced(rule), [[0.5, 8.0, -0.75]] * len(times), [np.array(times) - 1.0, np.ones(len(times))]
    )
    found = device.prepare()[:, 4:]
    np.testing.assert_allclose(found, [host_scalars(rule, t) for t in times], rtol=2e-15)


@dataclasses.dataclass(frozen=True)
class Warm(Rule):
    """A rule with a branch on t."""

    lr: float = 0.5

    def scalars(self, t):
        return (self.lr if t > 10 else 0.0,)

    @staticmethod
    def update(p, g, lr):
        return (p - lr * g,)


@dataclasses.dataclass(frozen=True)
class Exponential(Warm):
    """A rule with a function that devices do not have."""

    def scalars(self, t):
        return (self.lr * math.exp(-t),)


class Counting(Warm):
    """A rule that counts to t."""

    def scalars(self, t):
        return (self.lr * sum(range(t)),)


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        (Warm(), r"Warm.scalars: an `if`.*write xp.where.*test_triton"),
        (Exponential(), "Exponential.scalars: .*xp.sqrt"),
        (Counting(), "Counting.scalars: TypeError: .*test_triton"),
    ],
)
def test_what_cannot_be_computed_there_is_said(rule: Rule, says: str) -> None:
    with pytest.raises(RuleSourceError, match=says):
        traced(rule)


PROGRAM = """
import json, sys
from prepare_support import Device, traced
from rule_cases import CASES
from adamas.backends.triton import THREADS
from adamas.backends.triton.code import TARGETS
from adamas.backends.triton.launch import compiled
from adamas.torch.keywords import StepOptions

options = StepOptions(clip_norm=1.0, skip_nonfinite=True, average=0.9)
for name in json.loads(sys.argv[1]):
    device = Device(traced(CASES[name]), [[0.0]], [[0.0]] * (2 + len(CASES[name].carried)), options)
    for target in TARGETS.values():
        compiled(device.kernel.step, device.kernel.signature, target, THREADS)
"""


@pytest.mark.slow
def test_kernels_are_compiled_for_devices_that_are_not_there() -> None:
    tests = Path(__file__).parents[1]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tests), *sys.path])}
    environment.pop("TRITON_INTERPRET", None)
    command = [sys.executable, "-c", PROGRAM, json.dumps(["NAdam"])]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
