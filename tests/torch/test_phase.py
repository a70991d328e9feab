"""Clipping, skipping, averaging and the loss scale in the step itself, beside torch's ways to do the same."""

from __future__ import annotations

import copy
import functools
import inspect
import io
import math
import pickle
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch_support import (
    OPTIMIZERS,
    Make,
    assert_rounding,
    assorted,
    bits,
    everything,
    give_gradients,
    leaf,
    randn,
    simple,
    train,
)

import adamas.torch
from adamas.torch import SGD, Adam, AdamW

every_optimizer = pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
# A rule of each kind: with state and steps, without either, with carried values, with state from the start.
KINDS = ["Adam", "SGD", "SGD-momentum", "NAdam", "Adagrad", "Lion"]
every_kind = pytest.mark.parametrize("make", [OPTIMIZERS[name] for name in KINDS], ids=KINDS)
BETA = 0.75


def grads_of(params: Sequence[Tensor]) -> list[Tensor]:
    return [p.grad for p in params if p.grad is not None]


def norm_of(params: Sequence[Tensor]) -> float:
    """The global norm of the gradients, in float64."""
    parts = [torch.view_as_real(g) if g.is_complex() else g for g in grads_of(params)]
    return math.sqrt(sum(float(g.detach().double().square().sum()) for g in parts))


# Clipping.


@every_optimizer
@pytest.mark.parametrize("clip", [0.5, 1e6], ids=["clips", "leaves"])
def test_clip_norm_is_clip_grad_norm_before_the_step(make: Make, clip: float) -> None:
    """Over every shape, layout and backend; the gradients themselves stay."""
    ours, theirs = assorted(torch.float32), assorted(torch.float32)
    opt, plain = make(ours, clip_norm=clip), make(theirs)
    for seed in range(4):
        give_gradients(ours, seed)
        give_gradients(theirs, seed)
        before = bits(grads_of(ours))
        torch.nn.utils.clip_grad_norm_(theirs, clip)
        opt.step()
        plain.step()
        assert bits(grads_of(ours)) == before
        assert opt.last_step.grad_norm == pytest.approx(norm_of(ours), rel=1e-12)
        assert opt.last_step.clip_factor == pytest.approx(min(1, clip / norm_of(ours)), rel=1e-5)
        assert not opt.last_step.skipped
    assert_rounding(ours, theirs)


def test_the_norm_is_that_of_all_groups_types_and_backends() -> None:
    params = [
        leaf(randn(300, seed=1)),
        leaf(randn(5, 3, seed=2).double()),
        leaf(randn(33, seed=3).bfloat16()),
        leaf(randn(8, seed=4).half()),
        leaf(randn(4, seed=5, dtype=torch.complex64)),
        leaf(randn(6, 6, seed=6)[:, ::2]),
        leaf(torch.empty(0)),
        leaf(randn(9, seed=7)),  # without a gradient
    ]
    graph = leaf(randn(7, seed=8)).clone()  # which the reference backend takes
    groups = [{"params": params[k::3], "lr": 0.1 * (k + 1)} for k in range(3)]
    groups = [{**group, "differentiable": False} for group in groups]
    opt = Adam([*groups, {"params": [graph]}], differentiable=True, clip_norm=0.25)
    graph.retain_grad()
    params.insert(0, graph)
    give_gradients(params[:-1], 0)
    expected = norm_of(params)
    opt.step()
    assert opt.last_step.grad_norm == pytest.approx(expected, rel=1e-12)
    assert opt.last_step.clip_factor == pytest.approx(0.25 / expected, rel=1e-5)
    assert opt.backend == "numba and reference"
    assert bits(params[-1]) == bits(leaf(randn(9, seed=7)))


def test_the_norm_of_a_differentiable_step() -> None:
    p = leaf(randn(4))
    moved = p.clone()
    opt = SGD([moved], lr=1.0, clip_norm=0.5, differentiable=True)
    moved.grad = torch.full((4,), 2.0)
    opt.step()
    assert opt.last_step.grad_norm == 4.0
    torch.testing.assert_close(moved, p - 0.25 * torch.ones(4))
    moved.sum().backward()
    assert p.grad is not None
    assert p.grad.tolist() == [1.0] * 4


