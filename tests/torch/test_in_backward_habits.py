"""Stepping in backward beside what users do: hooks, checkpoints, copies; and refusals, with their reasons."""

from __future__ import annotations

import copy
import gc
import pickle
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from in_backward_support import backward, loss_of, model, train_in_backward
from state_support import large, through_a_file
from torch import Tensor
from torch_support import (
    OPTIMIZERS,
    Make,
    bits,
    copies,
    everything,
    leaf,
    simple,
    train,
)

from adamas.torch import SGD, Adam, AdamW

every_optimizer = pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)


# What looks on.


def test_schedulers_and_last_step_are_those_of_plain_steps() -> None:
    """No scheduler warns that it came before the optimizer."""
    nets = model(), model()
    opts = [AdamW(net.parameters(), lr=0.1) for net in nets]
    opts[0].step_in_backward()
    schedules = [torch.optim.lr_scheduler.OneCycleLR(opt, 1.0, total_steps=6) for opt in opts]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for seed in range(5):
            for net, opt, schedule in zip(nets, opts, schedules, strict=True):
                loss_of(net, seed).backward()
                opt.step()
                schedule.step()
                opt.zero_grad()
            assert opts[0].last_step == opts[1].last_step
            assert opts[0].backend == opts[1].backend == "numba"
    assert everything(opts[0]) == everything(opts[1])


def test_post_hooks_of_the_step_see_it_closed() -> None:
    params, seen = simple(), []
    opt = Adam(params)
    opt.step_in_backward()
    opt.register_step_post_hook(lambda opt, *_: seen.append([float(opt.state[p]["step"]) for p in params]))
    train_in_backward(opt, params, range(2))
    assert seen == [[1.0, 1.0], [2.0, 2.0]]


def test_hooks_of_users_see_the_gradient_in_their_turn() -> None:
    p, seen = leaf(torch.zeros(2)), []
    p.register_post_accumulate_grad_hook(lambda p: seen.append(p.grad is not None))
    opt = SGD([p], lr=1.0)
    opt.step_in_backward()
    p.register_post_accumulate_grad_hook(lambda p: seen.append(p.grad is not None))
    p.register_hook(lambda g: 2 * g)
    p.sum().backward()
    assert seen == [True, False]
    assert p.tolist() == [-2.0, -2.0]


def test_averages_are_there_between_steps() -> None:
    ours, theirs = simple(), simple()
    opt, plain = Adam(ours, average=0.75), Adam(theirs, average=0.75)
    opt.step_in_backward()
    for seed in range(3):
        train_in_backward(opt, ours, [seed])
        train(plain, theirs, [seed])
        with opt.averaged_parameters(), plain.averaged_parameters():
            assert bits(ours) == bits(theirs)


# Checkpoints and changes of the optimizer.


@every_optimizer
def test_checkpoints_go_both_ways(make: Make) -> None:
    """Saved in backward and resumed plainly and the other way round, between any two steps."""
    ours, theirs = large(torch.bfloat16), large(torch.bfloat16)
    opt, plain = make(ours), make(theirs)
    opt.step_in_backward()
    for seed in range(4):
        train_in_backward(opt, ours, [seed])
        train(plain, theirs, [seed])
        saved, other = through_a_file(opt.state_dict()), through_a_file(plain.state_dict())
        opt.load_state_dict(other)
        plain.load_state_dict(saved)
    assert everything(opt) == everything(plain)


def test_loading_drops_a_step_that_was_begun() -> None:
    params = simple()
    opt = Adam(params)
    opt.step_in_backward()
    train_in_backward(opt, params, [0])
    saved, values = through_a_file(opt.state_dict()), copies(params)
    backward(params, 1)
    opt.load_state_dict(saved)
    with torch.no_grad():
        for p, value in zip(params, values, strict=True):
            p.copy_(value)
    train_in_backward(opt, params, [1])
    assert float(opt.state[params[0]]["step"]) == 2.0


