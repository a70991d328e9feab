"""The optimizers of torch.optim with our step.

The constructors are torch's own, and with them signatures, defaults and errors. Each class says
which rule its options stand for, and torch's names of the rule's state.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from .. import rules
from ._base import Base
from ._plan import number

__all__ = ["SGD", "Adadelta", "Adagrad", "Adam", "AdamW", "Adamax", "NAdam", "RAdam", "RMSprop"]

_MOMENTS = {"m": "exp_avg", "v": "exp_avg_sq", "v_max": "max_exp_avg_sq"}

Group = Mapping[str, Any]


def two_betas(group: Group) -> dict[str, Any]:
    """The options that all rules with two decays have; torch allows tensors here."""
    beta1, beta2 = group["betas"]
    return {"lr": number(group["lr"]), "beta1": number(beta1), "beta2": number(beta2)}


class Adam(Base, torch.optim.Adam):
    """`torch.optim.Adam` in one pass; `amsgrad=True` selects the AMSGrad rule."""

    state_names = _MOMENTS

    def rule_of(self, group: Group) -> rules.Rule:
        return (rules.AMSGrad if group["amsgrad"] else rules.Adam)(**two_betas(group), eps=group["eps"])


class AdamW(Base, torch.optim.AdamW):
    """`torch.optim.AdamW` in one pass; `amsgrad=True` selects the AMSGrad rule."""

    state_names = _MOMENTS

    def rule_of(self, group: Group) -> rules.Rule:
        return (rules.AMSGrad if group["amsgrad"] else rules.Adam)(**two_betas(group), eps=group["eps"])


class Adamax(Base, torch.optim.Adamax):
    """`torch.optim.Adamax` in one pass."""

    state_names = {"m": "exp_avg", "u": "exp_inf"}

    def rule_of(self, group: Group) -> rules.Rule:
        return rules.AdaMax(**two_betas(group), eps=group["eps"])


class NAdam(Base, torch.optim.NAdam):
    """`torch.optim.NAdam` in one pass."""

    state_names = _MOMENTS

    def rule_of(self, group: Group) -> rules.Rule:
        return rules.NAdam(**two_betas(group), eps=group["eps"], momentum_decay=group["momentum_decay"])


class RAdam(Base, torch.optim.RAdam):
    """`torch.optim.RAdam` in one pass."""

    state_names = _MOMENTS

    def rule_of(self, group: Group) -> rules.Rule:
        return rules.RAdam(**two_betas(group), eps=group["eps"])


class SGD(Base, torch.optim.SGD):
    """`torch.optim.SGD` in one pass."""

    state_names = {"b": "momentum_buffer"}
    counts_steps = False
    takes_sparse = True

    def rule_of(self, group: Group) -> rules.Rule:
        return rules.SGD(number(group["lr"]), group["momentum"], group["dampening"], group["nesterov"])


class Adagrad(Base, torch.optim.Adagrad):
    """`torch.optim.Adagrad` in one pass."""

    state_names = {"G": "sum"}
    takes_sparse = True

    def rule_of(self, group: Group) -> rules.Rule:
        return rules.Adagrad(
            number(group["lr"]), group["lr_decay"], group["initial_accumulator_value"], group["eps"]
        )


class RMSprop(Base, torch.optim.RMSprop):
    """`torch.optim.RMSprop` in one pass."""

    state_names = {"v": "square_avg", "mean": "grad_avg", "b": "momentum_buffer"}

    def rule_of(self, group: Group) -> rules.Rule:
        return rules.RMSprop(
            number(group["lr"]), group["alpha"], group["eps"], group["momentum"], bool(group["centered"])
        )


class Adadelta(Base, torch.optim.Adadelta):
    """`torch.optim.Adadelta` in one pass."""

    state_names = {"v": "square_avg", "d": "acc_delta"}

    def rule_of(self, group: Group) -> rules.Rule:
        return rules.Adadelta(number(group["lr"]), group["rho"], group["eps"])