@pytest.mark.parametrize("backend", ["numba", "reference"])
def test_gradients_whose_squares_overflow_are_clipped(backend: str) -> None:
    """And those whose squares vanish are not lost."""
    p, q = leaf(torch.zeros(3)), leaf(torch.zeros(3))
    opt = SGD([p], lr=1.0, clip_norm=5.0, backend=backend)
    p.grad = torch.tensor([3e30, -4e30, 0.0])
    opt.step()
    assert opt.last_step.grad_norm == pytest.approx(5e30)
    assert p.tolist() == pytest.approx([-3.0, 4.0, 0.0], rel=1e-6)
    tiny = SGD([q], lr=1.0, clip_norm=5.0, backend=backend)
    q.grad = torch.tensor([3e-30, -4e-30, 0.0])
    tiny.step()
    assert tiny.last_step.grad_norm == pytest.approx(5e-30)


def test_the_norm_does_not_depend_on_the_threads() -> None:
    g, norms = randn(300_001, seed=1), []
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            p = leaf(torch.zeros(300_001))
            opt = SGD([p], lr=0.1, clip_norm=1.0)
            p.grad = g
            opt.step()
            norms.append((opt.last_step.grad_norm, bits(p)))
    finally:
        torch.set_num_threads(before)
    assert all(norm == norms[0] for norm in norms)
    assert norms[0][0] == pytest.approx(float(g.double().norm()), rel=1e-12)


def test_zero_gradients_are_not_divided_by() -> None:
    p = leaf(torch.ones(3))
    opt = Adam([p], clip_norm=1.0)
    p.grad = torch.zeros(3)
    opt.step()
    assert opt.last_step == (0.0, 1.0, False, None)
    assert p.tolist() == [1.0] * 3


@pytest.mark.parametrize("bad", [math.nan, math.inf], ids=str)
@pytest.mark.parametrize("clip", [1.0, math.inf], ids=str)
def test_clipping_what_is_not_finite_does_what_torch_does(bad: float, clip: float) -> None:
    """With an infinite `clip_norm`, only the norm is measured."""
    ours, theirs = simple(), simple()
    opt, reference = SGD(ours, lr=0.1, clip_norm=clip), torch.optim.SGD(theirs, lr=0.1)
    for params in (ours, theirs):
        give_gradients(params, 1)
        params[0].grad[0, 0] = bad
    torch.nn.utils.clip_grad_norm_(theirs, clip)
    opt.step()
    reference.step()
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, equal_nan=True)


def test_nothing_is_measured_where_nothing_asks() -> None:
    params = simple()
    opt = Adam(params)
    assert opt.last_step == (None, 1.0, False, None)
    train(opt, params, range(2))
    assert opt.last_step == (None, 1.0, False, None)
    assert opt.skipped_steps == 0


def test_weight_decay_is_not_clipped() -> None:
    """Torch clips gradients before the optimizer adds its decay."""
    ours, theirs = simple(), simple()
    opt = Adam(ours, weight_decay=0.5, clip_norm=0.1, maximize=True)
    reference = torch.optim.Adam(theirs, weight_decay=0.5, maximize=True)
    for seed in range(3):
        give_gradients(ours, seed)
        give_gradients(theirs, seed)
        torch.nn.utils.clip_grad_norm_(theirs, 0.1)
        opt.step()
        reference.step()
    assert_rounding(ours, theirs)


# Skipping.

NONFINITE = [math.nan, math.inf, -math.inf]


def spoil(p: Tensor, value: float) -> None:
    """Replace the last element of a gradient."""
    assert p.grad is not None
    p.grad[(-1,) * p.dim()] = value


@every_optimizer
@pytest.mark.parametrize("value", NONFINITE, ids=str)
def test_a_step_with_a_bad_gradient_changes_nothing(make: Make, value: float) -> None:
    """Whichever gradient it is in; the next step goes on as if it had not been."""
    params, undisturbed = assorted(torch.float32), assorted(torch.float32)
    opt = make(params, skip_nonfinite=True, average=BETA)
    other = make(undisturbed, skip_nonfinite=True, average=BETA)
    bad = [k for k, p in enumerate(params) if p.numel()]
    for seed, k in enumerate(bad):
        before = everything(opt)
        give_gradients(params, 100 + seed)
        spoil(params[k], value)
        opt.step()
        assert everything(opt) == before
        assert opt.last_step.skipped
        assert opt.last_step.grad_norm is not None
        assert not math.isfinite(opt.last_step.grad_norm)
        assert opt.skipped_steps == seed + 1
        train(opt, params, [seed])
        train(other, undisturbed, [seed])
        assert not opt.last_step.skipped
    assert everything(opt) == everything(other)
    assert other.skipped_steps == 0


