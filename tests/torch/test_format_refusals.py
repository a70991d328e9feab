"""Formats that are not fit for a slot are refused, at once and later, before anything has changed."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from code_support import UNSCALED
from state_support import FORMATS, LARGE, STORED, fits, formats_in
from torch import Tensor
from torch_support import OPTIMIZERS, bits, everything, leaf, randn, train

from adamas import formats
from adamas.rules import RMSprop
from adamas.torch import SGD, Adagrad, Adam, Optimizer

ENDING = [name for name in STORED if formats.get(name).largest is not None and name in UNSCALED]
COARSE = [name for name in STORED if formats.get(name).needs_divisor]
every_ending = pytest.mark.parametrize("format", ENDING)
every_coarse = pytest.mark.parametrize("format", COARSE)


def test_there_is_one_of_each() -> None:
    assert "float16" in ENDING
    assert "float4" in COARSE


def slots_of(name: str) -> dict[str, Any]:
    opt = OPTIMIZERS[name]([leaf(torch.zeros(2))])
    rule = opt.rule_of(opt.param_groups[0])  # type: ignore[attr-defined]
    return dict(rule.form().slots)


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("format", FORMATS)
def test_what_a_rule_keeps_says_which_formats_it_takes(name: str, format: str) -> None:
    slots, known = slots_of(name), formats.get(format)
    ends = format in ENDING and any(not slot.signed for slot in slots.values())
    coarse = known.needs_divisor and bool(slots) and all(slot.signed for slot in slots.values())
    short = any(known.bits < slot.least_bits for slot in slots.values())
    assert fits(OPTIMIZERS[name], format) == (not (ends or coarse or short))


# The message says what to do, and that works.


@every_ending
@pytest.mark.parametrize("make", [Adam, Adagrad])
def test_a_format_that_ends_is_refused_for_squares(make: Any, format: str) -> None:
    """Gradients of 256 have squares of 65,536: what stays there as infinity would stop the parameter."""
    p = leaf(torch.zeros(LARGE))
    with pytest.raises(ValueError, match=rf"'{format}'.*'bfloat16'"):
        make([p], state_format=format)
    make([p], state_format="bfloat16")


@every_ending
def test_it_is_taken_for_signed_slots(format: str) -> None:
    p = leaf(torch.zeros(LARGE))
    opt = Adam([p], state_format={"exp_avg": format})
    train(opt, [p], range(2))
    assert formats_in(opt, p) == {"exp_avg": format, "exp_avg_sq": "float32"}
    with pytest.raises(ValueError, match="'exp_avg_sq'"):
        Adam([p], state_format={"exp_avg_sq": format})


@every_ending
@pytest.mark.parametrize("size", [1e3, 1e6, 1e20])
def test_large_gradients_saturate_and_never_freeze_a_parameter(format: str, size: float) -> None:
    """A momentum that has saturated decays from there; Adam moves by its stepsize every step."""
    p, q = leaf(torch.zeros(LARGE)), leaf(torch.zeros(LARGE))
    opt = Adam([p], lr=1e-3, state_format={"exp_avg": format})
    momentum = SGD([q], lr=1.0, momentum=0.9, state_format=format)
    for x, other in ((p, opt), (q, momentum)):
        for _ in range(5):
            x.grad = torch.full_like(x, size)
            other.step()
    moved = p[0].item()
    largest = formats.get(format).largest
    assert largest is not None
    if size < largest:
        assert moved == pytest.approx(-5e-3, rel=0.01)
    assert p.isfinite().all()
    assert momentum.state[q]["momentum_buffer"].isfinite().all()
    # Calm again, it forgets: .9^n of the largest number.
    for _ in range(300):
        q.grad = torch.zeros_like(q)
        momentum.step()
    before = q.detach().clone()
    q.grad = torch.ones_like(q)
    momentum.step()
    if size <= 1e6:
        assert ((before - q) > 0.5).all()
    for _ in range(200):
        p.grad = torch.full_like(p, -size)
        opt.step()
    assert (p > moved).all()


@every_coarse
@pytest.mark.parametrize(
    ("make", "options"), [(SGD, {"momentum": 0.9}), (OPTIMIZERS["Lion"], {})], ids=["SGD", "Lion"]
)
def test_a_coarse_format_is_refused_without_a_divisor(make: Any, options: Any, format: str) -> None:
    p = leaf(torch.zeros(LARGE))
    with pytest.raises(ValueError, match=rf"'{format}' is too coarse.*'float8'"):
        make([p], state_format=format, **options)
    make([p], state_format="float8", **options)


@pytest.mark.parametrize("format", [name for name in STORED if formats.get(name).rounds])
@pytest.mark.parametrize("options", [{"centered": True}, {"centered": True, "momentum": 0.9}], ids=str)
def test_a_difference_of_slots_keeps_them_in_float32(format: str, options: dict[str, Any]) -> None:
    p = leaf(torch.zeros(LARGE))
    make = OPTIMIZERS["RMSprop"]
    with pytest.raises(ValueError, match=r"too coarse for 'square_avg'|ends at"):
        make([p], state_format=format, **options)
    if "momentum" in options:
        opt = make([p], state_format={"momentum_buffer": format}, **options)
        train(opt, [p], range(2))
        assert formats_in(opt, p)["momentum_buffer"] == format


def test_the_divisor_of_rmsprop_is_a_difference() -> None:
    """With gradients of mean 1 and spread .1, v - mean² is a hundredth of either."""
    slots = RMSprop(centered=True).form().slots
    assert slots["v"].least_bits == slots["mean"].least_bits == 32
    assert all(slot.least_bits <= 8 for slot in RMSprop(momentum=0.9).form().slots.values())


# Later.


def test_a_group_that_is_added_is_refused_and_nothing_has_changed() -> None:
    a, b = leaf(randn(LARGE)), leaf(randn(LARGE, seed=1))
    opt = SGD([a], momentum=0.0, state_format="float4")
    train(opt, [a], range(2))
    before = everything(opt)
    with pytest.raises(ValueError, match="too coarse"):
        opt.add_param_group({"params": [b], "momentum": 0.9})
    assert everything(opt) == before
    assert len(opt.param_groups) == 1
    train(opt, [a], [2])


def switched(make: Any, p: Tensor, format: Any, options: dict[str, Any]) -> None:
    """A step raises once an option asks for a slot that the format is not fit for; then all goes on."""
    opt = make([p], state_format=format)
    train(opt, [p], range(2))
    before, old = everything(opt), dict(opt.param_groups[0])
    opt.param_groups[0].update(options)
    p.grad = torch.ones_like(p)
    for _ in range(2):
        with pytest.raises(ValueError, match="state_format"):
            opt.step()
        opt.param_groups[0].update({key: old[key] for key in options})
        assert everything(opt) == before
        opt.param_groups[0].update(options)
    opt.param_groups[0].update({key: old[key] for key in options})
    opt.step()
    assert bits(p) != before[0][0]


def test_an_option_that_asks_for_an_unfit_slot_is_refused_at_the_step() -> None:
    switched(SGD, leaf(randn(LARGE)), "float4", {"momentum": 0.9})
    switched(OPTIMIZERS["RMSprop"], leaf(randn(LARGE)), "float8", {"centered": True})
    switched(Adam, leaf(randn(LARGE)), {"max_exp_avg_sq": "float16"}, {"amsgrad": True})


def test_a_rule_of_ones_own_is_asked_too() -> None:
    with pytest.raises(ValueError, match="too coarse for 'v'"):
        Optimizer([leaf(torch.zeros(LARGE))], RMSprop(centered=True), state_format="float8")
