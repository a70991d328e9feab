"""The memory and the traffic of a training step, told before anything is allocated.

The tensors of the state are made on the device "meta" by the functions that make real ones, and counted: there
is no second account of what a format takes. Shards are those of torch's `fully_shard`: the pieces of
`torch.chunk` along dimension 0, of which the first rank has the largest of every parameter.
"""

from __future__ import annotations

import functools
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..backends.numba.columns import columns
from ..backends.numba.job import CHUNK
from ..formats import Format
from ._compat import is_dense, is_distributed, local, without_modes
from .counters import counter_keys
from .dropin import AdamW
from .footprint import Exchange, Memory
from .launchers import Request
from .members import state_formats
from .optimizer import FusedOptimizer
from .slots import allocate

__all__ = ["memory"]

Model = nn.Module | Iterable[Tensor] | Mapping[str, Sequence[int] | Tensor]

# Bytes of a chunk of elements in the list that threads take them from, with its sum of squares.
_A_CHUNK = 40
# Of a tensor in the tables of a kernel, beside the addresses of its arrays, 8 each.
_A_TENSOR = 40
# Words of 8 bytes that ranks add up a step where the norm of the gradients is needed.
_NORM_WORDS = 150


def memory(
    model: Model,
    optimizer: Callable[..., Any] | FusedOptimizer = AdamW,
    *,
    mesh: Any = None,
    dtype: torch.dtype | None = None,
    **options: Any,
) -> Memory:
    """Return the bytes that a training step takes on each rank, without allocating any of them.

    Kernels are supposed to take every parameter. Activations, and torch and the program themselves, are beside
    what is counted here.

    Args:
        model: a module, real, on "meta" or fake; its tensors; or a mapping from names to shapes or tensors.
            Parameters that require no gradient count as parameters alone.
        optimizer: a class of `adamas.torch`, a `functools.partial` of one, or an instance, whose groups then
            say which parameters have gradients and state.
        mesh: the ranks over which `fully_shard` splits the parameters: their number; (replicas, shards); or a
            `DeviceMesh` of one or two dimensions. By default DTensors tell it, and other tensors are whole.
            A unit, gathered and reduced at once, is a module that is sharded already, or else an entry of
            the outermost list of modules ("layers.3."), and what is left over.
        dtype: the dtype of parameters and gradients; by default their own, for shapes torch's default.
        **options: the optimizer's, as in `state_format="float8"`.

    Raises:
        TypeError: the optimizer is none of this package.
        ValueError: the mesh has no or more than two dimensions; a parameter cannot be sharded, or the model
            lacks it.
    """
    with without_modes():
        found = _found(model, dtype, None if mesh is None else _replicas_and_shards(mesh))
        built = _built(optimizer, found, options)
        return _total(found, built)


@dataclass(eq=False)
class _Found:
    """A parameter of the model: the tensor itself, one like it on "meta", its unit, and who shares it.

    Attributes:
        own: the tensor as it was given; None for a shape.
        whole: a parameter on "meta" of the shape that all ranks have together.
        unit: the name of what FSDP gathers together with it.
        replicas, shards: by how many ranks it is repeated and split.
    """

    own: Tensor | None
    whole: nn.Parameter
    unit: str
    replicas: int = 1
    shards: int = 1

    def shard(self, rank: int) -> Tensor:
        """The part of a rank: a piece of `torch.chunk`, or none."""
        whole = self.whole.detach()
        return whole if self.shards == 1 else _piece(whole.shape, whole.dtype, self.shards, rank)


@functools.lru_cache(1024)
def _piece(shape: torch.Size, dtype: torch.dtype, shards: int, rank: int) -> Tensor:
    whole = torch.empty(shape, dtype=dtype, device="meta")
    pieces = whole.chunk(shards)
    return pieces[rank] if rank < len(pieces) else whole[:0]


def _replicas_and_shards(mesh: Any) -> tuple[int, int]:
    shape = (mesh,) if isinstance(mesh, int) else tuple(getattr(mesh, "shape", mesh))
    if not 1 <= len(shape) <= 2 or any(size < 1 for size in shape):
        raise ValueError(f"mesh must be a number of ranks, or (replicas, shards), got {mesh!r}")
    return (1, shape[0]) if len(shape) == 1 else shape


def _found(model: Model, dtype: torch.dtype | None, split: tuple[int, int] | None) -> list[_Found]:
    named: Iterable[tuple[str, Any]]
    units: Mapping[str, str] = {}
    if isinstance(model, nn.Module):
        named, units = model.named_parameters(), _sharded_units(model)
    elif isinstance(model, Mapping):
        named = model.items()
    else:
        named = (("", p) for p in {id(p): p for p in model}.values())
    return [_one(given, units.get(name) or _unit(name), dtype, split) for name, given in named]


