"""Loss scaling: torch.amp.GradScaler treats our optimizers as it treats torch's."""

from __future__ import annotations

import copy
import functools
import inspect
import math
import pickle
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from torch_support import (
    CLASSES,
    DROP_IN,
    OPTIMIZERS,
    Make,
    assert_rounding,
    bits,
    everything,
    give_gradients,
    leaf,
    randn,
    simple,
    train,
)

import adamas.torch

every_optimizer = pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
every_drop_in = pytest.mark.parametrize("name", DROP_IN)


def scales_where_fused(cls: type[torch.optim.Optimizer]) -> bool:
    """Whether torch's class scales in the step if asked by `fused`; Adagrad of torch 2.11 does not."""
    if "fused" not in inspect.signature(cls).parameters:
        return False
    return bool(getattr(cls([leaf(torch.zeros(1))], fused=True), "_step_supports_amp_scaling", False))


FUSED = [name for name in DROP_IN if scales_where_fused(getattr(torch.optim, name))]
every_fused = pytest.mark.parametrize("name", FUSED)
WEIGHTS = (3.0, 4.0, 0.0, 0.0)  # a gradient of norm 5


def scaler_of(scale: float = 1024.0) -> torch.amp.GradScaler:
    return torch.amp.GradScaler("cpu", init_scale=scale, growth_interval=3)


def scaled_step(
    opt: torch.optim.Optimizer, p: Tensor, scaler: torch.amp.GradScaler, factor: float = 1.0
) -> None:
    opt.zero_grad()
    scaler.scale((p * torch.tensor(WEIGHTS)).sum() * factor).backward()
    scaler.step(opt)
    scaler.update()


def supports_scaling(opt: torch.optim.Optimizer) -> bool:
    """What GradScaler, Lightning and Accelerate ask an optimizer."""
    return bool(getattr(opt, "_step_supports_amp_scaling", False))


# By default the scaler unscales, and skips.


@every_optimizer
def test_the_scaler_unscales_by_default(make: Make) -> None:
    assert not supports_scaling(make(simple()))


@every_optimizer
@pytest.mark.parametrize("options", [{}, {"clip_norm": 0.5, "skip_nonfinite": True}], ids=["plain", "clip"])
def test_step_hooks_see_unscaled_gradients(make: Make, options: dict[str, Any]) -> None:
    p, seen = leaf(torch.zeros(4)), []
    opt = make([p], **options)
    for register in (opt.register_step_pre_hook, opt.register_step_post_hook):
        register(lambda *_: seen.append(tuple(p.grad.tolist())))  # type: ignore[union-attr]
    scaled_step(opt, p, scaler_of())
    assert seen == [WEIGHTS, WEIGHTS]


@every_drop_in
@pytest.mark.parametrize("how", ["hook", "subclass"])
def test_clipping_around_a_step_clips_unscaled_gradients(name: str, how: str) -> None:
    """As users of torch.optim write it (pytorch#98772): the numbers are torch's."""

    def run(cls: type[torch.optim.Optimizer], **options: Any) -> tuple[Tensor, list[float]]:
        p, norms = leaf(torch.zeros(4)), []

        def clip(*_: Any) -> None:
            norms.append(float(torch.nn.utils.clip_grad_norm_([p], 1.0)))

        class Clipped(cls):  # type: ignore[misc, valid-type]
            def step(self, closure: Any = None) -> Any:
                clip()
                return super().step(closure)

        opt = (Clipped if how == "subclass" else cls)([p], lr=0.5, **options)
        if how == "hook":
            opt.register_step_pre_hook(clip)
        scaler = scaler_of()
        for _ in range(3):
            scaled_step(opt, p, scaler)
        return p, norms

    ours, our_norms = run(getattr(adamas.torch, name))
    theirs, their_norms = run(getattr(torch.optim, name), foreach=False)
    assert our_norms == their_norms == [5.0] * 3
    assert_rounding([ours], [theirs])


@every_optimizer
def test_the_scaler_does_not_call_a_step_that_it_skips(make: Make) -> None:
    """Accelerate tells a skipped step by a step that was not called; schedulers likewise."""
    p, calls = leaf(torch.zeros(4)), []
    opt = make([p])
    opt.register_step_pre_hook(lambda *_: calls.append("step"))
    scaler = scaler_of()
    before = everything(opt)
    scaled_step(opt, p, scaler, math.inf)
    assert (calls, everything(opt)) == ([], before)
    assert opt.skipped_steps == 0
    scaled_step(opt, p, scaler)
    assert calls == ["step"]
    assert bits(p) != bits(torch.zeros(4))


# Asked for with fused=True, the step unscales and skips.


@pytest.mark.parametrize("name", CLASSES)
def test_only_classes_of_torch_with_fused_scale_in_the_step(name: str) -> None:
    cls = getattr(adamas.torch, name)
    if name in FUSED:
        assert supports_scaling(cls(simple(), fused=True))
        assert not supports_scaling(cls(simple(), fused=False))
        assert not supports_scaling(cls(simple(), fused=None))
    assert not supports_scaling(cls(simple()))
    assert not supports_scaling(cls)


def test_amsgrad_by_its_own_name_never_scales_in_the_step() -> None:
    assert not supports_scaling(adamas.torch.AMSGrad(simple(), fused=True))
    assert not supports_scaling(OPTIMIZERS["Optimizer"](simple()))


@every_fused
def test_hooks_of_a_fused_step_see_scaled_gradients(name: str) -> None:
    def run(make: Make) -> list[list[float]]:
        p, seen = leaf(torch.zeros(4)), []
        opt = make([p], fused=True)
        opt.register_step_pre_hook(lambda *_: seen.append(p.grad.tolist()))  # type: ignore[union-attr]
        scaled_step(opt, p, scaler_of())
        return seen

    scaled = [[1024 * w for w in WEIGHTS]]
    assert run(DROP_IN[name]) == run(getattr(torch.optim, name)) == scaled


