"""The parameters of an optimizer as launchers are asked about them, and what none can update."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from ._compat import is_flat, local_tensor
from .gradients import check_grad
from .host import Master
from .launchers import Member, ParamState
from .mesh import check_grad_placements, local, spread_of
from .options import Groups

__all__ = ["check_params", "localize", "member_of"]


def member_of(p: Tensor, groups: Groups) -> Member:
    """A parameter with what of it, and of its gradient, is in this process.

    Raises:
        RuntimeError: it is a DTensor, and its gradient does not lie as it does.
    """
    spread = spread_of(p)
    if spread is None:
        g = p.grad
        row_wise = p in (groups.lagging or ()) or (
            groups.options.semantics == "lazy" and g is not None and g.layout == torch.sparse_coo
        )
        return Member(p, p, g, None, p.copy if isinstance(p, Master) else None, row_wise)
    if p.grad is not None:
        check_grad_placements(p, p.grad)
    return Member(p, local(p), None if p.grad is None else local(p.grad), spread)


def check_params(found: Sequence[tuple[int, Member]], groups: Groups) -> None:
    """Raise for parameters that no launcher can update, before anything has changed.

    Raises:
        RuntimeError: a parameter overlaps itself, or its gradient has another shape or is sparse.
        ValueError: a parameter is in two groups, or is a flat one of FSDP1, of which too much is asked.
    """
    if len({id(member.p) for _, member in found}) < len(found):
        _raise_shared(found)
    for _, member in found:
        if is_flat(member.p):
            _check_flat(groups)
        if member.grad is not None:
            check_grad(member.local, member.grad, groups.takes_sparse or member.row_wise)


def _check_flat(groups: Groups) -> None:
    """Raise a ValueError for what a shard of a flat parameter, of many layers in one, cannot have."""
    options = groups.options
    if options.state_format not in (None, "float32"):
        raise ValueError(
            f"state_format={options.state_format!r} cannot be kept for a FlatParameter of "
            f"FullyShardedDataParallel, which knows nothing of rows; use torch's fully_shard (FSDP2) instead"
        )
    if options.needs_grad_norm and options.process_group is None:
        raise ValueError(
            "the norm of all gradients is wanted, and a FlatParameter of FullyShardedDataParallel is "
            "one process's shard: pass process_group=, the group that shares it, or use fully_shard (FSDP2)"
        )


def _raise_shared(found: Sequence[tuple[int, Member]]) -> None:
    seen: dict[int, int] = {}
    for k, member in found:
        p = member.p
        if id(p) in seen:
            raise ValueError(
                f"a parameter of shape {tuple(p.shape)} is in two groups, {seen[id(p)]} and {k}; "
                f"keep it in one of them"
            )
        seen[id(p)] = k


def localize(shards: Iterable[tuple[int, ParamState]], grads: list[Tensor | None]) -> bool:
    """Replace the gradients of DTensors by those of their shards; False where a shard is another one.

    Args:
        shards: the members that are shards, and their places among the gradients.
        grads: the gradients.
    """
    for n, member in shards:
        g = grads[n]
        if local_tensor(member.p) is not member.local:
            return False
        if g is not None:
            grads[n] = here = member.local_grad(g)
            if here.dtype != g.dtype:
                return False
    return True
