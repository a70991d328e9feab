"""Clipping by a running norm: the algorithm as documented, and where it agrees with exact clipping."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from state_support import through_a_file
from torch import Tensor
from torch_support import OPTIMIZERS, Make, assert_rounding, bits, everything, leaf, randn

from adamas.torch import SGD, Adam

every_optimizer = pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
SHAPES = ((5, 3), (4,), (2, 2, 2))


def params() -> list[Tensor]:
    return [leaf(randn(*shape, seed=k)) for k, shape in enumerate(SHAPES)]


def gradients(seed: int, size: float = 1.0) -> list[Tensor]:
    return [size * randn(*shape, seed=10 * seed + k) for k, shape in enumerate(SHAPES)]


def expected_factors(steps: Sequence[Sequence[Tensor]], clip: float) -> list[list[float]]:
    """What `step_in_backward` documents, in float64: the factor of each gradient in the order of arrival."""
    norms: list[float] = []
    factors = []
    for grads in steps:
        weights = [0.9 ** (len(norms) - 1 - k) for k in range(len(norms))]
        squares = sum(w * n**2 for w, n in zip(weights, norms, strict=True))
        past = math.sqrt(squares / sum(weights)) if norms else 0.0
        sofar, row = 0.0, []
        for g in grads:
            sofar += g.double().square().sum().item()
            row.append(min(1.0, clip / (max(past, math.sqrt(sofar)) + 1e-6)))
        norms.append(min(math.sqrt(sofar), 2 * past) if past else math.sqrt(sofar))
        factors.append(row)
    return factors


SIZES = (1.0, 1.5, 0.2, 8.0, 1.0, 0.01, 1.0)


def test_it_is_the_algorithm_that_is_documented() -> None:
    ours = params()
    expected = [p.detach().double() for p in ours]
    opt = SGD(ours, lr=1.0, clip_norm=2.0)
    opt.step_in_backward(clip="running")
    steps = [gradients(seed, size) for seed, size in enumerate(SIZES)]
    factors = expected_factors(steps, 2.0)
    assert len({round(f, 3) for row in factors for f in row}) > 5
    for grads, row in zip(steps, factors, strict=True):
        for p, g in zip(ours, grads, strict=True):
            p.backward(g)
        opt.step()
        expected = [q - f * g for q, f, g in zip(expected, row, grads, strict=True)]
        norm = math.sqrt(sum(g.double().square().sum().item() for g in grads))
        assert opt.last_step.grad_norm == pytest.approx(norm, rel=1e-6)
        assert opt.last_step.clip_factor == pytest.approx(min(row), rel=1e-6)
        assert not opt.last_step.skipped
    assert_rounding(ours, [q.float() for q in expected])


def test_a_gradient_larger_than_all_before_is_bounded() -> None:
    """Of each parameter at once, and of all together by the logarithm of what exact clipping would leave."""
    ours = params()
    opt = SGD(ours, lr=1.0, clip_norm=1.0)
    opt.step_in_backward(clip="running")
    for seed, size in enumerate((1.0, 1.0, 1e6)):
        before = [p.detach().clone() for p in ours]
        for p, g in zip(ours, gradients(seed, size), strict=True):
            p.backward(g)
        opt.step()
        moved = [(p - q).norm().item() for p, q in zip(ours, before, strict=True)]
    assert max(moved) <= 1.001
    assert math.hypot(*moved) <= math.sqrt(1 + math.log(len(SHAPES)) + 1)


def test_a_spike_holds_few_steps_down() -> None:
    """The running norm after it, and from then on, is near that of the other steps."""
    p = leaf(torch.ones(2))
    opt = SGD([p], lr=1.0, clip_norm=1.0)
    opt.step_in_backward(clip="running")
    factors = []
    for k in range(40):
        p.backward(torch.tensor([3.0, 4.0]) * (1e6 if k == 20 else 1.0))
        opt.step()
        factors.append(opt.last_step.clip_factor)
    assert factors[20] < 1e-6
    assert factors[21] > 0.8 * factors[19]
    assert factors[-1] > 0.95 * factors[19]


@every_optimizer
def test_below_the_bound_it_changes_no_bit(make: Make) -> None:
    results = []
    for options in ({}, {"clip_norm": 1e3}, {"clip_norm": math.inf}):
        ours = params()
        opt = make(ours, **options)
        opt.step_in_backward(**({"clip": "running"} if options else {}))
        for seed in range(4):
            for p, g in zip(ours, gradients(seed), strict=True):
                p.backward(g)
            opt.step()
        assert opt.last_step.clip_factor == 1.0
        results.append(bits([ours, opt.state_dict()["state"]]))
    assert results[0] == results[1] == results[2]


@every_optimizer
def test_one_parameter_of_steady_gradients_is_clipped_exactly(make: Make) -> None:
    """Then past, present and exact norm are the same number."""
    results = []
    for running in (True, False):
        p = leaf(torch.ones(8))
        opt = make([p], clip_norm=1.0)
        if running:
            opt.step_in_backward(clip="running")
        for seed in range(4):
            g = torch.roll(torch.tensor([3.0, 4.0] + [0.0] * 6), seed)
            p.backward(g)
            opt.step()
            opt.zero_grad()
            assert opt.last_step.grad_norm == 5.0
        results.append((p, opt.state[p]))
    assert_rounding([results[0][0]], [results[1][0]])


@every_optimizer
def test_resuming_has_the_same_bits(make: Make) -> None:
    """After any step; the mean is in the checkpoint."""

    def trained(resumed: int | None) -> Any:
        ours = [leaf(p.detach().to(torch.bfloat16)) for p in params()]
        opt = make(ours, clip_norm=0.5)
        opt.step_in_backward(clip="running")
        for seed, size in enumerate(SIZES):
            if seed == resumed:
                saved = through_a_file(opt.state_dict())
                opt = make(ours, clip_norm=0.5)
                opt.load_state_dict(saved)
                opt.step_in_backward(clip="running")
            for p, g in zip(ours, gradients(seed, size), strict=True):
                p.backward(g.to(torch.bfloat16))
            opt.step()
        return everything(opt), opt.last_step

    assert trained(None) == trained(1) == trained(4)


def test_a_step_of_micro_batches_counts_once() -> None:
    """By its whole sums."""
    ours = params()
    opt = SGD(ours, lr=1.0, clip_norm=1.0)
    stepper = opt.step_in_backward(clip="running")
    for k in range(3):
        with stepper.accumulate(k < 2):
            for p, g in zip(ours, gradients(1), strict=True):
                p.backward(g)
    opt.step()
    whole = 3 * math.sqrt(sum(g.square().sum().item() for g in gradients(1)))
    assert opt.last_step.grad_norm == pytest.approx(whole, rel=1e-5)
    mean, weight = opt.state_dict()["param_groups"][0]["running_clip"]
    assert mean / weight == pytest.approx(whole**2, rel=1e-5)


@pytest.mark.parametrize("bad", [math.nan, math.inf, 0.0])
def test_a_step_without_a_norm_leaves_the_mean(bad: float) -> None:
    """One that is not finite would stay there for ever; parameters become what they do in exact clipping."""
    p, q = leaf(torch.ones(2)), leaf(torch.ones(2))
    opt, exact = SGD([p], lr=1.0, clip_norm=1.0), SGD([q], lr=1.0, clip_norm=1.0)
    opt.step_in_backward(clip="running")
    p.backward(torch.tensor([3.0, 4.0]))
    opt.step()
    before = opt.state_dict()["param_groups"][0]["running_clip"]
    with torch.no_grad():
        q.copy_(p)
    p.backward(torch.full((2,), bad))
    opt.step()
    opt.step()
    q.grad = torch.full((2,), bad)
    exact.step()
    assert opt.state_dict()["param_groups"][0]["running_clip"] == before
    torch.testing.assert_close(p.detach(), q.detach(), rtol=0, atol=0, equal_nan=True)


def test_torch_loads_its_checkpoint() -> None:
    ours, theirs = params(), params()
    opt = Adam(ours, clip_norm=1.0)
    opt.step_in_backward(clip="running")
    for p, g in zip(ours, gradients(0), strict=True):
        p.backward(g)
    opt.step()
    other = torch.optim.Adam(theirs)
    other.load_state_dict(through_a_file(opt.torch_state_dict()))
    for q in theirs:
        q.grad = torch.ones_like(q)
    other.step()
