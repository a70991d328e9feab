"""Checkpoints of state in storage formats: ours, torch's, and from every format into every other."""

from __future__ import annotations

import copy
import functools
import itertools
from typing import Any

import pytest
import torch
from code_support import SCALED, coarseness
from state_support import (
    FOR_ADAM,
    FORMATS,
    LARGE,
    SCALED_FOR_ADAM,
    STORED,
    fits,
    formats_in,
    large,
    loss_to,
    through_a_file,
)
from torch_support import DROP_IN, OPTIMIZERS, assert_rounding, bits, copies, everything, leaf, randn, train

from adamas.torch import SGD, Adam

every_format = pytest.mark.parametrize("format", FOR_ADAM)
# A rule of each kind: with two moments, without a count of steps, with a carried value, and a user's own.
KINDS = ["Adam", "SGD-nesterov", "NAdam", "Optimizer"]


RESUMED = [(name, torch.float32) for name in KINDS]
RESUMED += [("SGD", torch.bfloat16), ("SGD-nesterov", torch.bfloat16)]


@pytest.mark.parametrize(
    ("name", "dtype", "format"),
    [
        (name, dtype, format)
        for name, dtype in RESUMED
        for format in (*STORED, None)
        if format is None or fits(OPTIMIZERS[name], format)
    ],
    ids=str,
)
def test_resuming_changes_no_bit(name: str, dtype: torch.dtype, format: str | None) -> None:
    """Rounding depends on the step, so that is kept where a rule itself does not count."""
    make = functools.partial(OPTIMIZERS[name], state_format=format, seed=3)
    through, resumed = large(dtype), large(dtype)
    whole, first = make(through), make(resumed)
    train(whole, through, range(6))
    train(first, resumed, range(3))
    second = make(resumed)
    second.load_state_dict(through_a_file(first.state_dict()))
    train(second, resumed, range(3, 6))
    assert everything(second) == everything(whole)


def assert_kept(actual: dict[str, Any], expected: dict[str, Any], formats: set[str]) -> None:
    """State of one parameter in float32, up to the roundings of the formats that it went through."""
    for key, value in expected.items():
        if not torch.is_tensor(value) or not value.dim():
            continue
        losses = [loss_to(format, value, signed="sq" not in key) for format in formats]
        relative, absolute = (sum(each) for each in zip((0.0, 0.0), *losses, strict=True))
        torch.testing.assert_close(actual[key], value, rtol=relative, atol=absolute, msg=key)


@pytest.mark.parametrize(("source", "target"), list(itertools.product(FOR_ADAM, FOR_ADAM)))
def test_every_format_loads_into_every_other(source: str, target: str) -> None:
    params = large()
    opt = Adam(params, state_format=source)
    train(opt, params, range(3))
    saved = through_a_file(opt.state_dict())
    other = Adam(params, state_format=target)
    other.load_state_dict(saved)
    for p in params:
        p.grad = None
    params[2].grad = torch.zeros(9)
    other.step()  # converts what it uses, and leaves the rest for later
    before, after = opt.torch_state_dict()["state"], other.torch_state_dict()["state"]
    for k, p in enumerate(params[:2]):
        assert bits(after[k]) == bits(before[k])
        assert formats_in(other, p)["exp_avg"] == source
    # Rules do not change their state at β = 1, so that what is left is the conversion.
    other.param_groups[0].update(lr=0.0, betas=(1 - 2**-50, 1 - 2**-50))
    for p in params:
        p.grad = torch.zeros_like(p)
    other.step()
    after = other.torch_state_dict()["state"]
    for k, p in enumerate(params[:2]):
        assert set(formats_in(other, p).values()) == {target}
        # A block is scaled anew at every step, by next to nothing.
        assert_kept(after[k], before[k], {target} if source != target or target in SCALED else set())


@pytest.mark.parametrize("format", SCALED_FOR_ADAM)
def test_scaled_state_is_loaded_code_by_code(format: str) -> None:
    params = large()
    opt = Adam(params, state_format=format)
    train(opt, params, range(3))
    other = Adam(params, state_format=format)
    other.load_state_dict(through_a_file(opt.state_dict()))
    assert bits(other.state_dict()) == bits(opt.state_dict())


VARIANTS: list[tuple[str, dict[str, Any]]] = [
    ("Adam", {"amsgrad": True}),
    ("SGD", {"momentum": 0.9, "dampening": 0.5}),
    ("RMSprop", {"centered": True, "momentum": 0.9}),
    *((name, {}) for name in DROP_IN),
]


def takes(name: str, options: dict[str, Any], format: str) -> bool:
    return fits(functools.partial(DROP_IN[name], **options), format)


TO_TORCH: list[tuple[str, dict[str, Any], str | None]] = [(*variant, None) for variant in VARIANTS]
TO_TORCH += [(*variant, "float8") for variant in VARIANTS if takes(*variant, "float8")]
TO_TORCH += [
    (name, {}, format) for name in ("Adam", "Adagrad", "SGD") for format in STORED if takes(name, {}, format)
]