@every_kind
def test_a_first_step_that_is_skipped_leaves_no_trace(make: Make) -> None:
    """Not in the state either, by which a rule that does not count tells its first step."""
    params, fresh = simple(), simple()
    opt, other = make(params, skip_nonfinite=True), make(fresh)
    before = everything(opt)
    give_gradients(params, 0)
    spoil(params[1], math.nan)
    opt.step()
    assert everything(opt) == before
    params[0].grad = None  # another set of parameters, so that the plan is made anew
    fresh[0].grad = None
    for ps, o in ((params, opt), (fresh, other)):
        give_gradients(ps[1:], 1)
        o.step()
        train(o, ps, range(2, 4))
    assert everything(opt) == everything(other)


def test_a_first_step_that_is_skipped_and_saved() -> None:
    params, fresh = simple(), simple()
    make = functools.partial(SGD, momentum=0.9, dampening=0.5)
    opt = make(params, skip_nonfinite=True)
    give_gradients(params, 0)
    spoil(params[0], math.inf)
    opt.step()
    resumed = make(params)
    resumed.load_state_dict(opt.state_dict())
    other = make(fresh)
    train(resumed, params, range(3))
    train(other, fresh, range(3))
    assert bits(params) == bits(fresh)


def test_large_but_finite_gradients_are_not_skipped() -> None:
    p = leaf(torch.zeros(1000))
    opt = SGD([p], lr=1e-38, skip_nonfinite=True)
    p.grad = torch.full((1000,), 3e38)
    opt.step()
    assert not opt.last_step.skipped
    assert p.tolist() == pytest.approx([-3.0] * 1000)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64, torch.complex64], ids=str)
def test_skipping_in_every_dtype(dtype: torch.dtype) -> None:
    params = [leaf(randn(40, seed=1).to(dtype))]
    opt = Adam(params, skip_nonfinite=True)
    train(opt, params, range(2))
    before = everything(opt)
    give_gradients(params, 3)
    params[0].grad[7] = complex(1, math.nan) if dtype.is_complex else math.inf
    opt.step()
    assert (opt.skipped_steps, everything(opt) == before) == (1, True)


def test_without_skipping_nan_comes_through() -> None:
    params = simple()
    opt = Adam(params, clip_norm=1.0)
    give_gradients(params, 0)
    spoil(params[0], math.nan)
    opt.step()
    assert all(p.isnan().any() for p in params)
    assert opt.skipped_steps == 0


# Averaging.


def section_7_2(history: Sequence[Sequence[Tensor]]) -> list[Tensor]:
    """The paper's average: θ̄ ← β θ̄ + (1 - β) θ from zero, over 1 - β^t, in float64."""
    means = [torch.zeros_like(_wide(x)) for x in history[0]]
    for step in history:
        means = [BETA * mean + (1 - BETA) * _wide(x) for mean, x in zip(means, step, strict=True)]
    return [mean / (1 - BETA ** len(history)) for mean in means]


def _wide(x: Tensor) -> Tensor:
    return x.detach().to(torch.complex128 if x.is_complex() else torch.float64)


@every_optimizer
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_the_average_is_that_of_section_7_2(make: Make, dtype: torch.dtype) -> None:
    """After every step; from the first, which is the parameter itself. Each step rounds once: 64 units."""
    params, history = assorted(dtype), []
    opt = make(params, average=BETA)
    for seed in range(6):
        train(opt, params, [seed])
        history.append([p.detach().clone() for p in params])
        with opt.averaged_parameters():
            expected = [mean.to(p.dtype) for mean, p in zip(section_7_2(history), params, strict=True)]
            assert_rounding(params, expected)


@every_kind
def test_averaging_changes_no_step(make: Make) -> None:
    params, plain = assorted(torch.float32), assorted(torch.float32)
    train(make(params, average=BETA), params, range(4))
    train(make(plain), plain, range(4))
    assert bits(params) == bits(plain)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_the_average_of_a_half_is_kept_in_float32(dtype: torch.dtype) -> None:
    """Of unrounded parameters, so that it moves where a half would stand still."""
    p = leaf(torch.ones(4096, dtype=dtype))
    opt = SGD([p], lr=1e-5, average=0.9)
    for _ in range(3):
        p.grad = torch.ones(4096, dtype=dtype)
        opt.step()
    average = opt.state[p]["average"]
    assert average.dtype == torch.float32
    # Of p, rounded with its mean kept by a spacing of 2^-8 at most, 4,096 times.
    assert average.double().mean().item() == pytest.approx(1 - 2e-5, abs=4 * 2**-8 / 64)


