"""The memory and the traffic of a training step, told before anything is allocated.

The tensors of the state are made on the device "meta" by the functions that make real ones, and counted:
there is no second account of what a format takes, nor (`mesh.Spread`) of what a rank has.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..backends import columns
from ..backends.numba.job import CHUNK
from ._compat import is_dense, without_modes
from .counters import counter_keys, counter_type
from .dropin import AdamW
from .exchange import WORDS
from .footprint import Exchange, Memory
from .kept import complete_kept, kept_of
from .launchers import Request
from .members import state_formats
from .optimizer import FusedOptimizer
from .slots import allocate
from .units import Model, Planned, Unit, gathered, planned, ring, units_of

__all__ = ["memory"]

# Bytes of a chunk of elements in the list that threads take them from.
_A_CHUNK = 32
# Bytes of a tensor in the tables of a kernel, beside the addresses of its arrays, 8 each.
_A_TENSOR = 40


def memory(
    model: Model,
    optimizer: Callable[..., Any] | FusedOptimizer = AdamW,
    *,
    mesh: Any = None,
    dtype: torch.dtype | None = None,
    **options: Any,
) -> Memory:
    """Return the bytes that a training step takes on each rank, without allocating any of them.

    Kernels are supposed to take every parameter. Activations, and the program itself, are beside what is
    counted here.

    Args:
        model: a module, real, on "meta" or fake; its tensors; or a mapping from names to shapes or tensors.
            Parameters that require no gradient count as parameters alone.
        optimizer: a class of `adamas.torch`, a `functools.partial` of one, or an instance, whose groups then
            say which parameters have gradients and state.
        mesh: the ranks over which `fully_shard` splits the parameters: their number; (replicas, shards); or a
            `DeviceMesh` of one or two dimensions. Without it every tensor is whole, but for DTensors, which
            say themselves where they are. A unit, gathered and reduced at once, is a module that is sharded
            already, or else an entry of the outermost list of modules ("layers.3"), and what is left over.
        dtype: the dtype of parameters and gradients; by default their own, for shapes torch's default.
        **options: the optimizer's, as in `state_format="float8"`.

    Raises:
        TypeError: the optimizer is none of this package, or an instance is given options.
        ValueError: the mesh has no or more than two dimensions, or cannot split a parameter; the model lacks
            one of the optimizer's parameters; the optimizer is offloaded.
    """
    with without_modes():
        found = planned(model, dtype, mesh)
        built = optimizer
        if not isinstance(optimizer, torch.optim.Optimizer):
            built = optimizer([p.whole for p in found if p.whole.requires_grad], **options)
        elif options:
            raise TypeError(f"{next(iter(options))!r} is an option for a class, and this optimizer is made")
        if not isinstance(built, FusedOptimizer):
            raise TypeError(f"optimizer must be one of adamas.torch, got {optimizer!r}")
        if built.options.offload:
            raise ValueError("offload=True uses two memories, and this counts one; see docs/offload.md")
        return _Plan(found, built).memory()


@dataclass(frozen=True)
class _Part:
    """The bytes of one parameter on one rank.

    Attributes:
        own: the parameter, or its gradient, as a kernel steps it.
        state, averages, scratch: as of `Memory`.
        gathers: what a step sends, to gather the parameter and its gradient from all ranks.
        measured: what a pass before the step reads, for sums.
    """

    own: int
    state: dict[str, int]
    averages: int
    scratch: int
    gathers: float
    measured: int


class _Plan:
    """The parameters of a model with the optimizer that steps them."""

    def __init__(self, found: Sequence[Planned], optimizer: FusedOptimizer) -> None:
        self._found, self._groups = found, optimizer._groups()
        groups = self._groups.param_groups
        rules = [optimizer.rule_of(group) for group in groups]
        self._requests = [
            Request(self._groups, group, rule, self._groups.slot_keys(rule))
            for group, rule in zip(groups, rules, strict=True)
        ]
        self._counters = len(counter_keys(self._groups, rules)) * counter_type(rules).itemsize
        group_of = {id(p): k for k, group in enumerate(groups) for p in group["params"]}
        self._group = [group_of.get(id(p.whole), group_of.get(id(p.own))) for p in found]
        self._stepped = [k is not None for k in self._group]
        if missing := len(group_of) - sum(self._stepped):
            raise ValueError(f"the model lacks {missing} of the optimizer's {len(group_of)} parameters")
        self._known: dict[Any, _Part] = {}

    def memory(self) -> Memory:
        """On the rank that has the most of every parameter, and on the one that has the least."""
        largest, smallest = self._on_rank(last=False), self._on_rank(last=True)
        return largest if smallest == largest else replace(largest, smallest=smallest)

    def _on_rank(self, last: bool) -> Memory:
        state: defaultdict[str, int] = defaultdict(int)
        sizes = [p.padded for p, on in zip(self._found, self._stepped, strict=True) if on]
        parts = [
            self._part(p, last, k) for p, k in zip(self._found, self._group, strict=True) if k is not None
        ]
        for part in parts:
            for key, size in part.state.items():
                state[key] += size
        averages, gradients = sum(part.averages for part in parts), sum(sizes)
        units, ranks = units_of(self._found, self._stepped), max((p.ranks for p in self._found), default=1)
        normed = self._groups.options.needs_grad_norm
        most = max(sizes, default=0)
        return Memory(
            ranks=ranks,
            elements=sum(p.whole.numel() for p in self._found),
            parameters=sum(p.padded for p in self._found),
            gradients=gradients,
            state=dict(state),
            averages=averages,
            counters=self._counters * len(parts),
            scratch=sum(part.scratch for part in parts),
            gathered=gathered(units),
            largest_gradient=most,
            gradients_in_backward=max([most, *(unit.shard for unit in units)]),
            moved=2 * (sum(state.values()) + averages)
            + (4 if normed else 3) * sum(part.own for part in parts)
            + sum(part.measured for part in parts),
            exchange=_exchange(units, ranks, normed, sum(part.gathers for part in parts)),
        )

    def _part(self, p: Planned, last: bool, k: int) -> _Part:
        """The part of a rank of a parameter of group k; those that are alike are counted once."""
        shard = p.part(last)
        cut = p.spread is not None and p.spread.cuts_blocks
        alike = k, p.whole.dtype, p.whole.shape, p.whole.stride(), shard.shape, cut
        if alike not in self._known:
            self._known[alike] = self._count(p, shard, cut, self._requests[k])
        return self._known[alike]

    def _count(self, p: Planned, shard: Tensor, cut: bool, request: Request) -> _Part:
        slots, average = state_formats(p.whole, request)
        whole = cut and any(format.scaled for *_, format in slots)
        layout = p.whole.detach() if whole else torch.empty_like(shard)
        made = {key: allocate(layout, key, format, slot) for key, slot, format in slots}
        state = {key: sum(x.nbytes for x in tensors.values()) for key, tensors in made.items()}
        kept = kept_of(request.rule, request.groups.state_names)
        held: dict[str, Tensor] = {}
        complete_kept(p.whole.detach(), kept, held)
        state |= {key: x.nbytes for key, x in held.items()}
        wide = torch.empty_like(layout, dtype=torch.promote_types(shard.dtype, torch.float32))
        # Beside the columns of slots those of the parameter and its gradient.
        width = 2 + len(columns({key: format for key, _, format in slots}, average is not None))
        scratch = _A_CHUNK * math.ceil(layout.numel() / CHUNK) + _A_TENSOR + 8 * width
        if whole:
            scratch += 2 * layout.nbytes  # the whole parameter and gradient
        elif not is_dense(shard):
            scratch += layout.nbytes
        averages = wide.nbytes if average is not None else 0
        # What a rule with sums reads once more: the parameter, its gradient, its slots.
        read = 2 * layout.nbytes + sum(sum(x.nbytes for x in tensors.values()) for tensors in made.values())
        measured = read if request.rule.form().reduction is not None else 0
        return _Part(layout.nbytes, state, averages, scratch, p.gathers if whole else 0.0, measured)


def _exchange(units: Sequence[Unit], ranks: int, normed: bool, gathers: float) -> Exchange:
    norm = 2 * ring(8 * WORDS, ranks) if normed else 0.0
    return Exchange(
        all_gather=round(sum(ring(unit.gathers * unit.parameters, unit.shards) for unit in units)),
        reduce_scatter=round(sum(ring(unit.gradients, unit.shards) for unit in units)),
        all_reduce=round(sum(2 * ring(unit.shard, unit.replicas) for unit in units)),
        optimizer=round(norm + gathers),
    )