def test_state_that_is_edited_is_read_again() -> None:
    ours, theirs = simple(), simple()
    opt, plain = Adam(ours), Adam(theirs)
    opt.step_in_backward()
    edits: list[Callable[[Any, Tensor], Any]] = [
        lambda opt, p: opt.state[p]["exp_avg"].zero_(),
        lambda opt, p: opt.state[p].update(exp_avg=torch.ones(5, 3)),
        lambda opt, p: opt.state[p]["step"].fill_(7),
        lambda opt, p: opt.state.pop(p),
        lambda opt, p: opt.state.clear(),
        lambda opt, p: opt.state.update({p: {}}),
    ]
    for seed, edit in enumerate(edits):
        train_in_backward(opt, ours, [seed])
        train(plain, theirs, [seed])
        edit(opt, ours[0])
        edit(plain, theirs[0])
    train_in_backward(opt, ours, [9])
    train(plain, theirs, [9])
    assert everything(opt) == everything(plain)


def test_groups_that_are_added_and_moved_are_stepped_in_backward() -> None:
    ours, theirs = [*simple(), *simple()], [*simple(), *simple()]
    results = []
    for params, in_backward in ((ours, True), (theirs, False)):
        opt = Adam(params[:2], lr=0.1)
        if in_backward:
            opt.step_in_backward()
        steps = train_in_backward if in_backward else train
        steps(opt, params[:2], [0])
        opt.add_param_group({"params": params[2:], "lr": 0.5})
        steps(opt, params, [1])
        opt.param_groups[1]["params"].append(opt.param_groups[0]["params"].pop())
        steps(opt, params, [2])
        opt.param_groups[0]["params"].clear()  # params[0] is no longer its own
        opt.state.pop(params[0])
        opt.zero_grad()
        backward(params, 3)
        assert params[0].grad is not None
        opt.step()
        results.append([*everything(opt), bits(params)])
    assert results[0] == results[1]


def test_a_group_that_cannot_be_is_not_added() -> None:
    params = simple()
    opt = Adam(params[:1])
    opt.step_in_backward()
    with pytest.raises(ValueError, match="differentiable"):
        opt.add_param_group({"params": params[1:], "differentiable": True})
    assert len(opt.param_groups) == 1
    train_in_backward(opt, params[:1], range(2))


@pytest.mark.parametrize("how", ["remove", "with"])
def test_after_its_end_steps_are_plain(how: str) -> None:
    ours, theirs = simple(), simple()
    opt, plain = Adam(ours), Adam(theirs)
    if how == "with":
        with opt.step_in_backward() as stepper:
            train_in_backward(opt, ours, range(2))
    else:
        stepper = opt.step_in_backward()
        train_in_backward(opt, ours, range(2))
        stepper.remove()
    stepper.remove()
    train(opt, ours, [2])
    assert ours[0].grad is not None
    opt.zero_grad()
    opt.step_in_backward()
    train_in_backward(opt, ours, [3])
    train(plain, theirs, range(4))
    assert everything(opt) == everything(plain)


@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))], ids=["deep", "pickle"]
)
@pytest.mark.parametrize("options", [{}, {"fused": True}], ids=["default", "fused"])
def test_a_copy_steps_plainly(copied: Callable[[Any], Any], options: dict[str, Any]) -> None:
    params = simple()
    opt = Adam(params, **options)
    opt.step_in_backward()
    train_in_backward(opt, params, range(2))
    other, theirs = copied((opt, params))
    flag = "_step_supports_amp_scaling"
    assert getattr(other, flag, False) == bool(options)
    train_in_backward(opt, params, [2])
    backward(theirs, 2)
    assert all(q.grad is not None for q in theirs)
    other.step()
    other.zero_grad()
    assert everything(other) == everything(opt)
    other.step_in_backward()
    train_in_backward(other, theirs, [3])


def test_an_optimizer_that_is_dropped_does_not_go_on() -> None:
    """As when a cell of a notebook is run again."""
    params = simple()
    opt = Adam(params)
    opt.step_in_backward()
    train_in_backward(opt, params, [0])
    opt = Adam(params)
    before = everything(opt)
    backward(params, 1)
    assert everything(opt) == before
    assert all(p.grad is not None for p in params)


