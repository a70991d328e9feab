"""The optimizers of torch.optim with our step.

The constructors are torch's own, and with them signatures, defaults and errors. Each class says
which rule its options stand for, and torch's names of the rule's state.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from .. import rules
from .optimizer import FusedOptimizer
from .options import as_float

__all__ = ["SGD", "Adadelta", "Adagrad", "Adam", "AdamW", "Adamax", "NAdam", "RAdam", "RMSprop", "SparseAdam"]

_MOMENTS = {"m": "exp_avg", "v": "exp_avg_sq"}
_WITH_AMSGRAD = {**_MOMENTS, "v_max": "max_exp_avg_sq"}

Group = Mapping[str, Any]


def make_rule(rule: type[rules.Rule], checked: bool, **options: Any) -> rules.Rule:
    """The rule with these hyperparameters, which may be tensors of one element."""
    plain = {name: as_float(x) if isinstance(x, torch.Tensor) else x for name, x in options.items()}
    return rule(**plain) if checked else rule.unchecked(**plain)


def two_betas(group: Group) -> dict[str, Any]:
    """The options that all rules with two decays have; torch allows tensors here."""
    beta1, beta2 = group["betas"]
    return {"lr": group["lr"], "beta1": beta1, "beta2": beta2}


class Adam(FusedOptimizer, torch.optim.Adam):
    """`torch.optim.Adam` in one pass; `amsgrad=True` selects the AMSGrad rule."""

    upstream = torch.optim.Adam
    state_names = _WITH_AMSGRAD

    def rule_of(self, group: Group, checked: bool = False) -> rules.Rule:
        rule = rules.AMSGrad if group["amsgrad"] else rules.Adam
        return make_rule(rule, checked, **two_betas(group), eps=group["eps"])


class AdamW(FusedOptimizer, torch.optim.AdamW):
    """`torch.optim.AdamW` in one pass; `amsgrad=True` selects the AMSGrad rule."""

    upstream = torch.optim.AdamW
    state_names = _WITH_AMSGRAD

    def rule_of(self, group: Group, checked: bool = False) -> rules.Rule:
        rule = rules.AMSGrad if group["amsgrad"] else rules.Adam
        return make_rule(rule, checked, **two_betas(group), eps=group["eps"])


class Adamax(FusedOptimizer, torch.optim.Adamax):
    """`torch.optim.Adamax` in one pass."""

    upstream = torch.optim.Adamax
    state_names = {"m": "exp_avg", "u": "exp_inf"}

    def rule_of(self, group: Group, checked: bool = False) -> rules.Rule:
        return make_rule(rules.AdaMax, checked, **two_betas(group), eps=group["eps"])


class NAdam(FusedOptimizer, torch.optim.NAdam):
    """`torch.optim.NAdam` in one pass."""

    upstream = torch.optim.NAdam
    state_names = _MOMENTS

    def rule_of(self, group: Group, checked: bool = False) -> rules.Rule:
        options = {"eps": group["eps"], "momentum_decay": group["momentum_decay"]}
        return make_rule(rules.NAdam, checked, **two_betas(group), **options)


class RAdam(FusedOptimizer, torch.optim.RAdam):
    """`torch.optim.RAdam` in one pass."""

    upstream = torch.optim.RAdam
    state_names = _MOMENTS

    def rule_of(self, group: Group, checked: bool = False) -> rules.Rule:
        return make_rule(rules.RAdam, checked, **two_betas(group), eps=group["eps"])


class SGD(FusedOptimizer, torch.optim.SGD):
    """`torch.optim.SGD` in one pass."""

    upstream = torch.optim.SGD
    state_names = {"b": "momentum_buffer"}
    counts_steps = False
    takes_sparse = True

    def rule_of(self, group: Group, checked: bool = False) -> rules.Rule:
        names = ("lr", "momentum", "dampening")
        options = {name: group[name] for name in names}
        return make_rule(rules.SGD, checked, **options, nesterov=bool(group["nesterov"]))


class Adagrad(FusedOptimizer, torch.optim.Adagrad):
    """`torch.optim.Adagrad` in one pass."""

    upstream = torch.optim.Adagrad
    state_names = {"G": "sum"}
    takes_sparse = True

    def rule_of(self, group: Group, checked: bool = False) -> rules.Rule:
        names = ("lr", "lr_decay", "initial_accumulator_value", "eps")
        return make_rule(rules.Adagrad, checked, **{name: group[name] for name in names})


class RMSprop(FusedOptimizer, torch.optim.RMSprop):
    """`torch.optim.RMSprop` in one pass."""

    upstream = torch.optim.RMSprop
    state_names = {"v": "square_avg", "mean": "grad_avg", "b": "momentum_buffer"}

    def rule_of(self, group: Group, checked: bool = False) -> rules.Rule:
        names = ("lr", "alpha", "eps", "momentum")
        options = {name: group[name] for name in names}
        return make_rule(rules.RMSprop, checked, **options, centered=bool(group["centered"]))


class Adadelta(FusedOptimizer, torch.optim.Adadelta):
    """`torch.optim.Adadelta` in one pass."""

    upstream = torch.optim.Adadelta
    state_names = {"v": "square_avg", "d": "acc_delta"}

    def rule_of(self, group: Group, checked: bool = False) -> rules.Rule:
        return make_rule(rules.Adadelta, checked, lr=group["lr"], rho=group["rho"], eps=group["eps"])


class SparseAdam(FusedOptimizer, torch.optim.SparseAdam):
    """`torch.optim.SparseAdam` in one pass: rows without a gradient stay as they are, unless told otherwise.

    With `semantics="exact"` it is Adam, with ε beside the root of the uncorrected v; `track` its embeddings.
    """

    upstream = torch.optim.SparseAdam
    state_names = _MOMENTS
    of_options = {"semantics": "lazy"}

    def rule_of(self, group: Group, checked: bool = False) -> rules.Rule:
        return make_rule(rules.Adam, checked, **two_betas(group), eps=group["eps"], eps_placement="hat")

    def torch_state_dict(self) -> dict[str, Any]:
        """As of all optimizers; steps are integers, from which torch computes in double precision."""
        saved = super().torch_state_dict()
        for state in saved["state"].values():
            state["step"] = int(state["step"])
        return saved