def test_parameters_are_swapped_and_restored() -> None:
    params = assorted(torch.float32)
    opt = Adam(params, average=BETA)
    train(opt, params, range(5))
    before = bits(params)
    with opt.averaged_parameters():
        inside = bits(params)
        with opt.averaged_parameters():
            assert bits(params) == inside
        assert bits(params) == inside
    assert inside != before
    assert bits(params) == before


def test_parameters_are_restored_after_an_error() -> None:
    params = simple()
    opt = Adam(params, average=BETA)
    train(opt, params, range(3))
    before = everything(opt)
    with pytest.raises(ZeroDivisionError), opt.averaged_parameters():
        raise ZeroDivisionError
    assert everything(opt) == before


def test_training_goes_on_after_an_evaluation() -> None:
    params, undisturbed = simple(), simple()
    opt, other = Adam(params, average=BETA), Adam(undisturbed, average=BETA)
    for seed in range(4):
        train(opt, params, [seed])
        train(other, undisturbed, [seed])
        with opt.averaged_parameters(), torch.no_grad():
            assert all(p.requires_grad for p in params)
            sum(p.sum() for p in params)
    assert everything(opt) == everything(other)


def test_frozen_parameters_keep_their_values() -> None:
    trained, frozen, silent = leaf(randn(4)), randn(4, seed=1), leaf(randn(4, seed=2))
    opt = Adam([trained, frozen, silent], average=BETA)
    for seed in range(3):
        give_gradients([trained], seed)
        opt.step()
    before = bits([frozen, silent])
    with opt.averaged_parameters():
        assert bits([frozen, silent]) == before
    assert bits([frozen, silent]) == before
    assert list(opt.state) == [trained]


def test_before_the_first_step_the_average_is_the_parameter() -> None:
    params = simple()
    with Adam(params, average=BETA).averaged_parameters():
        assert bits(params) == bits(simple())


def test_a_parameter_that_begins_later_has_an_average_of_its_own() -> None:
    params = simple()
    opt = SGD(params, lr=0.1, average=BETA)
    give_gradients(params[:1], 0)
    opt.step()
    train(opt, params, range(1))
    with opt.averaged_parameters():
        averaged = params[1].detach().clone()
    assert bits(averaged) == bits(params[1].detach())


def test_an_optimizer_without_averages_says_so() -> None:
    with pytest.raises(RuntimeError, match=r"average=0\.999"), Adam(simple()).averaged_parameters():
        pass


@every_optimizer
def test_averages_are_saved_and_loaded(make: Make) -> None:
    make = functools.partial(make, average=BETA, clip_norm=1.0, skip_nonfinite=True)
    params, through = assorted(torch.float32), assorted(torch.float32)
    opt, whole = make(params), make(through)
    train(opt, params, range(4))
    train(whole, through, range(8))
    file = io.BytesIO()
    torch.save(opt.state_dict(), file)
    file.seek(0)
    again = make(params)
    again.load_state_dict(torch.load(file, weights_only=True))
    train(again, params, range(4, 8))
    assert everything(again) == everything(whole)


@every_kind
@pytest.mark.parametrize(
    "copied",
    [copy.deepcopy, lambda pair: pickle.loads(pickle.dumps(pair))],
    ids=["deepcopy", "pickle"],
)
def test_a_copy_of_an_optimizer_does_as_the_original(make: Make, copied: Callable[[Any], Any]) -> None:
    params = simple()
    opt = make(params, average=BETA, clip_norm=1.0, skip_nonfinite=True, state_format="bfloat16", seed=5)
    train(opt, params, range(3))
    give_gradients(params, 9)
    spoil(params[0], math.nan)
    opt.step()
    opt.zero_grad()
    other, others = copied((opt, params))
    train(opt, params, range(3, 6))
    train(other, others, range(3, 6))
    assert everything(other) == everything(opt)
    assert (other.options, other.skipped_steps) == (opt.options, 1)


