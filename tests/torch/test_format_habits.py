"""State in storage formats through what training does around a step: copies, schedules, skips, failures."""

from __future__ import annotations

import copy
import io
import math
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from state_support import FOR_ADAM, SCALED_FOR_ADAM, formats_in, large, loss_to, tensors_of
from torch import Tensor
from torch_support import bits, default_dtype, everything, give_gradients, leaf, randn, train

import adamas.torch.members
from adamas.torch import Adam

every_scaled = pytest.mark.parametrize("format", SCALED_FOR_ADAM)
every_format = pytest.mark.parametrize("format", FOR_ADAM)


def made(format: str, **options: Any) -> tuple[list[Tensor], Adam]:
    params = large()
    return params, Adam(params, state_format=format, **options)


# Copies.


@every_format
@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))], ids=["copy", "pickle"]
)
def test_a_copy_of_model_and_optimizer_trains_on_alike(format: str, copied: Callable[[Any], Any]) -> None:
    params, opt = made(format, average=0.75)
    train(opt, params, range(2))
    others, other = copied((params, opt))
    train(opt, params, range(2, 4))
    train(other, others, range(2, 4))
    assert everything(other) == everything(opt)
    assert [formats_in(other, p) for p in others] == [formats_in(opt, p) for p in params]


@every_scaled
def test_a_copy_of_a_state_dict_is_not_trained_on(format: str) -> None:
    params, opt = made(format)
    train(opt, params, range(2))
    saved = copy.deepcopy(opt.state_dict())
    before = bits(saved["state"])
    train(opt, params, range(2, 4))
    assert bits(saved["state"]) == before


@every_scaled
def test_a_module_with_its_optimizer_through_one_file(format: str) -> None:
    model = torch.nn.Linear(80, 70)
    opt = Adam(model.parameters(), state_format=format)
    train(opt, list(model.parameters()), range(2))
    file = io.BytesIO()
    torch.save((model, opt), file)
    file.seek(0)
    again, other = torch.load(file, weights_only=False)
    train(opt, list(model.parameters()), [2])
    train(other, list(again.parameters()), [2])
    assert bits(list(model.parameters())) == bits(list(again.parameters()))


# Around a step.


@every_format
def test_a_schedule_changes_the_stepsize_alone(format: str) -> None:
    """As if the stepsize were given by hand."""
    params, opt = made(format, lr=0.1)
    others, other = made(format, lr=0.1)
    schedule = torch.optim.lr_scheduler.LambdaLR(opt, lambda t: 0.5**t)
    for t in range(4):
        other.param_groups[0]["lr"] = 0.1 * 0.5**t
        train(opt, params, [t])
        train(other, others, [t])
        schedule.step()
    assert bits(params) == bits(others)
    assert [bits(tensors_of(opt, p)) for p in params] == [bits(tensors_of(other, p)) for p in others]


@every_format
def test_clipping_is_that_of_torch(format: str) -> None:
    params, opt = made(format, clip_norm=0.5)
    others, other = made(format)
    for t in range(3):
        train(opt, params, [t])
        give_gradients(others, t)
        torch.nn.utils.clip_grad_norm_(others, 0.5)
        other.step()
    for p, q in zip(params, others, strict=True):
        # Where a last bit of the factor differs, a code may.
        assert ((p - q).norm() / q.norm()).item() <= 1e-3


@every_format
def test_a_first_step_that_is_skipped_leaves_no_state(format: str) -> None:
    """Neither codes nor scales, nor the order of dimensions; the next step is a first one."""
    params, opt = made(format, skip_nonfinite=True)
    others, other = made(format, skip_nonfinite=True)
    give_gradients(params, 0)
    params[1].grad[7] = math.nan  # type: ignore[index]
    before = bits(params)
    opt.step()
    assert opt.last_step.skipped
    assert bits(params) == before
    assert not any(tensors_of(opt, p) for p in params)
    train(opt, params, range(2))
    train(other, others, range(2))
    assert everything(opt) == everything(other)


@every_format
def test_a_later_step_that_is_skipped_changes_nothing(format: str) -> None:
    params, opt = made(format, skip_nonfinite=True)
    train(opt, params, range(2))
    before = everything(opt)
    give_gradients(params, 2)
    params[0].grad[3, 3] = math.inf  # type: ignore[index]
    opt.step()
    assert everything(opt) == before


@every_format
def test_parameters_that_take_turns_are_as_if_alone(format: str) -> None:
    params, opt = made(format)
    alone = [Adam([p], state_format=format, seed=0) for p in large()]
    single = [opt.param_groups[0]["params"][0] for opt in alone]
    for t in range(6):
        active = [k for k in range(3) if (t + k) % 3 != 0]
        for k, (p, q) in enumerate(zip(params, single, strict=True)):
            p.grad = q.grad = None
            if k in active:
                p.grad = torch.empty_like(p).copy_(randn(*p.shape, seed=10 * t + k))
                q.grad = p.grad.clone()
        opt.step()
        for k in active:
            alone[k].step()
    # The first is number 0 in both, and its rounding the same.
    assert bits(tensors_of(opt, params[0])) == bits(tensors_of(alone[0], single[0]))
    assert bits(params[0]) == bits(single[0])
    assert [opt.state[p]["step"].item() for p in params] == [4, 4, 4]


