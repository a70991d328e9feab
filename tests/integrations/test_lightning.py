"""Lightning: the trainer clips, scales losses, schedules, and resumes from its own checkpoints."""

from __future__ import annotations

import functools
import math
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

lightning = trainer("lightning.pytorch")

pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec.* is deprecated")  # by Lightning

BATCHES = 4  # an epoch


class Classifier(lightning.LightningModule):  # type: ignore[misc, name-defined]
    """The network, its losses, and a loss that overflows at some batches."""

    def __init__(self, make: Make, overflow: tuple[int, ...] = ()) -> None:
        super().__init__()
        self.make, self.overflow = make, overflow
        self.network = network()
        self.losses: Losses = []
        self.seen: list[Any] = []

    def training_step(self, batch: Any, index: int) -> Any:
        loss = functional.cross_entropy(self.network(batch[0]), batch[1])
        self.losses.append(loss.item())
        return loss * math.inf if index in self.overflow else loss

    def on_train_batch_end(self, *_: Any) -> None:
        self.seen.append(getattr(self.optimizers().optimizer, "last_step", None))

    def test_step(self, batch: Any, index: int) -> None:
        self.log("loss", functional.cross_entropy(self.network(batch[0]), batch[1]))

    def configure_optimizers(self) -> Any:
        opt = self.make(self.parameters(), lr=1e-2)
        schedule = torch.optim.lr_scheduler.LinearLR(opt, 0.1, total_iters=6)
        return {"optimizer": opt, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def loader() -> DataLoader[Any]:
    return DataLoader(TensorDataset(*examples(64)), batch_size=64 // BATCHES)


def trainer_of(epochs: int, **options: Any) -> Any:
    return lightning.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **options,
    )


def sixteen_bits() -> Any:
    """What precision="16-mixed" makes on a GPU: on CPUs Lightning takes bfloat16, unless given this."""
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    return lightning.plugins.MixedPrecision("16-mixed", "cpu", scaler)


def fit(model: Classifier, epochs: int = 2, path: Path | None = None, **options: Any) -> Any:
    running = trainer_of(epochs, **options)
    running.fit(model, loader(), ckpt_path=path)
    return running


@pytest.mark.parametrize("clip", [None, 0.5], ids=["free", "clipped"])
def test_losses_are_those_of_torch(clip: float | None) -> None:
    def run(make: Make) -> Losses:
        model = Classifier(make)
        fit(model, gradient_clip_val=clip)
        return model.losses

    losses = assert_as_torch(run)
    assert len(losses) == 2 * BATCHES
    assert losses[-1] < losses[0]


def test_clipping_in_the_step_is_clipping_by_the_trainer() -> None:
    by_trainer, by_us = (
        Classifier(adamas.torch.AdamW),
        Classifier(clipped := functools.partial(adamas.torch.AdamW, clip_norm=0.5)),
    )
    fit(by_trainer, gradient_clip_val=0.5)
    fit(by_us)
    assert by_us.losses == pytest.approx(by_trainer.losses, rel=1e-5)
    assert all(step.grad_norm > 0.5 > step.clip_factor for step in by_us.seen)
    both = Classifier(clipped)
    fit(both, gradient_clip_val=0.5)
    assert all(step.clip_factor == pytest.approx(1.0, rel=1e-4) for step in both.seen)


@every_option
@pytest.mark.parametrize("precision", ["32-true", "16-mixed"])
def test_resuming_goes_on_with_the_same_losses(
    options: dict[str, Any], precision: str, tmp_path: Path
) -> None:
    def plugins() -> list[Any]:
        return [sixteen_bits()] if precision == "16-mixed" else []

    make = functools.partial(adamas.torch.AdamW, **options)
    whole, first, second = (Classifier(make) for _ in range(3))
    fit(whole, 3, plugins=plugins())
    fit(first, 1, plugins=plugins()).save_checkpoint(tmp_path / "last.ckpt")
    fit(second, 3, path=tmp_path / "last.ckpt", plugins=plugins())
    assert first.losses + second.losses == whole.losses
    assert len(second.losses) == 2 * BATCHES
    assert_same_state(second.optimizers(), whole.optimizers())


def test_averaged_parameters_are_evaluated() -> None:
    model = Classifier(functools.partial(adamas.torch.AdamW, average=0.9))
    running = fit(model)
    opt = model.optimizers().optimizer

    def loss() -> float:
        return running.test(model, loader(), verbose=False)[0]["loss"]

    before = loss()
    with opt.averaged_parameters():
        averaged = loss()
        expected = functional.cross_entropy(model.network(examples(64)[0]), examples(64)[1]).item()
    assert averaged == pytest.approx(expected, rel=1e-6)
    assert averaged != before
    assert loss() == before


# With loss scaling.

OVERFLOW = (1, 2)


def scaled(make: Make, **options: Any) -> tuple[Classifier, Any]:
    model = Classifier(make, OVERFLOW)
    fit(model, plugins=[plugin := sixteen_bits()], **options)
    return model, plugin.scaler


@pytest.mark.parametrize("clip", [None, 0.5], ids=["free", "clipped"])
def test_losses_under_a_scaler_are_those_of_torch(clip: float | None) -> None:
    """Some steps overflow, and the scale falls."""
    ours, our_scaler = scaled(adamas.torch.AdamW, gradient_clip_val=clip)
    theirs, their_scaler = scaled(torch.optim.AdamW, gradient_clip_val=clip)
    assert our_scaler.get_scale() == their_scaler.get_scale() < 1024.0
    # The forward pass is in 16 bits.
    assert ours.losses == pytest.approx(theirs.losses, rel=torch.finfo(torch.float16).eps)


def test_a_step_that_the_scaler_skips_is_not_called() -> None:
    """So it is not counted, and the last step stays the one that was taken."""
    model, _ = scaled(functools.partial(adamas.torch.AdamW, clip_norm=math.inf))
    opt = model.optimizers().optimizer
    assert opt.skipped_steps == 0
    assert not any(step.skipped for step in model.seen)
    assert model.seen[0] == model.seen[1] == model.seen[2] != model.seen[3]
    assert {int(state["step"]) for state in opt.state.values()} == {2 * (BATCHES - len(OVERFLOW))}


def test_a_fused_step_skips_and_counts() -> None:
    """Lightning leaves unscaling to it, and refuses to clip for it; clip_norm sees unscaled gradients."""
    fused = functools.partial(adamas.torch.AdamW, fused=True, clip_norm=0.5)
    model, _ = scaled(fused)
    opt = model.optimizers().optimizer
    assert [step.skipped for step in model.seen] == [k in OVERFLOW for k in range(BATCHES)] * 2
    assert opt.skipped_steps == 2 * len(OVERFLOW)
    assert opt.last_step.grad_norm < 64.0
    by_trainer, _ = scaled(adamas.torch.AdamW, gradient_clip_val=0.5)
    assert model.losses == pytest.approx(by_trainer.losses, rel=torch.finfo(torch.float16).eps)
    with pytest.raises(RuntimeError, match="does not allow for gradient clipping"):
        scaled(fused, gradient_clip_val=0.5)