def test_one_that_is_dropped_though_its_stepper_is_kept_is_missed() -> None:
    params = simple()
    stepper = Adam(params).step_in_backward()
    gc.collect()
    with pytest.raises(RuntimeError, match="deleted; keep it"):
        backward(params, 0)
    stepper.remove()
    backward(params, 1)


# Refusals.


REFUSED: dict[str, tuple[dict[str, Any], dict[str, Any], type[Exception], str]] = {
    "clip": ({"clip_norm": 1.0}, {}, ValueError, "clip_norm=1.0 needs the norm of all gradients.*freed them"),
    "skip": ({"skip_nonfinite": True}, {}, ValueError, "known only when all gradients are there"),
    "both": ({"clip_norm": 1.0, "skip_nonfinite": True}, {"clip": "running"}, ValueError, "without skipping"),
    "how": ({"clip_norm": 1.0}, {"clip": "exact"}, ValueError, "clip must be None or 'running', got 'exact'"),
    "nothing to clip": ({}, {"clip": "running"}, ValueError, "clip_norm"),
    "differentiable": ({"differentiable": True}, {}, ValueError, "differentiable"),
}


@pytest.mark.parametrize(("options", "arguments", "error", "message"), REFUSED.values(), ids=REFUSED)
def test_what_it_cannot_do_is_refused(
    options: dict[str, Any], arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    params = simple()
    opt = Adam(params, **options)
    with pytest.raises(error, match=message):
        opt.step_in_backward(**arguments)
    backward(params, 0)
    assert all(p.grad is not None for p in params)
    assert not getattr(opt, "_step_supports_amp_scaling", False)


def test_a_format_that_cannot_be_had_is_refused_before_a_backward() -> None:
    p = torch.zeros(5000, device="meta").requires_grad_()
    with pytest.raises(ValueError, match="float8"):
        Adam([p], state_format="float8").step_in_backward()


def test_twice_is_refused() -> None:
    opt = Adam(simple())
    opt.step_in_backward()
    with pytest.raises(RuntimeError, match="already"):
        opt.step_in_backward()


def test_two_optimizers_of_one_parameter_are_refused() -> None:
    p = leaf(torch.ones(2))
    one, two = SGD([p], lr=1.0), SGD([p], lr=1.0)
    stepper = one.step_in_backward()
    with pytest.raises(RuntimeError, match="another optimizer"):
        two.step_in_backward()
    p.sum().backward()
    assert p.tolist() == [0.0, 0.0]
    stepper.remove()
    two.step_in_backward()


def test_pre_hooks_of_the_step_are_refused_before_anything_moves() -> None:
    """One that clips would find no gradients."""
    params = simple()
    opt = Adam(params)
    hook = opt.register_step_pre_hook(lambda *_: None)
    with pytest.raises(RuntimeError, match="pre-hook"):
        opt.step_in_backward()
    hook.remove()
    opt.step_in_backward()
    hook = opt.register_step_pre_hook(lambda *_: None)
    before = everything(opt)
    with pytest.raises(RuntimeError, match="pre-hook"):
        backward(params, 0)
    assert everything(opt) == before
    hook.remove()
    opt.zero_grad()
    train_in_backward(opt, params, [0])


@pytest.mark.parametrize("options", [{}, {"fused": True}], ids=["default", "fused"])
def test_a_grad_scaler_is_refused(options: dict[str, Any]) -> None:
    """At its first step, and with the reason; until then nobody can tell that the loss was scaled."""
    params = simple()
    opt, scaler = Adam(params, **options), torch.amp.GradScaler("cpu")
    stepper = opt.step_in_backward()
    scaler.scale(params[0].sum()).backward()
    with pytest.raises(RuntimeError, match="GradScaler cannot unscale"):
        scaler.step(opt)
    stepper.remove()
    assert getattr(opt, "_step_supports_amp_scaling", False) == bool(options)
