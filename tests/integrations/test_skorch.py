"""skorch: an estimator makes the optimizer from its keywords, gives steps a closure, and saves its state."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
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

skorch = trainer("skorch")
callbacks = trainer("skorch.callbacks")
base = trainer("sklearn.base")

EPOCHS = 3


def data() -> tuple[Any, Any]:
    x, y = examples(96)
    return x.numpy(), y.numpy()


def net_of(make: Make, **more: Any) -> Any:
    """An estimator without dropout or shuffling, whose options of the optimizer have skorch's prefix."""
    chosen = functools.partial(make)
    return skorch.NeuralNetClassifier(
        network(),
        criterion=torch.nn.CrossEntropyLoss,
        optimizer=chosen.func,
        **{f"optimizer__{name}": value for name, value in chosen.keywords.items()},
        lr=1e-2,
        batch_size=16,
        train_split=None,
        verbose=0,
        **more,
    )


def losses(net: Any) -> Losses:
    """Of every batch that was taken to its end."""
    batches = [batch for epoch in net.history for batch in epoch["batches"]]
    return [batch["train_loss"] for batch in batches if "train_loss" in batch]


def fit(net: Any, epochs: int = EPOCHS) -> Losses:
    seen = len(losses(net)) if net.initialized_ else 0
    net.partial_fit(*data(), epochs=epochs)
    return losses(net)[seen:]


def schedule() -> tuple[str, Any]:
    policy = torch.optim.lr_scheduler.StepLR
    return ("schedule", callbacks.LRScheduler(policy=policy, step_size=1, gamma=0.7))


@pytest.mark.parametrize("clip", [None, 0.5], ids=["free", "clipped"])
def test_losses_are_those_of_torch(clip: float | None) -> None:
    given = [schedule(), *([("clip", callbacks.GradientNormClipping(clip))] if clip else [])]
    found = assert_as_torch(lambda make: fit(net_of(make, callbacks=given)))
    assert found[-1] < found[0]


def test_clipping_in_the_step_is_clipping_by_a_callback() -> None:
    by_callback = fit(net_of(adamas.torch.AdamW, callbacks=[("clip", callbacks.GradientNormClipping(0.5))]))
    by_us = net_of(functools.partial(adamas.torch.AdamW, clip_norm=0.5))
    assert fit(by_us) == pytest.approx(by_callback, rel=1e-5)
    assert by_us.optimizer_.last_step.grad_norm > 0


@every_option
def test_resuming_goes_on_with_the_same_losses(options: dict[str, Any], tmp_path: Path) -> None:
    """A checkpoint that a callback wrote, loaded by another."""
    files = {"f_params": "params.pt", "f_optimizer": "optimizer.pt", "f_history": "history.json"}

    def checkpoint() -> Any:
        return callbacks.Checkpoint(dirname=str(tmp_path), monitor=None, f_criterion=None, **files)

    make = functools.partial(adamas.torch.AdamW, **options)
    first = net_of(make, callbacks=[("checkpoint", checkpoint())])
    fit(first)
    paths = {key: str(tmp_path / name) for key, name in files.items()}
    second = net_of(make).initialize()
    second.load_params(**paths)
    assert fit(second) == fit(first)
    assert_same_state(first.optimizer_, second.optimizer_)


def test_save_and_load_params_keep_every_bit(tmp_path: Path) -> None:
    make = functools.partial(adamas.torch.AdamW, state_format="float8", average=0.9)
    net, path = net_of(make), str(tmp_path / "optimizer.pt")
    fit(net)
    net.save_params(f_optimizer=path)
    other = net_of(make).initialize()
    other.load_params(f_optimizer=path)
    for p, q in zip(net.module_.parameters(), other.module_.parameters(), strict=True):
        ours, theirs = net.optimizer_.state[p], other.optimizer_.state[q]
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_averaged_parameters_predict() -> None:
    net = net_of(functools.partial(adamas.torch.AdamW, average=0.9))
    fit(net)
    x, before = data()[0], net.predict_proba(data()[0])
    with net.optimizer_.averaged_parameters():
        assert not np.array_equal(net.predict_proba(x), before)
    assert np.array_equal(net.predict_proba(x), before)


def test_options_that_are_set_later() -> None:
    """skorch writes them into the groups: a group's take effect there, the optimizer's say where they go."""
    net = net_of(adamas.torch.AdamW)
    fit(net)
    net.set_params(optimizer__weight_decay=0.5)
    fit(net)
    assert net.optimizer_.param_groups[0]["weight_decay"] == 0.5
    net.set_params(optimizer__clip_norm=0.5)
    with pytest.raises(ValueError, match=r"clip_norm=0\.5"):
        fit(net)
    other = base.clone(net).set_params(optimizer__clip_norm=0.5)  # as a search over hyperparameters does
    fit(other)
    assert other.optimizer_.last_step.grad_norm is not None