def _sharded_units(model: nn.Module) -> dict[str, str]:
    """The unit of every parameter, by their names, where `fully_shard` has been called."""
    found = {}
    for path, module in model.named_modules():
        if hasattr(module, "reshard") and hasattr(module, "unshard"):
            for name, _ in module.named_parameters():
                found[f"{path}.{name}" if path else name] = path or "root"
    return found


def _unit(name: str) -> str:
    """The name up to its first number: "layers.3" of "layers.3.attention.weight"; "root" where it has none."""
    parts = name.split(".")
    ends = [k + 1 for k, part in enumerate(parts[:-1]) if part.isdigit()]
    return ".".join(parts[: ends[0]]) if ends else "root"


def _one(given: Any, unit: str, dtype: torch.dtype | None, split: tuple[int, int] | None) -> _Found:
    own = given if isinstance(given, Tensor) else None
    shape, trained, stride = tuple(given if own is None else own.shape), True, None
    if own is not None:
        dtype, trained = dtype or own.dtype, own.requires_grad or not isinstance(own, nn.Parameter)
        if is_distributed(own) and split is None:
            split = _split_of(own)
            shape = shape if split is not None else tuple(local(own).shape)
        elif own.layout == torch.strided and split is None:
            stride = own.stride()
    empty = torch.empty(shape, dtype=dtype, device="meta")
    if stride is not None:
        empty = torch.empty_strided(shape, stride, dtype=dtype, device="meta")
    if split is not None and not shape:
        raise ValueError(
            "fully_shard does not split a parameter without dimensions; give it the shape (1,), or no mesh"
        )
    return _Found(own, nn.Parameter(empty, requires_grad=trained), unit, *(split or (1, 1)))


def _split_of(p: Any) -> tuple[int, int] | None:
    """The replicas and shards of a DTensor as `fully_shard` makes them; None for other placements."""
    shards = [k for k, placement in enumerate(p.placements) if placement.is_shard()]
    if len(shards) != 1 or not p.placements[shards[0]].is_shard(0):
        return None
    size = int(p.device_mesh.size(shards[0]))
    return int(p.device_mesh.size()) // size, size


def _built(
    optimizer: Callable[..., Any] | FusedOptimizer, found: Sequence[_Found], options: dict[str, Any]
) -> FusedOptimizer:
    """The optimizer over tensors on "meta", or that which was given."""
    built = optimizer
    if not isinstance(optimizer, torch.optim.Optimizer):
        built = optimizer([each.whole for each in found if each.whole.requires_grad], **options)
    elif options:
        raise TypeError(
            f"{next(iter(options))!r} is an option of a class, and the optimizer is there already"
        )
    if not isinstance(built, FusedOptimizer):
        raise TypeError(f"optimizer must be one of adamas.torch, got {optimizer!r}")
    return built


@dataclass(frozen=True)
class _Part:
    """The bytes of one parameter on one rank."""

    parameters: int
    gradients: int
    state: dict[str, int]
    averages: int
    scratch: int

    @property
    def moved(self) -> int:
        return self.gradients + 2 * (self.parameters + sum(self.state.values()) + self.averages)


class _Counter:
    """The bytes of parameters; those that are alike are counted once."""

    def __init__(self, optimizer: FusedOptimizer) -> None:
        self._groups = groups = optimizer._groups()
        rules = [optimizer.rule_of(group) for group in groups.param_groups]
        self.requests = [
            Request(groups, group, rule, groups.slot_keys(rule))
            for group, rule in zip(groups.param_groups, rules, strict=True)
        ]
        self.counters = len(counter_keys(groups, rules)) * torch.get_default_dtype().itemsize
        self._known: dict[Any, _Part] = {}

    def part(self, p: _Found, rank: int, k: int) -> _Part:
        """The part of a rank of a parameter of group k."""
        shard = p.shard(rank)
        alike = k, p.whole.dtype, p.whole.shape, p.whole.stride(), shard.shape
        if alike not in self._known:
            self._known[alike] = self._count(p.whole, shard, _bytes(p.shard(0)), self.requests[k])
        return self._known[alike]

    def _count(self, whole: Tensor, shard: Tensor, padded: int, request: Request) -> _Part:
        slots, average = state_formats(whole, request)
        made = {key: allocate(shard, key, format, slot) for key, slot, format in slots}
        state = {key: sum(map(_bytes, tensors.values())) for key, tensors in made.items()}
        wide = torch.empty_like(shard, dtype=torch.promote_types(shard.dtype, torch.float32))
        arrays = dict(zip(map(str, range(len(slots))), (format for *_, format in slots), strict=True))
        scratch = _scratch(shard, arrays, average is not None)
        return _Part(padded, padded, state, _bytes(wide) if average else 0, scratch)


def _bytes(x: Tensor) -> int:
    return x.numel() * x.element_size()


