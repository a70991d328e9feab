"""The chunks into which a step cuts its tensors: what a thread, or a program of a GPU, takes at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Runs", "chunks_of", "lengths_of"]


@dataclass(frozen=True)
class Runs:
    """The elements that a shard has of a tensor: stretches of `length`, each with the number of its first."""

    length: int
    firsts: Sequence[int]


def lengths_of(sizes: Sequence[int], lengths: Sequence[int] | None, block: int) -> list[int]:
    """The elements of a row of each tensor; where rows are whole blocks, it is as if there were one row."""
    return [
        size if lengths is None or lengths[k] % block == 0 else lengths[k] for k, size in enumerate(sizes)
    ]


def chunks_of(
    sizes: Sequence[int], lengths: Sequence[int], chunk: int, runs: Sequence[Runs | None] | None
) -> np.ndarray[Any, Any]:
    """The chunks of all tensors, int64 (tensor, first element, last element + 1, shift).

    Args:
        sizes: the elements of each tensor.
        lengths: those of a row, of which a chunk has whole ones, or a part of one.
        chunk: the most elements of a chunk.
        runs: which elements of a larger tensor each has: element k is number k + shift of it; None for all.
    """
    rows = [
        (k, *each)
        for k, size in enumerate(sizes)
        for each in _chunks_of_runs(size, lengths[k], chunk, runs[k] if runs else None)
    ]
    return np.array(rows, np.int64).reshape(-1, 4)


def _chunks_of_runs(size: int, length: int, chunk: int, runs: Runs | None) -> Iterator[tuple[int, int, int]]:
    """The first element of each chunk, that after its last, and what is added for the number in the whole."""
    if runs is None or not size:
        yield from ((start, stop, 0) for start, stop in _chunks(size, length, chunk))
        return
    for n, number in enumerate(runs.firsts):
        first = n * runs.length
        for start, stop in _chunks(runs.length, min(length, runs.length), chunk):
            yield first + start, first + stop, number - first


def _chunks(size: int, length: int, chunk: int) -> Iterator[tuple[int, int]]:
    """The first element of each chunk and that after its last: of whole rows, or of a part of one row."""
    if length <= chunk:
        together = max(1, chunk // length) * length if length < size else chunk
        for start in range(0, size, together):
            yield start, min(start + together, size)
        return
    for row in range(0, size, length):
        for start in range(row, min(row + length, size), chunk):
            yield start, min(start + chunk, row + length, size)