@every_kind
def test_averaging_is_switched_on_with_a_checkpoint_that_has_none(make: Make) -> None:
    """The average starts at the parameters as they are, and follows with the weight of a step that late."""
    params = simple()
    opt = make(params)
    train(opt, params, range(3))
    later = make(params, average=BETA)
    later.load_state_dict(opt.state_dict())
    start = [p.detach().clone() for p in params]
    train(later, params, [3])
    counted = "step" in opt.state[params[0]]
    began = 3 if counted else 1 if opt.state[params[0]] else 0
    weight = (1 - BETA) / (1 - BETA ** (began + 1))
    with later.averaged_parameters():
        averaged = [p.detach().clone() for p in params]
    assert_rounding(averaged, [s + weight * (p - s) for s, p in zip(start, params, strict=True)])


def test_a_checkpoint_with_averages_loads_where_none_are_kept() -> None:
    params, plain = simple(), simple()
    opt, other = Adam(params, average=BETA), Adam(plain)
    train(opt, params, range(3))
    train(other, plain, range(3))
    again = Adam(params)
    again.load_state_dict(opt.state_dict())
    train(again, params, range(3, 5))
    train(other, plain, range(3, 5))
    assert bits(params) == bits(plain)


def test_an_average_of_another_shape_is_refused() -> None:
    params = simple()
    opt = Adam(params, average=BETA)
    train(opt, params, range(2))
    saved = copy.deepcopy(opt.state_dict())
    saved["state"][0]["average"] = torch.zeros(1)
    before = everything(opt)
    with pytest.raises(ValueError, match=r"'average'.*\(1,\).*\(5, 3\)"):
        opt.load_state_dict(saved)
    assert everything(opt) == before
    opt.state[params[0]]["average"] = torch.zeros(1)
    with pytest.raises(ValueError, match=r"'average'.*\(1,\).*\(5, 3\)"):
        opt.step()


def test_sgd_counts_steps_where_it_averages() -> None:
    """Without momentum it has no other state."""
    params = simple()
    opt = SGD(params, lr=0.1, average=BETA)
    train(opt, params, range(3))
    assert {key: value.dim() for key, value in opt.state[params[1]].items()} == {"step": 0, "average": 1}
    assert opt.state[params[0]]["step"] == 3


# With the rest of a training loop.


def test_a_closure_is_called_once_and_clipped() -> None:
    params, plain = simple(), simple()
    opt, reference = Adam(params, clip_norm=0.1, average=BETA), torch.optim.Adam(plain)
    calls = []

    def closure() -> Tensor:
        calls.append(1)
        opt.zero_grad()
        loss = sum((p**2).sum() for p in params)
        loss.backward()
        return loss

    for _ in range(3):
        assert opt.step(closure).item() > 0
        reference.zero_grad()
        sum((p**2).sum() for p in plain).backward()
        torch.nn.utils.clip_grad_norm_(plain, 0.1)
        reference.step()
    assert len(calls) == 3
    assert_rounding(params, plain)


def test_accumulated_gradients_are_clipped_as_a_whole() -> None:
    p, q = leaf(torch.zeros(2)), leaf(torch.zeros(2))
    opt, reference = SGD([p], lr=1.0, clip_norm=1.0), torch.optim.SGD([q], lr=1.0)
    for x in (p, q):
        (3 * x[0]).backward()
        (4 * x[1]).backward()
    torch.nn.utils.clip_grad_norm_([q], 1.0)
    opt.step()
    reference.step()
    assert opt.last_step.grad_norm == 5.0
    assert_rounding([p], [q])


def test_schedulers_work_beside_all_of_it() -> None:
    ours, theirs = simple(), simple()
    opt = AdamW(ours, lr=0.1, clip_norm=0.5, average=BETA, skip_nonfinite=True)
    reference = torch.optim.AdamW(theirs, lr=0.1)
    schedules = [torch.optim.lr_scheduler.ExponentialLR(o, 0.5) for o in (opt, reference)]
    history = []
    for seed in range(5):
        give_gradients(ours, seed)
        give_gradients(theirs, seed)
        torch.nn.utils.clip_grad_norm_(theirs, 0.5)
        for o, schedule in zip((opt, reference), schedules, strict=True):
            o.step()
            schedule.step()
        history.append([p.detach().clone() for p in ours])
    assert_rounding(ours, theirs)
    with opt.averaged_parameters():
        assert_rounding(ours, [mean.float() for mean in section_7_2(history)])


