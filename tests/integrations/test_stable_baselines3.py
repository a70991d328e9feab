"""Stable-Baselines3's PPO: the policy makes the optimizer, clips, and is saved with its state."""

from __future__ import annotations

import functools
import io
from typing import Any

import pytest
import torch
from trainer_support import Losses, Make, assert_as_torch, assert_same_state, every_option, trainer

import adamas.torch

sb3 = trainer("stable_baselines3")
logger = trainer("stable_baselines3.common.logger")

ROLLOUT = 64


class Losing(logger.KVWriter):  # type: ignore[misc, name-defined]
    """The losses that PPO logs, one an iteration."""

    def __init__(self) -> None:
        self.losses: Losses = []

    def write(self, values: dict[str, Any], excluded: Any, step: int = 0) -> None:
        self.losses += [value for key, value in values.items() if key == "train/loss"]


def ppo(make: Make, **options: Any) -> Any:
    """PPO on CartPole, whose policy of two layers of 64 has matrices that are large enough for float8."""
    chosen = functools.partial(make, eps=1e-5)  # what it gives torch.optim.Adam, and no other class
    return sb3.PPO(
        "MlpPolicy",
        "CartPole-v1",
        n_steps=ROLLOUT,
        batch_size=32,
        n_epochs=4,
        seed=0,
        device="cpu",
        policy_kwargs={"optimizer_class": chosen.func, "optimizer_kwargs": chosen.keywords},
        **options,
    )


def learn(agent: Any, iterations: int = 3) -> Losses:
    seen = Losing()
    agent.set_logger(logger.Logger(folder=None, output_formats=[seen]))
    agent.learn(iterations * ROLLOUT, log_interval=1)
    return [*seen.losses, agent.logger.name_to_value["train/loss"]]


def test_losses_are_those_of_torch() -> None:
    assert len(assert_as_torch(lambda make: learn(ppo(make)), "Adam")) >= 3


def test_clipping_in_the_step_is_clipping_by_the_trainer() -> None:
    by_trainer = learn(ppo(adamas.torch.Adam, max_grad_norm=0.1))
    by_us = ppo(functools.partial(adamas.torch.Adam, clip_norm=0.1), max_grad_norm=1e9)
    assert learn(by_us) == pytest.approx(by_trainer, rel=1e-4)
    assert by_us.policy.optimizer.last_step.grad_norm > 0.1


@every_option
def test_a_saved_agent_learns_on_with_the_same_losses(options: dict[str, Any]) -> None:
    """The file holds the optimizer's state, class and options, and loading asks for none of them."""
    agent = ppo(functools.partial(adamas.torch.Adam, **options))
    learn(agent)
    file = io.BytesIO()
    agent.save(file)
    copies = []
    for _ in range(2):
        file.seek(0)
        copies.append(sb3.PPO.load(file, env=sb3.common.env_util.make_vec_env("CartPole-v1", seed=1)))
    opt, again = agent.policy.optimizer, copies[0].policy.optimizer
    assert type(again) is adamas.torch.Adam
    assert again.options == opt.options
    assert_same_state(opt, again)
    losses = []
    for each in copies:
        each.set_random_seed(2)
        losses.append(learn(each))
    assert losses[0] == losses[1]


def test_averaged_parameters_act() -> None:
    agent = ppo(functools.partial(adamas.torch.Adam, average=0.9))
    learn(agent)
    seen = torch.zeros(1, 4)
    before = agent.policy.predict_values(seen)
    with agent.policy.optimizer.averaged_parameters():
        assert not torch.equal(agent.policy.predict_values(seen), before)
    assert torch.equal(agent.policy.predict_values(seen), before)
