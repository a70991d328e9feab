"""A user's own rule, written in the user's own file (this one), has all that ours have."""

from __future__ import annotations

import copy
import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch_support import assert_rounding, bits, everything, give_gradients, leaf, randn, simple, train

import adamas.rules
import adamas.torch
from adamas.rules import NONNEGATIVE, SIGNED, Rule, xp
from adamas.torch.family import classes


@dataclass(frozen=True)
class Cautious(Rule):
    """Adam that moves only where its mean and the gradient agree: two slots and a carried value."""

    lr: float = 1e-2
    decay: float = 0.9
    warm: bool = False

    slots = {"mean": SIGNED, "square": NONNEGATIVE}
    carried = {"weight": 0.0}

    def carry(self, t: int, weight: float) -> tuple[float, ...]:
        return (self.decay * weight + 1 - self.decay,)

    def scalars(self, t: int, weight: float) -> tuple[float, ...]:
        lr = self.lr * min(1.0, t / 4) if self.warm else self.lr
        return self.decay, 1 - self.decay, lr * weight**-0.5

    @staticmethod
    def update(p, g, mean, square, decay, gain, step):
        mean = decay * mean + gain * g
        square = decay * square + gain * (g * g)
        moved = step * mean / xp.sqrt(square + tiny)
        return p - xp.where(mean * g > 0, moved, 0 * moved), mean, square


tiny = 1e-30


@dataclass(frozen=True)
class Optional(Rule):
    """A rule that stores a slot only where its hyperparameters ask for one."""

    lr: float = 0.1
    memory: float = 0.0

    def form(self) -> Any:
        form = super().form()
        return form._replace(slots={"kept": SIGNED}, update=remembering) if self.memory else form

    def scalars(self, t: int) -> tuple[float, ...]:
        return (self.lr, self.memory) if self.memory else (self.lr,)

    @staticmethod
    def update(p, g, lr):
        return (p - lr * g,)


def remembering(p, g, kept, lr, memory):
    kept = memory * kept + g
    return p - lr * kept, kept


def by_hand(p: np.ndarray, gradients: list[np.ndarray], lr: float, decay: float) -> np.ndarray:
    mean, square, weight = np.zeros_like(p), np.zeros_like(p), 0.0
    for g in gradients:
        weight = decay * weight + 1 - decay
        mean = decay * mean + (1 - decay) * g
        square = decay * square + (1 - decay) * g * g
        step = lr * mean / np.sqrt(square * weight + tiny * weight)
        p = p - np.where(mean * g > 0, step, 0)
    return p