def test_the_options_of_a_group_may_change_under_way() -> None:
    ours, theirs = simple(), simple()
    opt, reference = Adam(ours, clip_norm=0.5, average=BETA), torch.optim.Adam(theirs)
    for seed, lr in enumerate((0.1, 0.01, 0.5)):
        for o, ps in ((opt, ours), (reference, theirs)):
            o.param_groups[0].update(lr=lr, betas=(0.5, 0.9 + 0.01 * seed), maximize=seed == 1)
            give_gradients(ps, seed)
        torch.nn.utils.clip_grad_norm_(theirs, 0.5)
        opt.step()
        reference.step()
    assert_rounding(ours, theirs)


def test_a_group_that_is_added_is_measured_too() -> None:
    params = simple()
    opt = Adam(params[:1], clip_norm=1.0, average=BETA)
    train(opt, params, range(2))
    opt.add_param_group({"params": params[1:], "lr": 0.1})
    give_gradients(params, 2)
    opt.step()
    assert opt.last_step.grad_norm == pytest.approx(norm_of(params), rel=1e-12)
    assert opt.state[params[1]]["step"] == 1
    assert "average" in opt.state[params[1]]


@every_optimizer
def test_a_step_of_nothing_before_a_checkpoint_is_loaded(make: Make) -> None:
    """What torch's distributed checkpoint does to have state to load into: zero gradients at lr 0."""
    make = functools.partial(make, average=BETA, clip_norm=1.0, skip_nonfinite=True)
    through, resumed = simple(), simple()
    whole, first = make(through), make(resumed)
    train(whole, through, range(6))
    train(first, resumed, range(3))
    saved, before = copy.deepcopy(first.state_dict()), bits(resumed)
    second = make(resumed)
    lr = [group["lr"] for group in second.param_groups]
    for group in second.param_groups:
        group["lr"] = 0.0
    for p in resumed:
        p.grad = torch.zeros_like(p)
    second.step()
    assert bits(resumed) == before
    with second.averaged_parameters():
        assert bits(resumed) == before
    for group, value in zip(second.param_groups, lr, strict=True):
        group["lr"] = value
    second.load_state_dict(saved)
    train(second, resumed, range(3, 6))
    assert everything(second) == everything(whole)


# Arguments.

BAD: list[tuple[dict[str, Any], str]] = [
    *(({"clip_norm": x}, r"clip_norm must lie in \(0, inf\]") for x in (0, -1.0, math.nan, "1", True, [1])),
    *(({"average": x}, r"average must lie in \[0, 1\)") for x in (1, 1.5, -0.1, math.nan, "0.9", True)),
    *(({"skip_nonfinite": x}, "skip_nonfinite must be True or False") for x in ("no", None, 2)),
    *(({"seed": x}, "seed must be an integer") for x in (1.5, "0", None, True)),
    *(({"backend": x}, "backend must be one of 'auto', 'numba'") for x in ("cuda", None, 3)),
    *(
        ({"state_format": x}, "state_format must be one of bfloat16, float16, float32, float4, float8")
        for x in ("int8", "float64", 8, b"float8", {"exp_avg": "fp9"}, {"exp_avg": None}, ["float8"])
    ),
    *(({"state_format": {x: "float8"}}, "exp_avg, exp_avg_sq, max_exp_avg_sq") for x in ("m", "step", 0)),
]


@pytest.mark.parametrize(("options", "message"), BAD, ids=str)
def test_a_bad_argument_is_one_clear_error(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Adam(simple(), **options)


def test_an_unknown_keyword_is_refused_by_name() -> None:
    for make in (Adam, adamas.torch.Lion, OPTIMIZERS["Optimizer"]):
        with pytest.raises(TypeError, match="clip_nrom"):
            make(simple(), clip_nrom=1.0)


def test_numbers_of_numpy_are_numbers() -> None:
    """A float32 among them would make all that depends on it float32."""
    opt = Adam(simple(), clip_norm=np.float32(1), average=np.float64(0.9), seed=np.int64(2**40))
    assert (opt.options.clip_norm, opt.options.average, opt.options.seed) == (1.0, 0.9, 2**40)
    params = simple()
    opt = Adam(params, average=np.float32(0.5), seed=np.int64(2**62), state_format="bfloat16")
    train(opt, params, range(2))


def test_every_keyword_is_in_every_signature() -> None:
    for name, make in OPTIMIZERS.items():
        if isinstance(make, type) and name not in ("AMSGrad", "AdaBelief", "Lion"):
            names = inspect.signature(make).parameters
            assert {"clip_norm", "skip_nonfinite", "average", "state_format", "seed", "backend"} <= set(names)
