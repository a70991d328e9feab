"""The parameters of a model that is planned, where ranks have them, and what FSDP gathers and sends of them.

A unit is what FSDP gathers and reduces at once, as `fully_shard` does by default: parameters are gathered
before the forward and again before the backward pass, those of the root once; gradients are reduced once.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from .mesh import Spread, spread_of
from .slots import memory_order

__all__ = ["Model", "Planned", "Unit", "gathered", "planned", "ring", "units_of"]

Model = nn.Module | Iterable[Tensor] | Mapping[str, Sequence[int] | Tensor]

_ROOT = "root"


@dataclass(eq=False)
class Planned:
    """A parameter of the model.

    Attributes:
        own: the tensor that was given; None for a shape.
        whole: a parameter on "meta" of the shape that all ranks have together.
        unit: the name of its unit.
        spread: where its elements are; None where every rank has all.
    """

    own: Tensor | None
    whole: nn.Parameter
    unit: str
    spread: Spread | None

    @property
    def ranks(self) -> int:
        """How many have a part of it."""
        return 1 if self.spread is None else math.prod(self.spread.mesh.shape)

    @functools.cached_property
    def split(self) -> tuple[int, int] | None:
        """The replicas and shards, where FSDP has placed it; None where it has not."""
        cut = [] if self.spread is None else [each for each in self.spread.placements if each.is_shard()]
        if self.spread is None or len(cut) > 1 or (cut and not cut[0].is_shard(0)):
            return None
        shards = math.prod(n for n, _ in self.spread.cuts(0))
        return self.ranks // shards, shards

    def part(self, last: bool = False) -> Tensor:
        """The elements of the first rank, which has the most of every parameter, or of the last."""
        found = self.whole.detach()
        if self.spread is None:
            return found
        place = tuple(size - 1 if last else 0 for size in self.spread.mesh.shape)
        there = dataclasses.replace(self.spread, place=place)
        for dim in range(found.dim()):
            found = found.narrow(dim, 0, sum(stop - start for start, stop in there.pieces(dim)))
        return torch.empty_like(found)

    @functools.cached_property
    def padded(self) -> int:
        """The bytes of the parameter, and of its gradient, on a rank: FSDP makes them those of the first."""
        return self.part().nbytes

    @property
    def gathers(self) -> float:
        """The bytes that a rank sends where the whole parameter and gradient are gathered."""
        if self.spread is None:
            return 0.0
        shards = math.prod(n for dim in range(self.whole.dim()) for n, _ in self.spread.cuts(dim))
        return 2 * ring(self.padded * shards, shards)


@dataclass(frozen=True)
class _Ranks:
    """A mesh, as far as `Spread` asks."""

    shape: tuple[int, ...]

    def size(self, k: int) -> int:
        return self.shape[k]


def planned(model: Model, dtype: torch.dtype | None, mesh: Any) -> list[Planned]:
    """Return the parameters of a model, each once; `mesh` as for `adamas.torch.memory`.

    Raises:
        ValueError: the mesh has no or more than two dimensions, or cannot split a parameter.
    """
    shape = None if mesh is None else _shape(mesh)
    named: Iterable[tuple[str, Any]]
    sharded: Mapping[str, str] = {}
    if isinstance(model, nn.Module):
        named, sharded = model.named_parameters(), _sharded_units(model)
    elif isinstance(model, Mapping):
        named = model.items()
    else:
        named = (("", p) for p in {id(p): p for p in model}.values())
    return [_one(given, sharded.get(name) or _unit(name), dtype, shape) for name, given in named]


def _shape(mesh: Any) -> tuple[int, ...]:
    shape = (mesh,) if isinstance(mesh, int) else tuple(getattr(mesh, "shape", mesh))
    if not 1 <= len(shape) <= 2 or any(size < 1 for size in shape):
        raise ValueError(f"mesh must be a number of ranks, or (replicas, shards), got {mesh!r}")
    return shape


def _sharded_units(model: nn.Module) -> dict[str, str]:
    """The unit of every parameter, by their names, where `fully_shard` has been called."""
    found = {}
    for path, module in model.named_modules():
        if hasattr(module, "set_reshard_after_forward"):
            for name, _ in module.named_parameters():
                found[f"{path}.{name}" if path else name] = path or _ROOT
    return found


def _unit(name: str) -> str:
    """The name up to its first number: "layers.3" of "layers.3.norm.weight"; the root's where it has none."""
    parts = name.split(".")
    ends = [k + 1 for k, part in enumerate(parts[:-1]) if part.isdigit()]
    return ".".join(parts[: ends[0]]) if ends else _ROOT