def _scratch(shard: Tensor, slots: Mapping[str, Format], average: bool) -> int:
    """Of a kernel's tables, and of the dense copy of a tensor that has gaps in memory."""
    width = 2 + len(columns(slots, average))
    tables = _A_CHUNK * math.ceil(shard.numel() / CHUNK) + _A_TENSOR + 8 * width
    return tables + (0 if is_dense(shard) else _bytes(shard))


def _total(found: Sequence[_Found], optimizer: FusedOptimizer) -> Memory:
    counter = _Counter(optimizer)
    group_of = {id(p): k for k, group in enumerate(optimizer.param_groups) for p in group["params"]}
    stepped = [_group(each, group_of) for each in found]
    if missing := len(group_of) - sum(k is not None for k in stepped):
        raise ValueError(
            f"the optimizer has {missing} parameters that the model lacks; give both of one model"
        )
    largest = _on_rank(0, found, stepped, counter, None)
    last = max(each.shards for each in found) - 1 if found else 0
    smallest = _on_rank(last, found, stepped, counter, None)
    if smallest == largest:
        return largest
    return _on_rank(0, found, stepped, counter, smallest)


def _group(p: _Found, group_of: Mapping[int, int]) -> int | None:
    return group_of.get(id(p.whole), group_of.get(id(p.own)))


def _on_rank(
    rank: int,
    found: Sequence[_Found],
    groups: Sequence[int | None],
    counter: _Counter,
    smallest: Memory | None,
) -> Memory:
    state: defaultdict[str, int] = defaultdict(int)
    parameters = gradients = averages = scratch = moved = counters = largest = 0
    for p, k in zip(found, groups, strict=True):
        padded = _bytes(p.shard(0))
        parameters += padded
        if k is None:
            continue
        part = counter.part(p, rank, k)
        gradients, largest = gradients + part.gradients, max(largest, part.gradients)
        averages, scratch = averages + part.averages, scratch + part.scratch
        moved, counters = moved + part.moved, counters + counter.counters
        for key, size in part.state.items():
            state[key] += size
    normed = bool(counter.requests) and counter.requests[0].groups.options.needs_grad_norm
    units = _units(found, groups)
    sharded = any(p.shards * p.replicas > 1 for p in found)
    return Memory(
        ranks=max((p.shards * p.replicas for p in found), default=1),
        elements=sum(p.whole.numel() for p in found),
        parameters=parameters,
        gradients=gradients,
        state=dict(state),
        averages=averages,
        counters=counters,
        scratch=scratch,
        gathered=_gathered(units),
        largest_gradient=largest,
        gradients_in_backward=max((unit.shard for unit in units), default=0) if sharded else largest,
        moved=moved + (gradients if normed else 0),
        exchange=_exchange(units, normed and sharded),
        smallest=smallest,
    )


@dataclass(frozen=True)
class _Unit:
    """What FSDP gathers and reduces at once: bytes of parameters and gradients over all ranks, and of a shard."""

    name: str
    parameters: int
    gradients: int
    shard: int
    replicas: int
    shards: int


def _units(found: Sequence[_Found], groups: Sequence[int | None]) -> list[_Unit]:
    """Of parameters that are split; padded to a whole number of pieces, as FSDP exchanges them."""
    parts: defaultdict[tuple[str, int, int], list[tuple[int, bool]]] = defaultdict(list)
    for p, k in zip(found, groups, strict=True):
        if p.shards * p.replicas > 1:
            parts[p.unit, p.replicas, p.shards].append((_bytes(p.shard(0)), k is not None))
    made = []
    for (name, replicas, shards), sizes in parts.items():
        whole, trained = sum(size for size, _ in sizes), sum(size for size, on in sizes if on)
        made.append(_Unit(name, shards * whole, shards * trained, trained, replicas, shards))
    return made


def _gathered(units: Sequence[_Unit]) -> int:
    """What FSDP holds of whole units at most: of the largest its parameters, gradients, and those it sends."""
    roots = sum(unit.parameters for unit in units if unit.name == "root" and unit.shards > 1)
    others = (unit.parameters + 2 * unit.gradients for unit in units if unit.shards > 1)
    return roots + max(others, default=0)


def _exchange(units: Sequence[_Unit], normed: bool) -> Exchange:
    gathered = scattered = reduced = 0.0
    for unit in units:
        # The root is gathered once: FSDP keeps it from the forward to the backward pass.
        times = 1 if unit.name == "root" else 2
        gathered += times * unit.parameters * _others(unit.shards)
        scattered += unit.gradients * _others(unit.shards)
        reduced += 2 * unit.shard * _others(unit.replicas)
    ranks = max((unit.shards * unit.replicas for unit in units), default=1)
    norm = 2 * 8 * _NORM_WORDS * _others(ranks) if normed else 0.0
    return Exchange(*map(round, (gathered, scattered, reduced, norm)))


@functools.cache
def _others(ranks: int) -> float:
    """The share of all others in a ring of so many ranks."""
    return (ranks - 1) / ranks
