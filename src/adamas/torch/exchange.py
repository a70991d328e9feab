"""The one sum over processes that a step needs: squares of gradients, and whether any process must not step.

Every process of the group joins it at every step, whichever of its parameters have a gradient: a process that
waits for one that does not come would wait for ever. One that cannot step says so in the same sum.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..backends.exact import LENGTH
from .keywords import OneOfMany
from .mesh import Spread

__all__ = ["WORDS", "Exchange", "exchange_of"]

# Behind the words of the sum of squares: processes that found the step wanting, and that cannot take it.
_SKIPS, _FAILURES = LENGTH, LENGTH + 1
# All that are added up, of 8 bytes each.
WORDS = LENGTH + 2


class Exchange:
    """The processes that have parts of the parameters of one optimizer.

    Args:
        group: their process group.
        device: the type of the device that it communicates from.
        counts_plain: whether parameters that are no DTensors count in the norm here: those of an optimizer
            that is one of many are its own; others are replicas, of which the first process's count.
    """

    def __init__(self, group: Any, device: str, counts_plain: bool) -> None:
        self._group, self._device, self.counts_plain = group, device, counts_plain
        self._pending = True

    def begin(self) -> None:
        """Note that a step has begun, in which the others wait for this process."""
        self._pending = True

    def sum(self, words: NDArray[Any], found_inf: bool) -> tuple[NDArray[Any], bool]:
        """The sum of `words` over all processes, and whether one of them has found the step wanting.

        Raises:
            RuntimeError: another process cannot step; no process does.
        """
        sent = torch.zeros(WORDS, dtype=torch.int64, device=self._device)
        sent[:LENGTH] = torch.from_numpy(words)
        sent[_SKIPS] = int(found_inf)
        found = self._reduce(sent)
        if found[_FAILURES]:
            raise RuntimeError(
                f"{int(found[_FAILURES])} of {self._group.size()} processes cannot take this step, for a "
                f"reason that they give; no process has"
            )
        return found[:LENGTH], bool(found[_SKIPS])

    def total(self, sums: NDArray[Any], largest: NDArray[Any]) -> NDArray[Any]:
        """Sums over all processes, and behind them the largest numbers, of rows that all processes have."""
        sent = [torch.from_numpy(np.array(x)).to(self._device) for x in (sums, largest)]
        torch.distributed.all_reduce(sent[0], group=self._group)
        torch.distributed.all_reduce(sent[1], op=torch.distributed.ReduceOp.MAX, group=self._group)
        added, most = (x.numpy(force=True) for x in sent)
        return np.concatenate([added, most[:, None]], axis=1)

    def fail(self) -> None:
        """Tell the others, if they wait, that this process cannot take the step."""
        if self._pending:
            sent = torch.zeros(WORDS, dtype=torch.int64, device=self._device)
            sent[_FAILURES] = 1
            self._reduce(sent)

    def _reduce(self, sent: Tensor) -> NDArray[Any]:
        self._pending = False
        torch.distributed.all_reduce(sent, group=self._group)
        return sent.numpy(force=True)


def exchange_of(spreads: Iterable[Spread | None], one_of_many: OneOfMany | None) -> Exchange | None:
    """The processes that have parts of parameters; None where all are in this one."""
    meshes = list(dict.fromkeys(spread.mesh for spread in spreads if spread is not None))
    if not meshes and one_of_many is None:
        return None
    ranks = {rank for mesh in meshes for rank in mesh.mesh.flatten().tolist()}
    if one_of_many is not None:
        ranks |= set(torch.distributed.get_process_group_ranks(one_of_many.group))
    if len(ranks) == 1:
        return None
    device = meshes[0].device_type if one_of_many is None else _device_of(one_of_many)
    counts = one_of_many is not None or torch.distributed.get_rank() == min(ranks)
    return Exchange(_group_of(tuple(sorted(ranks)), meshes, one_of_many), device, counts)


def _device_of(one_of_many: OneOfMany) -> str:
    """The type of the device that a group communicates from."""
    return "cuda" if torch.distributed.get_backend(one_of_many.group) == "nccl" else "cpu"


def _group_of(ranks: tuple[int, ...], meshes: list[Any], one_of_many: OneOfMany | None) -> Any:
    """A process group of just these ranks: one there is, or a new one, made once."""
    known = [mesh.get_group() for mesh in meshes if mesh.ndim == 1]
    known += [] if one_of_many is None else [one_of_many.group]
    world = torch.distributed.group.WORLD
    for group in (world, *known):
        if tuple(sorted(torch.distributed.get_process_group_ranks(group))) == ranks:
            return group
    return _new_group(world, ranks)


@functools.lru_cache(64)
def _new_group(world: Any, ranks: tuple[int, ...]) -> Any:
    """A group of these ranks, whom alone its making concerns."""
    return torch.distributed.new_group(list(ranks), use_local_synchronization=True)
