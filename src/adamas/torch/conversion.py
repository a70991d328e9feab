"""Slots from one format and layout to another: compiled, in pieces, without a wide copy of the whole.

Elements are counted in the order of memory of the layout that is written. Scaled formats are read and written
by kernels, to and from float32; where neither side is float32 already, about a million elements at a time,
which stay in the cache.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .. import formats
from ..backends.numba import Job, compile_conversion
from ..formats import BLOCK, Format
from ._openmp import default_pool
from .packed import PACKED, packed_codes, packed_order, packed_values
from .slots import Held, Order, array_keys, empty_arrays, fits, in_order, memory_order
from .state import format_of_dtype, is_native, torch_dtype

__all__ = ["convert", "sampled", "widened"]

_PIECE = 1 << 20
# The same for a change of layout, whose indices take up to 200 bytes an element.
_GATHERED = 1 << 17

# The values of elements from a first to a last in float32; written to the tensor given, where that is cheap.
_Read = Callable[[int, int, Tensor | None], Tensor]


def convert(held: Held, p: Tensor, key: str, format: Format, signed: bool) -> dict[str, Tensor]:
    """The tensors of a slot in another format or in the layout of `p`, by their keys; `held` stays."""
    if held.name == "" and is_native(format) and _native(held.codes):
        dtype = p.dtype if p.is_complex() else torch_dtype(format)
        return {key: torch.empty_like(p, dtype=dtype, requires_grad=False).copy_(held.codes)}
    arrays = empty_arrays(p, key, format)
    codes, *scales = (arrays[name] for name in array_keys(key, format))
    with torch.no_grad():
        if format.scaled and held.name == format.name and held.order == memory_order(p):
            codes.copy_(held.codes)  # the strides alone were others
            scales[0].copy_(_scales(held))
        elif p.numel():
            _fill(codes, scales[0] if scales else None, held, p, format, signed)
    return arrays


def widened(held: Held, p: Tensor, format: Format, signed: bool) -> Tensor:
    """A slot as one tensor in the parameter's shape, in a format that torch knows; itself if it is that."""
    return held.codes if fits(held, p, format) else convert(held, p, "", format, signed)[""]