@pytest.mark.parametrize(("name", "options", "format"), TO_TORCH, ids=str)
def test_the_state_goes_to_torch(name: str, options: dict[str, Any], format: str | None) -> None:
    """Torch's next step from it is ours from the same state in float32."""
    params = large()
    opt = DROP_IN[name](params, state_format=format, **options)
    train(opt, params, range(3))
    before = everything(opt)
    saved = through_a_file(opt.torch_state_dict())
    assert everything(opt) == before
    theirs, ours = copies(params), copies(params)
    reference = getattr(torch.optim, name)(theirs, foreach=False, **options)
    expected = getattr(torch.optim, name)(copies(params), foreach=False, **options)
    train(expected, expected.param_groups[0]["params"], range(1))
    for k, state in saved["state"].items():
        known = expected.state[expected.param_groups[0]["params"][k]]
        assert {key: (x.dtype, x.shape) for key, x in state.items()} == {
            key: (x.dtype, x.shape) for key, x in known.items() if x is not None
        }
    reference.load_state_dict(copy.deepcopy(saved))
    other = DROP_IN[name](ours, **options)
    other.load_state_dict(saved)
    train(reference, theirs, range(3, 5))
    train(other, ours, range(3, 5))
    assert_rounding(ours, theirs)


@pytest.mark.parametrize("name", ["Adam", "SGD"])
def test_averages_do_not_go_to_torch(name: str) -> None:
    params = large()
    opt = DROP_IN[name](params, average=0.5)
    train(opt, params, range(2))
    plain = DROP_IN[name](copies(params))
    train(plain, plain.param_groups[0]["params"], range(2))
    sent, known = opt.torch_state_dict()["state"], plain.state_dict()["state"]
    assert [state.keys() for state in sent.values() if state] == [state.keys() for state in known.values()]


def test_state_that_no_option_uses_now_does_not_go_to_torch() -> None:
    params = large()
    opt = Adam(params, amsgrad=True, state_format="float8")
    train(opt, params, range(2))
    opt.param_groups[0]["amsgrad"] = False
    assert opt.torch_state_dict()["state"][0].keys() == {"step", "exp_avg", "exp_avg_sq"}
    assert set(formats_in(opt, params[0]).values()) == {"float8"}
    assert "max_exp_avg_sq_float8" in opt.state_dict()["state"][0]


@pytest.mark.parametrize(
    ("name", "options", "format"),
    [
        (name, options, format)
        for name, options in [*VARIANTS[:3], ("Adagrad", {})]
        for format in FORMATS
        if takes(name, options, format)
    ],
    ids=str,
)
def test_the_state_of_torch_loads_into_every_format(name: str, options: dict[str, Any], format: str) -> None:
    params = large()
    reference = getattr(torch.optim, name)(params, foreach=False, **options)
    train(reference, params, range(3))
    theirs, ours = copies(params), copies(params)
    start = copies(params)
    again = getattr(torch.optim, name)(theirs, foreach=False, **options)
    again.load_state_dict(copy.deepcopy(reference.state_dict()))
    opt = DROP_IN[name](ours, state_format=format, **options)
    opt.load_state_dict(reference.state_dict())
    train(again, theirs, [3])
    train(opt, ours, [3])
    for p, q, s in zip(ours, theirs, start, strict=True):
        lost = 1e-5 if format == "float32" else coarseness(format) / 2
        assert ((p - q).norm() / (q - s).norm()).item() <= lost
    assert set(formats_in(opt, ours[1]).values()) == {format}


@every_format
def test_a_step_of_nothing_before_a_checkpoint_is_loaded(format: str) -> None:
    """What a distributed checkpoint does to have state to load into."""
    make = functools.partial(Adam, state_format=format)
    through, resumed = large(torch.bfloat16), large(torch.bfloat16)
    whole, first = make(through), make(resumed)
    train(whole, through, range(4))
    train(first, resumed, range(2))
    saved, before = copy.deepcopy(first.state_dict()), bits(resumed)
    second = make(resumed, lr=0.0)
    for p in resumed:
        p.grad = torch.zeros_like(p)
    second.step()
    assert bits(resumed) == before
    second.load_state_dict(saved)
    train(second, resumed, range(2, 4))
    assert everything(second) == everything(whole)


@pytest.mark.parametrize("format", SCALED_FOR_ADAM)
def test_state_that_is_not_finite_is_loaded(format: str) -> None:
    p = leaf(randn(LARGE))
    opt = Adam([p], state_format="float32")
    train(opt, [p], range(1))
    opt.state[p]["exp_avg"][5] = float("inf")
    opt.state[p]["exp_avg_sq"][200] = float("nan")
    other = Adam([p], state_format=format)
    other.load_state_dict(opt.state_dict())
    train(other, [p], range(1, 2))
    wide = other.torch_state_dict()["state"][0]
    assert wide["exp_avg"][5].abs() > 1e18  # saturated
    assert wide["exp_avg_sq"][200].isnan()
    assert all(bool(wide[key][256:].isfinite().all()) for key in ("exp_avg", "exp_avg_sq"))


def test_a_slot_that_is_none_goes_to_torch() -> None:
    """As older versions of torch save the momentum of an SGD without any."""
    p = torch.zeros(5, requires_grad=True)
    opt = SGD([p], lr=0.1)
    saved = {**opt.state_dict(), "state": {0: {"momentum_buffer": None}}}
    opt.load_state_dict(saved)
    assert opt.torch_state_dict()["state"] == {0: {"momentum_buffer": None}}
