"""Accelerate: a loop of one's own, whose optimizer and scheduler are wrapped; its files resume."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset
from trainer_support import (
    Losses,
    Make,
    assert_as_torch,
    assert_same_state,
    every_option,
    examples,
    network,
    trainer,
)

import adamas.torch

accelerate = trainer("accelerate")

ACCUMULATE, BATCHES = 2, 8


class Loop:
    """A training loop as Accelerate's documentation has it.

    Args:
        scale: the first loss scale; none unless given. On a GPU `mixed_precision="fp16"` makes the scaler.
    """

    def __init__(self, make: Make, clip: float | None = None, scale: float | None = None) -> None:
        self.accelerator = accelerate.Accelerator(cpu=True, gradient_accumulation_steps=ACCUMULATE)
        if scale is not None:
            self.accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=scale)
        model = network()
        opt = make(model.parameters(), lr=1e-2)
        schedule = torch.optim.lr_scheduler.LinearLR(opt, 0.1, total_iters=6)
        loader = DataLoader(TensorDataset(*examples(64)), batch_size=64 // BATCHES)
        prepared = self.accelerator.prepare(model, opt, loader, schedule)
        self.model, self.opt, self.loader, self.schedule = prepared
        self.clip = clip
        self.rates: list[float] = []

    def epoch(self, overflow: tuple[int, ...] = ()) -> Losses:
        losses = []
        for k, (x, y) in enumerate(self.loader):
            with self.accelerator.accumulate(self.model):
                loss = functional.cross_entropy(self.model(x), y)
                losses.append(loss.item())
                self.accelerator.backward(loss * math.inf if k in overflow else loss)
                if self.accelerator.sync_gradients and self.clip is not None:
                    self.accelerator.clip_grad_norm_(self.model.parameters(), self.clip)
                self.opt.step()
                self.schedule.step()
                self.opt.zero_grad()
            self.rates.append(self.schedule.get_last_lr()[0])
        return losses


@pytest.fixture(autouse=True)
def _one_accelerator_a_test() -> Iterator[None]:
    """Accelerate keeps its state in its classes."""
    yield
    accelerate.state.AcceleratorState._reset_state(reset_partial_state=True)
    accelerate.state.GradientState._reset_state()


@pytest.mark.parametrize("clip", [None, 0.5], ids=["free", "clipped"])
def test_losses_are_those_of_torch(clip: float | None) -> None:
    def run(make: Make) -> Losses:
        loop = Loop(make, clip)
        return loop.epoch() + loop.epoch()

    losses = assert_as_torch(run)
    assert losses[-1] < losses[0]


def test_accumulated_gradients_are_one_step() -> None:
    loop = Loop(functools.partial(adamas.torch.AdamW, clip_norm=0.5))
    loop.epoch()
    assert {int(state["step"]) for state in loop.opt.state.values()} == {BATCHES // ACCUMULATE}
    by_trainer = Loop(adamas.torch.AdamW, clip=0.5)
    by_trainer.epoch()
    assert loop.epoch() == pytest.approx(by_trainer.epoch(), rel=1e-5)


@every_option
def test_resuming_goes_on_with_the_same_losses(options: dict[str, Any], tmp_path: Path) -> None:
    """`save_state` writes model, optimizer and scheduler; another process loads them."""
    make = functools.partial(adamas.torch.AdamW, **options)
    whole = Loop(make)
    whole.epoch()
    whole.accelerator.save_state(str(tmp_path))
    expected, rates = whole.epoch(), whole.rates[BATCHES:]
    other = Loop(make)
    other.accelerator.load_state(str(tmp_path))
    assert (other.epoch(), other.rates) == (expected, rates)
    assert_same_state(other.opt, whole.opt)


def test_averaged_parameters_are_evaluated() -> None:
    """The wrapper does not hand on what torch.optim lacks: it is asked of the optimizer inside."""
    loop = Loop(functools.partial(adamas.torch.AdamW, average=0.9))
    loop.epoch()
    x = examples(8)[0]
    before = loop.model(x)
    with loop.opt.optimizer.averaged_parameters():
        assert not torch.equal(loop.model(x), before)
    assert torch.equal(loop.model(x), before)


OVERFLOW = (3, 4)  # one micro-batch of the second step, and one of the third


@every_option
def test_the_scheduler_sees_the_steps_that_the_scaler_skips(options: dict[str, Any]) -> None:
    """It tells them by a step that was not called, and stands still."""
    ours, theirs = (
        Loop(make, scale=1024.0)
        for make in (functools.partial(adamas.torch.AdamW, **options), torch.optim.AdamW)
    )
    ours.epoch(OVERFLOW)
    assert ours.rates[1] == ours.rates[3] == ours.rates[5] < ours.rates[7]
    theirs.epoch(OVERFLOW)
    assert ours.rates == theirs.rates
    assert not ours.opt.step_was_skipped
    assert {int(state["step"]) for state in ours.opt.state.values()} == {2}
    assert ours.opt.optimizer.skipped_steps == 0


def test_the_scheduler_does_not_see_a_step_that_skips_itself() -> None:
    """Such a step was called, and Accelerate asks no optimizer: `last_step` tells a loop of one's own."""
    loop = Loop(functools.partial(adamas.torch.AdamW, skip_nonfinite=True))
    loop.epoch(OVERFLOW)
    assert loop.opt.optimizer.skipped_steps == 2
    assert loop.rates[1] < loop.rates[3] < loop.rates[5] < loop.rates[7]


def test_clip_norm_sees_unscaled_gradients() -> None:
    clipped = functools.partial(adamas.torch.AdamW, clip_norm=0.5)
    plain, scaled = Loop(clipped), Loop(clipped, scale=1024.0)
    assert scaled.epoch() == pytest.approx(plain.epoch(), rel=1e-5)
    norms = [loop.opt.optimizer.last_step.grad_norm for loop in (scaled, plain)]
    assert norms[0] == pytest.approx(norms[1], rel=1e-5)
