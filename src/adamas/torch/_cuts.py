"""How processes cut a dimension of a tensor: index arithmetic, as torch's placements define it."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Sequence

__all__ = ["Cuts", "Pieces", "align", "all_pieces", "pieces_of"]

# For each cut of a dimension, the number of processes and the parts that each part is cut from.
Cuts = tuple[tuple[int, int], ...]
# Stretches of a dimension: the first index, and the last + 1.
Pieces = tuple[tuple[int, int], ...]


def _chunk(size: int, first: int, n: int, at: int) -> tuple[int, int]:
    """The part of a stretch that begins at `first`, cut as torch.chunk does."""
    length = -(-size // n)
    return first + min(at * length, size), first + min((at + 1) * length, size)


@functools.lru_cache(4096)
def pieces_of(size: int, cuts: Cuts, at: tuple[int, ...]) -> Pieces:
    """The stretches of a dimension that the process with these coordinates has.

    A strided cut is one made after cuts that stand behind it: it takes a part of each of their parts.
    """
    pieces = [(0, size)]
    for (n, factor), k in zip(cuts, at, strict=True):
        length = sum(stop - start for start, stop in pieces)
        wanted = [_chunk(length, 0, factor, j) for j in range(factor)]
        wanted = [_chunk(stop - start, start, n, k) for start, stop in wanted]
        pieces = list(_joined(part for stretch in wanted for part in _within(pieces, *stretch)))
    return tuple(pieces)


def _within(pieces: Sequence[tuple[int, int]], first: int, last: int) -> Iterator[tuple[int, int]]:
    """The elements from a first to a last of stretches that follow each other."""
    before = 0
    for start, stop in pieces:
        low, high = max(first - before, 0), min(last - before, stop - start)
        if low < high:
            yield start + low, start + high
        before += stop - start


def _joined(pieces: Iterator[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    last: tuple[int, int] | None = None
    for piece in pieces:
        if last is not None and last[1] == piece[0]:
            last = last[0], piece[1]
            continue
        if last is not None:
            yield last
        last = piece
    if last is not None:
        yield last


@functools.lru_cache(4096)
def all_pieces(size: int, cuts: Cuts) -> tuple[Pieces, ...]:
    """The stretches that each process has."""
    return tuple(pieces_of(size, cuts, at) for at in itertools.product(*(range(n) for n, _ in cuts)))


@functools.lru_cache(4096)
def align(size: int, unit: int, cuts: Cuts, single: bool = False) -> bool:
    """Whether every stretch begins and ends with a unit, and units, cut by themselves, are cut there too."""
    units = all_pieces(-(-size // unit), cuts)
    for mine, theirs in zip(all_pieces(size, cuts), units, strict=True):
        if tuple((a * unit, min(b * unit, size)) for a, b in theirs) != mine or (single and len(mine) > 1):
            return False
    return True
