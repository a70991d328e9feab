"""The text around a kernel's arithmetic: the tiles of a chunk, and what is loaded for one.

A program takes one chunk, tile by tile. A tile is whole where it lies inside its chunk and every array begins
at a multiple of 16 bytes: its accesses are then of 16 bytes. What is left goes in small tiles, masked, an
element a thread: those need fewer registers than whole ones, of which as many programs then run at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from ...formats import BLOCK, Format
from .._columns import real_of, sizes
from .._draws import in_blocks
from .text import format_text

__all__ = [
    "SMALL",
    "TILE",
    "bits_of_place",
    "envelope",
    "head",
    "joined",
    "loop_over",
    "memory",
    "scalars_of",
]

# Elements a tile.
TILE = 1024
BLOCKS = TILE // BLOCK
# Elements of a tile that is not whole: one a thread, and one block.
SMALL = 128

_HEAD = """\
# {stamp}
from adamas.backends.triton.toolbox import *

real = tl.constexpr(tl.{real})
tiny = tl.constexpr({tiny!r})
subnormal_scale = tl.constexpr({subnormal_scale!r})


{functions}


@triton.jit
def tile(
    first, start, stop, shift, length, key, {arguments}, SIZE: tl.constexpr, WHOLE: tl.constexpr
):
    {place}
"""

# The interpreter knows no `range` of numbers that are loaded.
_ELEMENTWISE = """\
first = start
while first < start + (stop - start) * alive:
    starts = {starts}
    if (first + {tile} <= stop) & (starts & 15 == 0):
        {whole}
        first += {tile}
    else:
        {part}
        first += {small}
"""

# Here `first` counts blocks, those of a row being numbered together: scales lie by that number.
_IN_BLOCKS = """\
across = (length + {last}) // {block}
whole_rows = (length % {block} == 0) | (start == 0) & (stop <= length)
first = start // length * across + start % length // {block}
end = stop // length * across + (stop % length + {last}) // {block}
end = first + (end - first) * alive
while first < end:
    starts = {starts}
    if (first * {block} + {tile} <= stop) & (starts & 15 == 0) & whole_rows:
        {whole}
        first += {blocks}
    else:
        {part}
        first += 1
"""

_PLACE = """\
base = first
place = tl.arange(0, SIZE)
inside = place < stop - first
"""
_BITS = "bits = mixed(counter_at(key, first + shift + place), key)"

_PLACE_IN_BLOCKS = """\
column = tl.arange(0, {block})[None, :]
pair = tl.arange(0, {half})[None, :]
number = tl.arange(0, SIZE)[:, None]
place, place_pair = number * {block} + column, number * {half} + pair
if WHOLE:
    base, base_pair, count = first * {block}, first * {half}, {block}
else:
    across = (length + {last}) // {block}
    row, base = first // across, first % across * {block}
    count = tl.minimum(tl.minimum({block}, length - base), stop - (row * length + base)).to(tl.int32)
    base_pair = row * ((length + 1) // 2) + base // 2
    base = row * length + base
inside, inside_block, inside_pair = column < count, number < SIZE, pair < (count + 1) // 2
"""
_BITS_IN_BLOCKS = """\
block_key = tile_key(key, base + shift + number * {block})
bits = scattered(block_key, column)
"""
_NUMBERS = {
    "tile": TILE,
    "small": SMALL,
    "block": BLOCK,
    "blocks": BLOCKS,
    "half": BLOCK // 2,
    "last": BLOCK - 1,
}


def head(formats: Mapping[str, Format], arguments: str, arithmetic: str, stamp: str) -> str:
    """The beginning of a kernel, up to where the elements of a tile are."""
    real = real_of(formats)
    tiny = float(np.finfo(real).tiny)
    functions = [text for name, format in formats.items() if (text := format_text(name, format))]
    place = _PLACE_IN_BLOCKS if in_blocks(formats) else _PLACE
    return _HEAD.format(
        stamp=stamp,
        real=real,
        tiny=tiny,
        subnormal_scale=2.0**35 * tiny,
        functions="\n\n\n".join([*functions, arithmetic]),
        arguments=arguments,
        place=joined(4, place.format(**_NUMBERS).splitlines()),
    )


def scalars_of(names: Sequence[str], places: Iterable[int], count: int) -> list[str]:
    """The lines that read numbers of a row, from these places of `count`; the first times `control`'s."""
    reads = [
        f"{name} = tl.load(scalars + {count} * row + {k})" for name, k in zip(names, places, strict=True)
    ]
    return [*reads, f"{names[0]} = {names[0]} * tl.load(control)"]


def loop_over(
    formats: Mapping[str, Format], average: bool, arguments: str, then: str = "tile({})"
) -> list[str]:
    """The loop over the tiles of a chunk.

    Args:
        formats: those of the arrays.
        average: whether there is a running average.
        arguments: what each tile is given besides its place.
        then: what is done with a tile, of which "{}" are all arguments.
    """
    scaled = in_blocks(formats)
    given = f"first, start, stop, shift, length, key, {arguments}"
    large, small = (BLOCKS, 1) if scaled else (TILE, SMALL)
    text = (_IN_BLOCKS if scaled else _ELEMENTWISE).format(
        starts=_starts(formats, average),
        whole=then.format(f"{given}, {large}, True"),
        part=then.format(f"{given}, {small}, False"),
        **_NUMBERS,
    )
    return text.splitlines()


def _starts(formats: Mapping[str, Format], average: bool) -> str:
    """The addresses of a tile's elements, those of all arrays in one number whose lower bits tell of them."""
    parts = []
    for name, size in sizes(formats, average).items():
        unit = f"first * {BLOCK * size}" if in_blocks(formats) else f"first * {size}"
        if name in formats and formats[name].packs > 1:
            unit = f"first * {BLOCK // 2}"
        parts.append(f"(at_{name} + {unit})")
    return " | ".join(parts)


def envelope(formats: Mapping[str, Format], s: Sequence[str]) -> list[str]:
    """The values of a tile, and of them the gradient by its scale and coupled decay."""
    lines = [line for name, format in formats.items() for line in _loaded(name, format)]
    return [
        *lines,
        f"g = {s[0]} * g + tl.where({s[1]} != 0, {s[1]} * p, tl.full([], 0.0, real))",
    ]


def bits_of_place(formats: Mapping[str, Format]) -> list[str]:
    """The lines that draw random bits for each element of a tile."""
    return (_BITS_IN_BLOCKS if in_blocks(formats) else _BITS).format(**_NUMBERS).splitlines()


def memory(name: str, format: Format) -> str:
    """The place of a tile of codes: address, elements, mask."""
    if format.packs > 1:
        return f"at_{name} + base_pair, place_pair, inside_pair"
    return f"at_{name} + {format.stored.itemsize} * base, place, inside"


def _loaded(name: str, format: Format) -> list[str]:
    """The values of an array in the type of the computation."""
    code = f"load({memory(name, format)}, tl.{format.stored.name}, WHOLE)"
    if format.packs > 1:
        code = f"unpacked({code})"
    if format.scaled:
        at = f"scales_{name} + 4 * first, number, inside_block"
        # Scales are one for each block: no access of 16 bytes, whatever the tile.
        return [
            f"scale = load({at}, tl.float32, False)",
            f"{name} = decode_{name}({code}, scale)",
        ]
    return [f"{name} = {code}.to(real)" if format.decode is None else f"{name} = decode_{name}({code})"]


def joined(indent: int, lines: Sequence[str]) -> str:
    """Lines that follow one that is indented already."""
    return ("\n" + " " * indent).join(lines)