@every_format
def test_what_is_set_as_default_changes_nothing(format: str) -> None:
    params, opt = made(format)
    train(opt, params, range(3))
    others = large()
    gradients = [[torch.empty_like(p) for p in others] for _ in range(3)]
    for t, each in enumerate(gradients):
        give_gradients(others, t)
        for g, p in zip(each, others, strict=True):
            g.copy_(p.grad)  # type: ignore[arg-type]
    torch.set_default_device("meta")
    try:
        with default_dtype(torch.float64):
            other = Adam(others, state_format=format)
            for each in gradients:
                for p, g in zip(others, each, strict=True):
                    p.grad = g
                other.step()
    finally:
        torch.set_default_device(None)
    assert bits(others) == bits(params)
    for p, q in zip(params, others, strict=True):
        assert bits(tensors_of(opt, p)) == bits(tensors_of(other, q))


# Failures.


def loaded(source: str, target: str) -> tuple[list[Tensor], Adam]:
    """State in one format in an optimizer of another, which a step would convert."""
    params, opt = made(source)
    train(opt, params, range(2))
    other = Adam(params, state_format=target)
    other.load_state_dict(opt.state_dict())
    return params, other


def assert_kept(opt: Adam, before: dict[Any, Any], target: str) -> None:
    """Nothing is lost but what a conversion rounds."""
    after = opt.torch_state_dict()["state"]
    assert after.keys() == before.keys()
    for index, state in before.items():
        assert after[index].keys() == state.keys()
        for key in ("exp_avg", "exp_avg_sq"):
            relative, absolute = loss_to(target, state[key], signed=key == "exp_avg")
            torch.testing.assert_close(after[index][key], state[key], rtol=relative, atol=absolute)
        assert after[index]["step"] == state["step"]


@pytest.mark.parametrize("source", FOR_ADAM)
@pytest.mark.parametrize("target", FOR_ADAM)
def test_a_step_that_raises_loses_no_state(source: str, target: str) -> None:
    """It raises after the conversion, for a stepsize that float32 cannot hold."""
    params, opt = loaded(source, target)
    before = opt.torch_state_dict()["state"]
    values = bits(params)
    opt.param_groups[0]["lr"] = 1e300
    give_gradients(params, 2)
    for _ in range(2):
        with pytest.raises(ValueError, match="too large"):
            opt.step()
        assert_kept(opt, before, target)
        assert bits(params) == values
    opt.param_groups[0]["lr"] = 1e-3
    opt.step()
    assert [opt.state[p]["step"].item() for p in params] == [3, 3, 3]
    assert set(formats_in(opt, params[0]).values()) == {target}


@pytest.mark.parametrize("failing", [1, 2, 3, 4])
@every_scaled
def test_a_conversion_that_fails_loses_no_state(
    format: str, failing: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For want of memory, say: every slot is whole, in the old form or the new."""
    params, opt = loaded("bfloat16", format)
    before = opt.torch_state_dict()["state"]
    calls, convert = [], adamas.torch.members.convert

    def scarce(*args: Any) -> Any:
        calls.append(args)
        if len(calls) == failing:
            raise MemoryError
        return convert(*args)

    monkeypatch.setattr(adamas.torch.members, "convert", scarce)
    give_gradients(params, 2)
    with pytest.raises(MemoryError):
        opt.step()
    monkeypatch.undo()
    assert_kept(opt, before, format)
    opt.step()
    assert [opt.state[p]["step"].item() for p in params] == [3, 3, 3]


def test_state_of_a_parameter_without_gradient_is_left_as_it_was_loaded() -> None:
    params, opt = loaded("bfloat16", "float8")
    for p in params:
        p.grad = None
    params[0].grad = torch.zeros_like(params[0])
    opt.step()
    assert set(formats_in(opt, params[0]).values()) == {"float8"}
    assert set(formats_in(opt, params[1]).values()) == {"bfloat16"}


@every_scaled
@pytest.mark.parametrize("lost", ["codes", "scale", "order"])
def test_half_of_a_slot_is_an_error_that_names_it(format: str, lost: str) -> None:
    """Not a slot that begins anew."""
    p = leaf(randn(70, 61).t())
    opt = Adam([p], state_format=format)
    train(opt, [p], range(2))
    saved = copy.deepcopy(opt.state_dict())
    key = f"exp_avg_{format}" + ("" if lost == "codes" else f"_{lost}")
    del saved["state"][0][key]
    before = everything(opt)
    other = Adam([p], state_format=format)
    with pytest.raises(ValueError, match=r"'exp_avg'.*nothing was loaded"):
        other.load_state_dict(saved)
    assert not other.state
    assert everything(opt) == before
