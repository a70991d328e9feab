"""What cannot be stepped in backward, each with its reason; raised before a backward is under way."""

from __future__ import annotations

import dataclasses
import gc
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from ..rules import Rule
from ._compat import is_flat
from .keywords import StepOptions
from .launchers import Member, Request
from .members import kinds_of
from .offload import check_offloaded, stand_in
from .options import Groups
from .params import check_params, member_of

__all__ = ["check_groups", "check_options", "check_pre_hooks", "check_replicas"]


def check_options(options: StepOptions, clip: str | None) -> None:
    """Raise a ValueError for options that need all gradients at once."""
    if clip not in (None, "running"):
        raise ValueError(f"clip must be None or 'running', got {clip!r}")
    if clip == "running" and options.clip_norm is None:
        raise ValueError("clip='running' is for an optimizer with clip_norm: construct it with one")
    if dataclasses.replace(options, clip_norm=None).needs_grad_norm:
        raise ValueError(
            "whether a step is skipped is known only when all gradients are there, and stepping in backward "
            "uses and frees each as it arrives; construct the optimizer without skipping"
        )
    if options.clip_norm is not None and clip is None:
        raise ValueError(
            f"clip_norm={options.clip_norm!r} needs the norm of all gradients, which is known only when "
            f"stepping in backward has used and freed them; step_in_backward(clip='running') clips by a "
            f"running norm, which is another algorithm"
        )


def check_groups(optimizer: Any, groups: Groups, running: bool) -> None:
    """Raise for parameters, groups and hooks that stepping in backward cannot serve."""
    check_pre_hooks(optimizer)
    if groups.lagging or groups.options.semantics == "lazy":
        raise ValueError(
            "stepping in backward makes a plan for each parameter as its gradient arrives, and steps by rows "
            "(track, semantics='lazy') need one for all; call step() after the backward pass"
        )
    found = [
        (k, member_of(p, groups))
        for k, group in enumerate(groups.param_groups)
        for p in {id(p): p for p in group["params"]}.values()
    ]
    if running and (groups.options.process_group or any(member.spread for _, member in found)):
        raise ValueError(
            "clip='running' adds up norms as gradients arrive, and processes that share parameters would "
            "wait for each other at every one; do without clip_norm there"
        )
    check_replicas([member.p for _, member in found])
    check_params(found, groups)
    if groups.hosts is not None:
        for _, member in found:
            check_offloaded(member.p, groups)
    requests = []
    for group in groups.param_groups:
        if group.get("differentiable", False):
            raise ValueError("differentiable=True keeps gradients, and stepping in backward frees them")
        rule = optimizer.rule_of(group)
        _check_sums(rule, [member for _, member in found])
        requests.append(Request(groups, group, rule, groups.slot_keys(rule)))
    asked = [(k, stand_in(member, groups)) for k, member in found]
    for _ in kinds_of(asked, requests, groups):  # raises where a backend or format cannot be had
        pass


def _check_sums(rule: Rule, members: Iterable[Member]) -> None:
    """Raise a ValueError for a rule whose sums need all gradients, or all shards, at once."""
    reduction, name = rule.form().reduction, type(rule).__name__
    if reduction is not None and reduction.scope == "group":
        raise ValueError(
            f"{name} needs sums over all gradients of a group, and stepping in backward uses and frees each "
            f"as it arrives; call step() after the backward pass"
        )
    if reduction is not None and any(member.spread is not None for member in members):
        raise ValueError(
            f"{name} adds up sums over shards, and processes that step in backward would wait for each other "
            f"at every gradient; call step() after the backward pass"
        )


def check_pre_hooks(optimizer: Any) -> None:
    """Raise a RuntimeError where a hook of the optimizer would look for gradients that are gone."""
    if optimizer._optimizer_step_pre_hooks:
        raise RuntimeError(
            "a step pre-hook runs when stepping in backward has already used and freed the gradients; remove "
            "it, or put hooks on the parameters (register_hook), or use a step post-hook"
        )


def check_replicas(params: Iterable[Tensor]) -> None:
    """Raise a RuntimeError where gradients are summed over processes only after hooks have run."""
    params = list(params)
    if any(map(is_flat, params)):
        raise RuntimeError(
            "FullyShardedDataParallel reduces gradients after stepping in backward would use them; shard the "
            "model with fully_shard"
        )
    if not torch.distributed.is_available() or not torch.distributed.is_initialized():
        return
    mine = set(map(id, params))
    replicated = torch.nn.parallel.DistributedDataParallel
    for cls in (replicated, *replicated.__subclasses__()):
        for each in gc.get_referrers(cls):  # an object refers to its class
            if isinstance(each, replicated) and any(id(p) in mine for p in each.parameters()):
                raise RuntimeError(
                    "DistributedDataParallel averages gradients after stepping in backward would use them, "
                    "and its replicas would drift apart; shard the model with fully_shard"
                )
