"""Hugging Face's Trainer on a tiny GPT-2: it makes the optimizer, accumulates, clips and resumes."""

from __future__ import annotations

import functools
import math
from pathlib import Path
from typing import Any

import pytest
from trainer_support import (
    Losses,
    Make,
    assert_as_torch,
    assert_same_state,
    every_option,
    sentences,
    tiny_gpt2,
    trainer,
)

import adamas.torch

transformers = trainer("transformers")

STEPS, ACCUMULATE = 6, 2


def trainer_of(folder: Path, make: Make, options: dict[str, Any] | None = None, **arguments: Any) -> Any:
    """A Trainer that makes the optimizer itself: two groups, of which one has no weight decay."""
    chosen = functools.partial(make, lr=1e-2, **(options or {}))
    given = {
        "max_steps": STEPS,
        "max_grad_norm": 0.0,
        "learning_rate": 1e-2,
        "weight_decay": 0.1,
        "warmup_steps": 2,
        "per_device_train_batch_size": 4,
        "gradient_accumulation_steps": ACCUMULATE,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": True,
        **arguments,
    }
    return transformers.Trainer(
        model=tiny_gpt2(),
        args=transformers.TrainingArguments(str(folder), **given),
        train_dataset=sentences(64),
        eval_dataset=sentences(8),
        optimizer_cls_and_kwargs=(chosen.func, chosen.keywords),
    )


def train(running: Any, **how: Any) -> Losses:
    """The loss of every micro-batch, dropout included."""
    losses: Losses = []
    seeing = running.model.register_forward_hook(lambda *given: losses.append(given[-1]["loss"].item()))
    running.train(**how)
    seeing.remove()
    return losses


def optimizer_of(running: Any) -> Any:
    """Ours, in the wrapper of Accelerate."""
    return running.optimizer.optimizer


@pytest.mark.parametrize("clip", [0.0, 0.5], ids=["free", "clipped"])
def test_losses_are_those_of_torch(clip: float, tmp_path: Path) -> None:
    losses = assert_as_torch(lambda make: train(trainer_of(tmp_path, make, max_grad_norm=clip)))
    assert len(losses) == STEPS * ACCUMULATE
    assert losses[-1] < losses[0]


def test_accumulated_gradients_are_one_step(tmp_path: Path) -> None:
    running = trainer_of(tmp_path, adamas.torch.AdamW, {"clip_norm": math.inf})
    train(running)
    opt = optimizer_of(running)
    assert [group["weight_decay"] for group in opt.param_groups] == [0.1, 0.0]
    assert {int(state["step"]) for state in opt.state.values()} == {STEPS}
    # The Trainer's log has the norm that the step has measured.
    logged = trainer_of(tmp_path, adamas.torch.AdamW, {"clip_norm": 0.5}, max_grad_norm=1e9, logging_steps=1)
    train(logged)
    norms = [entry["grad_norm"] for entry in logged.state.log_history if "grad_norm" in entry]
    assert optimizer_of(logged).last_step.grad_norm == pytest.approx(norms[-1], rel=1e-5)


def test_clipping_in_the_step_is_clipping_by_the_trainer(tmp_path: Path) -> None:
    by_trainer = train(trainer_of(tmp_path, adamas.torch.AdamW, max_grad_norm=0.5))
    by_us = train(trainer_of(tmp_path, adamas.torch.AdamW, {"clip_norm": 0.5}))
    assert by_us == pytest.approx(by_trainer, rel=1e-5)


@every_option
def test_resuming_goes_on_with_the_same_losses(options: dict[str, Any], tmp_path: Path) -> None:
    """From the checkpoint in the middle of a whole run, in a new Trainer; dropout goes on too."""
    saving = {"save_strategy": "steps", "save_steps": STEPS // 2}
    whole = train(first := trainer_of(tmp_path, adamas.torch.AdamW, options, **saving))
    second = trainer_of(tmp_path, adamas.torch.AdamW, options)
    resumed = train(second, resume_from_checkpoint=str(tmp_path / f"checkpoint-{STEPS // 2}"))
    assert resumed == whole[len(whole) // 2 :]
    assert_same_state(first.optimizer, second.optimizer)


def test_averaged_parameters_are_evaluated(tmp_path: Path) -> None:
    running = trainer_of(tmp_path, adamas.torch.AdamW, {"average": 0.9})
    train(running)
    before = running.evaluate()["eval_loss"]
    with optimizer_of(running).averaged_parameters():
        averaged = running.evaluate()["eval_loss"]
    assert averaged != before
    assert running.evaluate()["eval_loss"] == before


def test_an_optimizer_of_ones_own_is_taken(tmp_path: Path) -> None:
    """The page shows both ways; this one has a single group."""
    model = tiny_gpt2()
    opt = adamas.torch.AdamW(model.parameters(), lr=1e-2, state_format="float8")
    arguments = transformers.TrainingArguments(
        str(tmp_path), max_steps=2, report_to="none", disable_tqdm=True, use_cpu=True
    )
    running = transformers.Trainer(model, arguments, train_dataset=sentences(16), optimizers=(opt, None))
    running.train()
    assert optimizer_of(running) is opt
    assert {int(state["step"]) for state in opt.state.values()} == {2}
