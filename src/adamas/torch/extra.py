"""Optimizers that torch.optim does not have, with torch's names of state, and the one that takes any rule."""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any

import torch
from torch.optim.optimizer import ParamsT

from .. import rules
from .dropin import Adam, Group, make_rule, two_betas
from .keywords import with_step_options
from .optimizer import FusedOptimizer

__all__ = ["AMSGrad", "AdaBelief", "Lion", "Optimizer"]


class Optimizer(FusedOptimizer):
    """Any rule as a torch optimizer: `Optimizer(model.parameters(), MyRule(lr=1e-3))`.

    The options of a parameter group are the fields of the rule and the keywords below, so that
    learning-rate schedulers and options per group work as in torch. `state[p]` has a "step" and the
    rule's slots under their own names.

    Args:
        params: tensors, named tensors, or groups, as in torch.optim.
        rule: the update rule with its hyperparameters.
        weight_decay: λ, in the unit of a gradient per parameter, added to the gradient as λ p; 0 by default.
            A rule that has a field of this name takes it, and decays by itself; the default is the rule's.
        decoupled_weight_decay: shrink p by 1 - lr λ instead, as AdamW does; None, which nobody has to write,
            where the rule decays by itself.
        maximize: step along the gradient, not against it.
        differentiable: let autograd see the step; it then runs on the reference backend.

    Raises:
        TypeError: `rule` is not a rule, or has a field with the name of one of the keywords.
        ValueError: an option is out of its range, or another than the rule's own decay is asked for.
    """

    def __init__(
        self,
        params: ParamsT,
        rule: rules.Rule,
        *,
        weight_decay: float | None = None,
        decoupled_weight_decay: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
        **step_options: Any,
    ) -> None:
        if not isinstance(rule, rules.Rule):
            raise TypeError(f"rule must be an update rule such as adamas.rules.Adam(lr=1e-3), got {rule!r}")
        self._rule_type = type(rule)
        self._fields = [field.name for field in dataclasses.fields(rule)]  # type: ignore[arg-type]
        decays = "weight_decay" in self._fields
        if decays and decoupled_weight_decay is not None:
            raise ValueError(
                f"{self._rule_type.__name__} decays by itself, by its weight_decay; leave "
                f"decoupled_weight_decay={decoupled_weight_decay!r} out"
            )
        given = getattr(rule, "weight_decay", 0.0) if weight_decay is None else weight_decay
        options = {
            "weight_decay": given,
            "decoupled_weight_decay": None if decays else bool(decoupled_weight_decay),
            "maximize": maximize,
            "differentiable": differentiable,
        }
        if taken := sorted({"params", *options} & set(self._fields) - {"weight_decay"}):
            raise TypeError(
                f"{self._rule_type.__name__} has the field {taken[0]!r}, and a parameter group an option of "
                f"that name; rename the field"
            )
        defaults = {name: getattr(rule, name) for name in self._fields} | options
        super().__init__(params, defaults, **step_options)

    def rule_of(self, group: Group, checked: bool = False) -> rules.Rule:
        return make_rule(self._rule_type, checked, **{name: group[name] for name in self._fields})

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_rule_type": self._rule_type, "_fields": self._fields}


class AMSGrad(Adam):
    """AMSGrad (Reddi et al. 2018): `Adam(..., amsgrad=True)` by its own name, and the same checkpoints.

    Arguments as those of `torch.optim.Adam`, less `amsgrad`.
    """

    __signature__ = with_step_options(inspect.signature(torch.optim.Adam), without="amsgrad")

    def __init__(self, params: ParamsT, *args: Any, **options: Any) -> None:
        super().__init__(params, *args, amsgrad=True, **options)
        self.__dict__.pop("_step_supports_amp_scaling", None)  # which torch sets where fused=True


class AdaBelief(FusedOptimizer):
    """AdaBelief (Zhuang et al. 2020), with decoupled weight decay unless told otherwise.

    Args:
        params: tensors, named tensors, or groups, as in torch.optim.
        lr: the stepsize α, a float or a tensor of one element.
        betas: decays of the mean and of the variance around it, in [0, 1).
        eps: ε, in the variance and outside its root.
        weight_decay: λ, at least 0.
        decoupled_weight_decay: shrink p by 1 - lr λ, as AdamW does; False adds λ p to the gradient.
        maximize: step along the gradient, not against it.
        differentiable: let autograd see the step; it then runs on the reference backend.

    Raises:
        ValueError: an option is out of its range.
    """

    state_names = {"m": "exp_avg", "s": "exp_avg_var"}

    def __init__(
        self,
        params: ParamsT,
        lr: float | torch.Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-16,
        weight_decay: float = 0.0,
        *,
        decoupled_weight_decay: bool = True,
        maximize: bool = False,
        differentiable: bool = False,
        **step_options: Any,
    ) -> None:
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "decoupled_weight_decay": decoupled_weight_decay,
            "maximize": maximize,
            "differentiable": differentiable,
        }
        super().__init__(params, defaults, **step_options)

    def rule_of(self, group: Group, checked: bool = False) -> rules.Rule:
        return make_rule(rules.AdaBelief, checked, **two_betas(group), eps=group["eps"])


class Lion(FusedOptimizer):
    """Lion (Chen et al. 2023), with decoupled weight decay.

    Args:
        params: tensors, named tensors, or groups, as in torch.optim.
        lr: the stepsize α, a float or a tensor of one element; about a tenth of Adam's.
        betas: weight of the momentum in the step, and its decay, in [0, 1).
        weight_decay: λ, at least 0; three to ten times AdamW's.
        decoupled_weight_decay: shrink p by 1 - lr λ, as AdamW does; False adds λ p to the gradient.
        maximize: step along the gradient, not against it.
        differentiable: let autograd see the step; it then runs on the reference backend.

    Raises:
        ValueError: an option is out of its range.
    """

    state_names = {"m": "exp_avg"}

    def __init__(
        self,
        params: ParamsT,
        lr: float | torch.Tensor = 1e-4,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
        *,
        decoupled_weight_decay: bool = True,
        maximize: bool = False,
        differentiable: bool = False,
        **step_options: Any,
    ) -> None:
        defaults = {
            "lr": lr,
            "betas": betas,
            "weight_decay": weight_decay,
            "decoupled_weight_decay": decoupled_weight_decay,
            "maximize": maximize,
            "differentiable": differentiable,
        }
        super().__init__(params, defaults, **step_options)

    def rule_of(self, group: Group, checked: bool = False) -> rules.Rule:
        return make_rule(rules.Lion, checked, **two_betas(group))
