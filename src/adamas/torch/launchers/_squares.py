"""The exact sum of squares of whole tensors, in the words of `backends.exact`, on any device."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from ...backends import exact

__all__ = ["sum_of_counted", "sum_of_squares"]

# Elements taken together: a few numbers of each such bucket go to the host.
_BUCKET = 1 << 24
# The bits of a slice: 2^30 of them add up in an int64.
_BITS = 32


def sum_of_squares(grads: Sequence[Tensor]) -> Tensor:
    """The sum of squares of tensors, complex numbers as pairs of reals: int64, on the device of the first."""
    if not grads:
        return torch.from_numpy(exact.words_of(0))
    total, bad = 0, [0, 0]
    for bucket in _buckets(grads):
        largest = bucket.abs().amax().item()
        if math.isfinite(largest):
            total += _exact_sum(bucket)
        else:
            bad[math.isnan(largest)] = 1
    words = exact.words_of(total)
    words[exact.INFINITE], words[exact.NAN] = bad
    return torch.from_numpy(words).to(grads[0].device)


def sum_of_counted(grads: Sequence[Tensor], counted: Sequence[bool]) -> Tensor:
    """The same of those that count; of the others, whether they are finite."""
    words = sum_of_squares([g for g, on in zip(grads, counted, strict=True) if on])
    others = [g for g, on in zip(grads, counted, strict=True) if not on]
    if others:
        flags = sum_of_squares(others).to(words.device)
        words[exact.INFINITE :] += flags[exact.INFINITE :]
    return words


def _buckets(grads: Sequence[Tensor]) -> Iterator[Tensor]:
    """The elements in float64, those of one device together in flat tensors of bounded length."""
    waiting: dict[torch.device, list[Tensor]] = {}
    for g in grads:
        g = torch.view_as_real(g.resolve_conj()) if g.is_complex() else g
        # Apple's GPUs have no float64.
        g = g.detach().cpu() if g.device.type == "mps" else g.detach()
        for piece in g.reshape(-1).split(_BUCKET):
            together = waiting.setdefault(g.device, [])
            if sum(map(Tensor.numel, together)) + piece.numel() > _BUCKET:
                yield torch.cat(together)
                together.clear()
            if piece.numel():
                together.append(piece.double())
    for together in waiting.values():
        if together:
            yield torch.cat(together)


def _exact_sum(g: Tensor) -> int:
    """The sum of squares of finite numbers in float64, in units of 2^LEAST; see `numba.slices`."""
    magnitude, total = g.abs(), 0
    tiny, huge = magnitude < 2.0**-500, magnitude >= 2.0**500
    # Three ranges, each scaled such that squares neither overflow nor underflow.
    for scale, chosen in ((600, tiny), (0, ~(tiny | huge)), (-600, huge)):
        rest = torch.where(chosen, g * 2.0**scale, 0.0).square_()
        largest = rest.amax().item()
        grid = math.frexp(largest)[1] - _BITS
        while largest:
            grid = max(grid, -1074)
            magic = 1.5 * 2.0 ** (grid + 52)
            sliced = rest + magic
            rest -= sliced - magic
            # The bits of a float64 count its last digits.
            counts = sliced.view(torch.int64) - _bits_of(magic)
            found, largest = torch.stack([counts.sum(), rest.count_nonzero()]).tolist()
            total += found << (grid - 2 * scale - exact.LEAST)
            grid -= _BITS
    return total


def _bits_of(x: float) -> int:
    return int(torch.tensor(x, dtype=torch.float64, device="cpu").view(torch.int64))