@every_fused
def test_a_fused_step_takes_the_numbers_of_torchs(name: str) -> None:
    """Five steps, the second of which overflows: called, skipped inside, and counted."""
    results, calls = [], []
    for make in (DROP_IN[name], getattr(torch.optim, name)):
        p = leaf(randn(4, seed=1))
        opt, scaler = make([p], lr=0.1, fused=True), scaler_of()
        opt.register_step_pre_hook(lambda *_: calls.append(1))
        for k in range(5):
            scaled_step(opt, p, scaler, math.inf if k == 1 else 1 + k)
        results.append((p, scaler.get_scale(), opt))
    (ours, our_scale, opt), (theirs, their_scale, _) = results
    assert our_scale == their_scale
    assert len(calls) == 10
    assert opt.skipped_steps == 1
    assert_rounding([ours], [theirs])


@every_fused
def test_a_fused_step_reports_the_unscaled_norm(name: str) -> None:
    p = leaf(torch.zeros(4))
    opt = DROP_IN[name]([p], fused=True, clip_norm=1.0)
    scaled_step(opt, p, scaler_of())
    assert float(opt.last_step.grad_norm) == pytest.approx(5.0, rel=1e-6)
    assert float(opt.last_step.clip_factor) == pytest.approx(0.2, rel=1e-5)


@every_fused
def test_found_inf_alone_skips_a_fused_step(name: str) -> None:
    """The scaler has looked at the gradients; the step need not."""
    params = simple()
    opt = DROP_IN[name](params, fused=True)
    train(opt, params, range(2))
    before = everything(opt)
    give_gradients(params, 2)
    opt.grad_scale, opt.found_inf = None, torch.tensor(1.0)
    opt.step()
    del opt.grad_scale, opt.found_inf
    assert everything(opt) == before
    assert (opt.skipped_steps, opt.last_step.skipped) == (1, True)
    train(opt, params, [2])
    assert (opt.skipped_steps, opt.last_step.skipped) == (1, False)


# In both ways.

WAYS: dict[str, dict[str, Any]] = {"default": {}, "fused": {"fused": True}}
every_way = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)


@pytest.mark.parametrize("way", [{"fused": True}, {"skip_nonfinite": True}], ids=["fused", "default"])
@every_fused
def test_a_scale_of_zero_skips(name: str, way: dict[str, Any]) -> None:
    """A scaler that backs off at every step underflows in the end. Torch then divides zeros by zero; the
    scaler itself sees nothing amiss."""
    p = leaf(torch.ones(4))
    opt = DROP_IN[name]([p], lr=0.1, **way)
    scaler, before = scaler_of(0.0), everything(opt)
    for _ in range(2):
        scaled_step(opt, p, scaler)
        assert opt.last_step.skipped
    assert everything(opt) == before
    assert opt.skipped_steps == 2


@every_way
@every_fused
@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))], ids=["deepcopy", "pickle"]
)
def test_a_copy_is_scaled_as_the_original(
    name: str, way: dict[str, Any], copied: Callable[[Any], Any]
) -> None:
    p = leaf(torch.ones(4))
    opt, scaler = DROP_IN[name]([p], lr=0.1, **way), scaler_of()
    scaled_step(opt, p, scaler)
    opt.zero_grad()
    other, q = copied((opt, p))
    assert supports_scaling(other) == supports_scaling(opt) == bool(way)
    for optimizer, param in ((opt, p), (other, q)):
        again = scaler_of()
        for factor in (1.0, math.inf, 2.0):
            scaled_step(optimizer, param, again, factor)
    assert everything(other) == everything(opt)


OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "clip": {"clip_norm": 0.05},
    "all": {"clip_norm": 0.05, "skip_nonfinite": True, "average": 0.75},
}


def trained(
    make: Make, clip: float | None, unscale: bool, bad: Sequence[int]
) -> tuple[torch.nn.Module, torch.optim.Optimizer, list[float]]:
    """Ten iterations under a scaler, some with an infinite loss. Torch's optimizers are clipped by hand."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.Tanh(), torch.nn.Linear(5, 2))
    opt, scaler, scales = make(model.parameters()), scaler_of(), []
    for seed in range(10):
        opt.zero_grad()
        loss = model(randn(8, 6, seed=seed)).square().mean()
        scaler.scale(loss * (math.inf if seed in bad else 1.0)).backward()
        if unscale or clip is not None:
            scaler.unscale_(opt)
        if clip is not None:
            torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
        scaler.step(opt)
        scaler.update()
        scales.append(scaler.get_scale())
    return model, opt, scales


@every_drop_in
@pytest.mark.parametrize("fused", [False, True], ids=["default", "fused"])
@pytest.mark.parametrize("unscale", [True, False], ids=["unscaled", "scaled"])
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_training_under_a_scaler_is_torchs(
    name: str, fused: bool, unscale: bool, options: dict[str, Any]
) -> None:
    """Growth, backoff and skipped steps too; `clip_norm` sees unscaled gradients either way."""
    if fused and name not in FUSED:
        pytest.skip(f"torch.optim.{name} has no fused step that scales")
    flags = {"fused": True} if fused else {}
    bad = [0, 4, 5]
    ours, opt, our_scales = trained(functools.partial(DROP_IN[name], **flags, **options), None, unscale, bad)
    theirs, _, their_scales = trained(getattr(torch.optim, name), options.get("clip_norm"), unscale, bad)
    assert our_scales == their_scales
    assert_rounding(ours.parameters(), theirs.parameters())
    assert opt.skipped_steps == (len(bad) if fused else 0)