@pytest.mark.parametrize("backend", ["numba", "reference"])
def test_it_gives_the_numbers_of_the_formula(backend: str) -> None:
    p = leaf(randn(40, seed=1, dtype=torch.float64))
    gradients = [randn(40, seed=10 + k, dtype=torch.float64) for k in range(6)]
    expected = by_hand(p.detach().numpy().copy(), [g.numpy() for g in gradients], lr=0.05, decay=0.75)
    opt = adamas.torch.Optimizer([p], Cautious(lr=0.05, decay=0.75), backend=backend)
    for g in gradients:
        p.grad = g
        opt.step()
    assert opt.backend == backend
    # The carried value is kept in float32, as torch keeps NAdam's.
    np.testing.assert_allclose(p.detach().numpy(), expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("backend", ["numba", "reference"])
def test_a_checkpoint_resumes_to_the_bit(backend: str) -> None:
    through, resumed = simple(), simple()
    whole = adamas.torch.Optimizer(through, Cautious(warm=True), backend=backend)
    first = adamas.torch.Optimizer(resumed, Cautious(warm=True), backend=backend)
    train(whole, through, range(7))
    train(first, resumed, range(3))
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    second = adamas.torch.Optimizer(resumed, Cautious(lr=9.0, decay=0.1), backend=backend)
    second.load_state_dict(torch.load(file, weights_only=True))
    train(second, resumed, range(3, 7))
    assert everything(second) == everything(whole)


def test_its_state_has_its_own_names() -> None:
    params = simple()
    opt = adamas.torch.Optimizer(params, Cautious())
    train(opt, params, range(2))
    for p in params:
        state = opt.state[p]
        assert set(state) == {"step", "weight", "mean", "square"}
        assert state["step"].item() == 2
        assert state["weight"].item() == pytest.approx(0.1 + 0.9 * 0.1)
        assert state["mean"].shape == p.shape


def test_its_fields_are_the_options_of_a_group() -> None:
    ours, alone = simple(), simple()
    groups = [{"params": [ours[0]], "lr": 0.5, "warm": True}, {"params": [ours[1]], "decay": 0.5}]
    opt = adamas.torch.Optimizer(groups, Cautious())
    others = [
        adamas.torch.Optimizer([alone[0]], Cautious(lr=0.5, warm=True)),
        adamas.torch.Optimizer([alone[1]], Cautious(decay=0.5)),
    ]
    for seed in range(4):
        give_gradients(ours, seed)
        give_gradients(alone, seed)
        opt.step()
        for other in others:
            other.step()
    assert bits(ours) == bits(alone)
    assert opt.defaults.keys() >= {"lr", "decay", "warm", "weight_decay", "maximize"}


@pytest.mark.parametrize("decoupled", [False, True])
def test_weight_decay_stands_around_it(decoupled: bool) -> None:
    p = leaf(randn(6, seed=1, dtype=torch.float64))
    q = p.detach().clone()
    opt = adamas.torch.Optimizer([p], Optional(lr=0.1), weight_decay=0.5, decoupled_weight_decay=decoupled)
    for seed in range(3):
        p.grad = randn(6, seed=seed, dtype=torch.float64)
        q = q * (1 - 0.1 * 0.5) - 0.1 * p.grad  # for gradient descent the two are the same
        opt.step()
    torch.testing.assert_close(p.detach(), q, rtol=1e-14, atol=1e-14)


def test_slots_that_come_and_go_with_an_option() -> None:
    params, plain = simple(), simple()
    opt = adamas.torch.Optimizer(params, Optional())
    reference = torch.optim.SGD(plain, lr=0.1)
    for options in ({}, {"memory": 0.5}, {"memory": 0.0}, {"memory": 0.5}):
        opt.param_groups[0].update(options)
        reference.param_groups[0]["momentum"] = opt.param_groups[0]["memory"]
        train(opt, params, range(2))
        train(reference, plain, range(2))
    assert_rounding(params, plain)


def test_it_is_pickled_with_its_class() -> None:
    params = simple()
    opt = adamas.torch.Optimizer(params, Optional(memory=0.5))
    train(opt, params, range(2))
    twin, twins = copy.deepcopy((opt, params))
    train(opt, params, range(2, 4))
    train(twin, twins, range(2, 4))
    assert everything(twin) == everything(opt)


RULES: Mapping[str, type[Rule]] = {
    name: value
    for name, value in vars(adamas.rules).items()
    if isinstance(value, type) and issubclass(value, Rule) and value is not Rule
}
SAME: dict[str, tuple[Rule, str, dict[str, Any]]] = {
    "Adam": (adamas.rules.Adam(), "Adam", {}),
    "AdaMax": (adamas.rules.AdaMax(eps=1e-8), "Adamax", {}),
    "AMSGrad": (adamas.rules.AMSGrad(), "AMSGrad", {}),
    "NAdam": (adamas.rules.NAdam(), "NAdam", {}),
    "RAdam": (adamas.rules.RAdam(), "RAdam", {}),
    "SGD": (adamas.rules.SGD(momentum=0.9), "SGD", {"momentum": 0.9}),
    "Adagrad": (adamas.rules.Adagrad(), "Adagrad", {}),
    "RMSprop": (adamas.rules.RMSprop(), "RMSprop", {}),
    "Adadelta": (adamas.rules.Adadelta(), "Adadelta", {}),
    "AdaBelief": (adamas.rules.AdaBelief(), "AdaBelief", {"decoupled_weight_decay": False}),
    "Lion": (adamas.rules.Lion(), "Lion", {}),
}


def test_every_rule_is_compared() -> None:
    """Here, or in test_family.py, where classes are that are made of rules."""
    assert RULES.keys() == SAME.keys() | classes().keys()


@pytest.mark.parametrize(("rule", "name", "options"), SAME.values(), ids=SAME)
def test_a_rule_through_optimizer_is_the_class_of_its_name(
    rule: Rule, name: str, options: dict[str, Any]
) -> None:
    ours, other = simple(), simple()
    train(adamas.torch.Optimizer(ours, rule), ours, range(5))
    train(getattr(adamas.torch, name)(other, **options), other, range(5))
    assert bits(ours) == bits(other)


def test_the_forms_of_epsilon_that_torch_does_not_have() -> None:
    steps = {}
    for placement in ("outside", "hat", "inside"):
        p = leaf(torch.zeros(1, dtype=torch.float64))
        opt = adamas.torch.Optimizer([p], adamas.rules.Adam(lr=1.0, eps=0.5, eps_placement=placement))
        p.grad = torch.full((1,), 2.0, dtype=torch.float64)
        opt.step()
        steps[placement] = -p.item()
    # v̂ = 4 and v = (1 - β2) 4 at the first step.
    root = 0.001**0.5
    assert steps == pytest.approx(
        {"outside": 2 / (2 + 0.5), "hat": 2 * root / (2 * root + 0.5), "inside": 2 / (4 + 0.5) ** 0.5}
    )