def _one(given: Any, unit: str, dtype: torch.dtype | None, mesh: tuple[int, ...] | None) -> Planned:
    own = given if isinstance(given, Tensor) else None
    if own is None:
        whole = torch.empty(tuple(given), dtype=dtype, device="meta")
    else:
        whole = torch.empty_strided(own.shape, own.stride(), dtype=dtype or own.dtype, device="meta")
    trained = own is None or own.requires_grad or not isinstance(own, nn.Parameter)
    spread = None if own is None else spread_of(own)
    if mesh is not None and spread is None:
        spread = _as_fully_shard(whole, mesh)
    return Planned(own, nn.Parameter(whole, requires_grad=trained), unit, spread)


def _as_fully_shard(p: Tensor, mesh: tuple[int, ...]) -> Spread:
    from torch.distributed.tensor import Replicate, Shard

    if not p.dim():
        raise ValueError(
            "fully_shard cannot split a parameter without dimensions; give it the shape (1,), or no mesh"
        )
    placements = (*[Replicate()] * (len(mesh) - 1), Shard(0))
    return Spread(_Ranks(mesh), placements, tuple(p.shape), p.stride(), memory_order(p), (0,) * len(mesh))


@dataclass(frozen=True)
class Unit:
    """The bytes of a unit, padded to equal shards.

    Attributes:
        name, replicas, shards: of the unit, and over how many ranks it is repeated and split.
        parameters, gradients: of all shards.
    """

    name: str
    parameters: int
    gradients: int
    replicas: int
    shards: int

    @property
    def shard(self) -> int:
        """The bytes of gradients that a rank has of it after they are reduced."""
        return self.gradients // self.shards

    @property
    def gathers(self) -> int:
        """How often a step gathers its parameters."""
        return 1 if self.name == _ROOT else 2


def units_of(found: Sequence[Planned], stepped: Sequence[bool]) -> list[Unit]:
    """Return the units of parameters that FSDP has placed; `stepped` says which have gradients."""
    sizes: defaultdict[tuple[str, int, int], list[tuple[int, bool]]] = defaultdict(list)
    for p, on in zip(found, stepped, strict=True):
        if p.split is not None:
            sizes[p.unit, *p.split].append((p.padded, on))
    return [
        Unit(
            name,
            shards * sum(size for size, _ in parts),
            shards * sum(size for size, on in parts if on),
            replicas,
            shards,
        )
        for (name, replicas, shards), parts in sizes.items()
    ]


def gathered(units: Sequence[Unit]) -> int:
    """Return the bytes that FSDP holds at most in a backward pass, beside shards and their gradients.

    At a unit in the middle: the root; the unit, and the next one, gathered ahead; its gradients, and the copy
    of the last one's that was sent; less the shards that are not there yet. At the end: the gradients of the
    root and of the last unit, each with a copy.
    """
    split = [unit for unit in units if unit.shards > 1]
    roots = [unit for unit in split if unit.name == _ROOT]
    others = [unit for unit in split if unit.name != _ROOT]
    root, root_gradients = (sum(u.parameters for u in roots), sum(u.gradients for u in roots))
    absent = sum(u.shard for u in roots)
    middle = max((2 * (u.parameters + u.gradients) - u.shard for u in others), default=0)
    end = 2 * root_gradients + max((2 * u.gradients for u in others), default=0)
    return max(root + root_gradients + middle - absent, end)


def ring(size: float, ranks: int) -> float:
    """Return the bytes that each rank sends of `size` to give all of it to all others, in a ring."""
    return size * (ranks - 1) / ranks