def sampled(held: Held, p: Tensor, signed: bool, places: Tensor) -> NDArray[Any]:
    """Some values of a slot in float64.

    Args:
        held: the slot, not `PACKED`, on any device.
        p: what is as it: of its shape and strides.
        signed: whether its values may be negative.
        places: the numbers of the elements in the order of memory of `p`, complex ones as pairs; on the CPU.
    """
    format = formats.get(held.name, signed) if held.name else None
    if format is None or not format.scaled:
        flat = (
            torch.view_as_real(held.codes).reshape(-1) if held.codes.is_complex() else _in_memory(held.codes)
        )
        some = flat[places.to(flat.device)].cpu()
        values = some if some.dtype == torch.float64 else _decoded(some, signed)
        return np.asarray(values.numpy(), np.float64)
    length = formats.row_length(in_order(p, held.order))
    row, column = places // length, places % length
    codes = _in_memory(held.codes)
    at = row * math.ceil(length / format.packs) + column // format.packs
    found = codes[at.to(codes.device)].cpu().numpy()
    scales = _scales(held).flatten()
    spread = scales[(row * math.ceil(length / BLOCK) + column // BLOCK).to(scales.device)].cpu().numpy()
    if format.packs > 1:
        found = (found >> (column % 2 * 4).numpy().astype(np.uint8)) & 15
    assert format.decode is not None
    return np.asarray(format.decode(found, spread), np.float64)


def _in_memory(x: Tensor) -> Tensor:
    """The elements of a tensor without gaps in the order of memory."""
    return torch.as_strided(x, (x.numel(),), (1,), x.storage_offset())


def _native(values: Tensor) -> bool:
    """Whether torch knows the values of a tensor of a slot."""
    name = format_of_dtype(values.dtype)
    return name is None or is_native(formats.get(name))


def _scales(held: Held) -> Tensor:
    assert held.scales is not None
    return held.scales


def _fill(codes: Tensor, scales: Tensor | None, held: Held, p: Tensor, format: Format, signed: bool) -> None:
    """Write a slot's values into new tensors, in the layout of `p`."""
    order, n = memory_order(p), p.numel()
    length = formats.row_length(in_order(p, order))
    read, flat = _reader(held, p, order, signed), None
    if not format.scaled:
        flat = torch.as_strided(codes, (n,), (1,), codes.storage_offset())
    wide = held.codes if held.name == "" else codes
    at_once = wide.dtype == torch.float32 and _flat(wide, p) is not None and _same_blocks(held, order)
    piece = _PIECE if _same_layout(held, p, order) else _GATHERED
    for start, stop in [(0, n)] if at_once else _pieces(n, length, piece):
        if flat is None:
            assert scales is not None
            _encode(read(start, stop, None), codes, scales, format, signed, start, length)
            continue
        target = flat[start:stop]
        values = read(start, stop, target if target.dtype == torch.float32 else None)
        if values is not target:
            target.copy_(_as_stored(values, format))


def _as_stored(values: Tensor, format: Format) -> Tensor:
    """Float32 values for a tensor in a format without scales, rounded to nearest."""
    if is_native(format):
        return values
    assert format.encode is not None
    codes = np.asarray(format.encode(values.numpy(), np.uint32(0x7FFFFFFF)), format.stored)
    return torch.from_numpy(codes.view(f"i{format.stored.itemsize}")).view(torch_dtype(format))


def _pieces(n: int, length: int, piece: int) -> Iterator[tuple[int, int]]:
    """The pieces that `n` elements are converted in: whole rows, or whole blocks of one row."""
    if length <= piece:
        size = piece // length * length
        yield from ((start, min(start + size, n)) for start in range(0, n, size))
        return
    for row in range(0, n, length):
        end = min(row + length, n)
        yield from ((start, min(start + piece, end)) for start in range(row, end, piece))


# Reading.


def _reader(held: Held, p: Tensor, order: Order | None, signed: bool) -> _Read:
    if held.name not in ("", PACKED) and _same_blocks(held, order):
        return _decoder(held, p, order, formats.get(held.name, signed))
    if held.name == "":
        flat, values = _flat(held.codes, p), held.codes
        if flat is not None:
            return lambda start, stop, out: _decoded(flat[start:stop], signed)
        return lambda start, stop, out: _decoded(values[_coordinates(start, stop, p, order)], signed)
    return _gatherer(held, p, order, signed)


def _same_blocks(held: Held, order: Order | None) -> bool:
    """Whether blocks, if there are any, follow each other as in this order of the dimensions."""
    return held.name == "" or (held.name != PACKED and held.order == order)


def _same_layout(held: Held, p: Tensor, order: Order | None) -> bool:
    """Whether what is held is read from one end to the other, without a look for each element."""
    return _flat(held.codes, p) is not None if held.name == "" else _same_blocks(held, order)


def _flat(x: Tensor, p: Tensor) -> Tensor | None:
    """A tensor's elements in the order of memory of `p`; None where it does not lie as `p` does."""
    if x.stride() != p.stride() or x.is_neg() or x.is_conj():
        return None
    return torch.as_strided(x, (x.numel(),), (1,), x.storage_offset())


def _decoded(values: Tensor, signed: bool) -> Tensor:
    """Values of a tensor without scales in float32."""
    name = format_of_dtype(values.dtype)
    format = formats.get(name, signed) if name else None
    if format is None or is_native(format) or format.decode is None:
        return values.to(torch.float32)
    return torch.from_numpy(format.decode(values.contiguous().numpy().view(format.stored)))


def _coordinates(start: int, stop: int, p: Tensor, order: Order | None) -> tuple[Tensor, ...]:
    """The index in each dimension of the elements from a first to a last in an order."""
    rest, dims = torch.arange(start, stop, device="cpu"), order or tuple(range(p.dim()))
    found = {}
    for k in reversed(dims):
        found[k], rest = rest % p.shape[k], rest // p.shape[k]
    return tuple(found[k] for k in range(p.dim()))


def _gatherer(held: Held, p: Tensor, order: Order | None, signed: bool) -> _Read:
    """Read blocks that were made in another order, element by element."""
    if held.name == PACKED:
        own, length, packs = packed_order(held.codes, p), p.numel(), 1
        assert own is not None
        codes, scales = packed_codes(held.codes, p.numel())
    else:
        own, packs = held.order or tuple(range(p.dim())), formats.get(held.name, signed).packs
        length, scales = formats.row_length(in_order(p, own)), _scales(held).flatten()
        codes = (held.codes.permute(own) if packs == 1 else held.codes).reshape(-1)
    strides = [math.prod(p.shape[k] for k in own[own.index(d) + 1 :]) for d in range(p.dim())]

    def read(start: int, stop: int, out: Tensor | None) -> Tensor:
        coordinates = _coordinates(start, stop, p, order)
        place = torch.zeros(stop - start, dtype=torch.int64, device="cpu")
        for coordinate, stride in zip(coordinates, strides, strict=True):
            place += coordinate * stride
        row, column = place // length, place % length
        found = codes[row * math.ceil(length / packs) + column // packs].numpy()
        spread = scales[row * math.ceil(length / BLOCK) + column // BLOCK].numpy()
        if held.name == PACKED:
            return torch.from_numpy(packed_values(found, spread, signed))
        if packs > 1:
            found = (found >> (column % packs * (8 // packs)).numpy().astype(np.uint8)) & (
                2 ** (8 // packs) - 1
            )
        decode = formats.get(held.name, signed).decode
        assert decode is not None
        return torch.from_numpy(decode(found, spread))

    return read


# Kernels.


def _places(codes: Tensor, scales: Tensor, format: Format, start: int, length: int) -> list[int]:
    """The addresses of the codes and the scale of an element with which a block begins."""
    row, column = start // length, start % length
    at = row * math.ceil(length / format.packs) + column // format.packs
    scale = row * math.ceil(length / BLOCK) + column // BLOCK
    return [codes.data_ptr() + at * format.stored.itemsize, scales.data_ptr() + 4 * scale]


def _run(source: str, target: str, signed: bool, addresses: list[int], size: int, length: int) -> None:
    job = Job(compile_conversion(source, target, signed), [size], lengths=[min(length, size)])
    job.write_table(addresses)
    job.run(default_pool())


def _encode(
    values: Tensor, codes: Tensor, scales: Tensor, format: Format, signed: bool, start: int, length: int
) -> None:
    values = values.contiguous()
    places = _places(codes, scales, format, start, length)
    addresses = [values.data_ptr(), *places]
    _run("float32", format.name, signed, addresses, values.numel(), length)


def _decoder(held: Held, p: Tensor, order: Order | None, format: Format) -> _Read:
    codes, scales = held.codes, _scales(held).contiguous()
    if format.packs > 1:
        codes = codes.contiguous()
    elif _flat(codes, p) is None:  # loaded from a file without strides
        codes = torch.empty_like(p, dtype=codes.dtype, requires_grad=False).copy_(codes)
    length = formats.row_length(in_order(p, order))

    def read(start: int, stop: int, out: Tensor | None) -> Tensor:
        values = torch.empty(stop - start, dtype=torch.float32, device="cpu") if out is None else out
        places = _places(codes, scales, format, start, length)
        _run(held.name, "float32", format.signed, [*places, values.data_ptr()], values.numel(), length)
        return values

    return read
