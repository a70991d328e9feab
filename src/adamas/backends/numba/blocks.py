"""The text of loops over blocks of scaled formats.

A scaled format needs the largest magnitude of a block before it can encode, so a block has two loops, with
the new values in a buffer between them. They are short and have a constant trip count, so that each becomes
vectors without a remainder. Where codes share bytes, a block's are spread to a byte each, and packed again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from ...formats import BLOCK, Format
from .templates import FUNCTION, LOOP_OF_BLOCKS

__all__ = ["block_buffers", "block_function", "block_loop", "hold", "indented", "joined"]

# Names of a block's place: its first element, what to add for its number in the whole tensor, its elements,
# its scale, and its first byte of packed codes.
_PLACE = ["first", "shift", "count", "scale_at", "packed_at"]


def hold(name: str, format: Format) -> list[str]:
    """Keep a new value in its buffer, and the largest magnitude so far."""
    # Compare bits: their maximum is that of magnitudes, keeps a NaN, and becomes vectors.
    magnitude = f"xp.bits(new_{name})" + (" & numpy.uint32(0x7FFFFFFF)" if format.signed else "")
    return [
        f"store_buffer_{name}(buffer_{name}, k - first, new_{name})",
        f"top_{name} = max(top_{name}, numpy.uint32({magnitude}))",
    ]


def block_buffers(formats: Mapping[str, Format], arrays: Sequence[str]) -> list[str]:
    """Buffers of a block: for new values, for codes that are packed, and for a block that is not whole."""
    scaled = [name for name, format in formats.items() if format.scaled]
    packed = [name for name in scaled if formats[name].packs > 1]
    lines = [f"buffer_{name} = scratch_{name}()" for name in scaled]
    lines += [f"codes_{name} = scratch_codes_{name}()" for name in packed]
    return [*lines, *(f"pad_{name} = scratch_pad_{name}()" for name in arrays)]


def block_function(
    formats: Mapping[str, Format],
    written: Sequence[str],
    body: Sequence[str],
    arguments: Sequence[str],
    random: Mapping[str, str],
    gradual: bool = False,
    around: tuple[Sequence[str], Sequence[str]] = ((), ()),
) -> str:
    """The function that updates the elements that share scales.

    Args:
        formats: the format of each array.
        written: those that change.
        body: the arithmetic on element k.
        arguments: the names it uses, beside those of its place.
        random: the random bits of each array.
        gradual: whether no ε hides subnormal numbers.
        around: the lines before and after the loop of the arithmetic.
    """
    scaled = [name for name, format in formats.items() if format.scaled]
    packed = [name for name in scaled if formats[name].packs > 1]
    changed = [name for name in scaled if name in written]
    lines = [f"scale_{name} = load_scales_{name}(scales_{name}, scale_at)" for name in scaled]
    for name in packed:
        lines += _unpacked(name)
    lines += [f"top_{name} = numpy.uint32(0)" for name in changed]
    lines += [
        "block_key = tile_key(key, first + shift)",
        *around[0],
        f"for k in range(first, first + {BLOCK}):",
        *indented(body),
        *around[1],
    ]
    for name in changed:
        lines += _scaled(name, formats[name], gradual)
    if changed:
        lines += [f"for j in range({BLOCK}):", "    bits = scattered(block_key, j)"]
    for name in changed:
        code = f"encode_{name}(load_buffer_{name}(buffer_{name}, j), inverse_{name}, {random[name]})"
        target = (
            f"store_codes_{name}(codes_{name}, j" if name in packed else f"store_{name}(at_{name}, first + j"
        )
        lines.append(f"    {target}, {code})")
    for name in packed:
        if name in changed:
            lines += [
                f"for j in range({BLOCK // 2}):",
                f"    both = packed(load_two_codes_{name}(codes_{name}, j))",
                f"    store_{name}(at_{name}, packed_at + j, both)",
            ]
    return FUNCTION.format(name="block", names=", ".join([*_PLACE, *arguments]), lines=joined(4, lines))


def _unpacked(name: str) -> list[str]:
    """Spread a block's codes to a byte each; the last one fills up a block that is not whole."""
    return [
        f"for j in range({BLOCK // 2}):",
        f"    both = load_{name}(at_{name}, packed_at + j)",
        f"    store_two_codes_{name}(codes_{name}, j, unpacked(both))",
        f"for j in range(count, {BLOCK}):",
        f"    last = load_codes_{name}(codes_{name}, count - 1)",
        f"    store_codes_{name}(codes_{name}, j, last)",
    ]


def _scaled(name: str, format: Format, gradual: bool) -> list[str]:
    """The new scale of a block, and the values in its buffer where they are too small or too large for it."""
    # What the largest code stands for, rounded up, must not be infinite.
    limit = min(format.largest or np.inf, float(np.finfo(np.float32).max) * (1 - 2.0**-18))
    # A format without a zero has one by its scale, from where its smallest code would be subnormal.
    zero = float(_value_of_zero(format)) * format.scale_factor
    least = f"top < tiny * real({1 / zero!r})" if zero else "top < tiny + tiny"
    flushed = "real(0)"
    if gradual and not format.signed:  # a divisor that no ε adds to
        least, flushed = "top <= real(0)", "where(x > real(0), xp.maximum(x, tiny), real(0))"
    lines = [
        f"top = xp.from_bits(top_{name})",
        f"scale = xp.maximum(top * real({format.scale_factor!r}), tiny)",
        # Subnormals would be kept alive for ever by rounding that preserves the mean.
        "if scale < subnormal_scale:",
        f"    for j in range({BLOCK}):",
        f"        x = load_buffer_{name}(buffer_{name}, j)",
        f"        store_buffer_{name}(buffer_{name}, j, where(abs(x) < tiny + tiny, {flushed}, x))",
        # An infinite scale would make NaN, or infinity, of all its elements.
        f"if top > real({limit!r}):",
        f"    top = real({limit!r})",
        f"    scale = top * real({format.scale_factor!r})",
        f"    for j in range({BLOCK}):",
        f"        x = load_buffer_{name}(buffer_{name}, j)",
        f"        store_buffer_{name}(buffer_{name}, j, xp.maximum(xp.minimum(x, top), -top))",
        f"store_scales_{name}(scales_{name}, scale_at, where({least}, real(0), scale))",
        f"inverse_{name} = real(1) / scale",
    ]
    return lines


def _value_of_zero(format: Format) -> np.float32:
    """The value of code 0 at a scale of one."""
    assert format.decode is not None
    return np.float32(format.decode(np.uint8(0), np.float32(1)))


def block_loop(
    formats: Mapping[str, Format],
    arrays: Mapping[str, int],
    written: Sequence[str],
    arguments: Sequence[str],
) -> list[str]:
    """The loop over the blocks of a chunk.

    Args:
        formats: the format of each array.
        arrays: the bytes of an element of each array, of those that a block's function takes.
        written: those that change.
        arguments: as of `block_function`.
    """
    packed = [name for name in arrays if name in formats and formats[name].packs > 1]

    def copies(make: Callable[[str, str, str], str], names: Sequence[str]) -> list[str]:
        lines = []
        for name in names:
            at, count = f"{arrays[name]} * first", f"{arrays[name]} * count"
            if name in packed:
                at, count = "packed_at", "(count + 1) // 2"
            lines.append(make(name, at, count))
        return lines

    fill = copies(lambda name, at, count: f"copy_bytes(pad_{name}, at_{name} + {at}, {count})", list(arrays))
    fill += [f"for j in range(count, {BLOCK}):"]
    fill += [
        f"    store_{name}(pad_{name}, j, load_{name}(pad_{name}, count - 1))"
        for name in arrays
        if name not in packed
    ]
    fill += copies(lambda name, at, count: f"from_{name} = pad_{name} - {at}", list(arrays))
    back = copies(lambda name, at, count: f"copy_bytes(at_{name} + {at}, pad_{name}, {count})", written)
    names = [f"from_{name[3:]}" if name.startswith("at_") else name for name in arguments]
    text = LOOP_OF_BLOCKS.format(
        start_packed="packed_at = start // length * ((length + 1) // 2) + column // 2"
        if packed
        else "packed_at = 0",
        whole=joined(4, [f"from_{name} = at_{name}" for name in arrays]),
        fill=joined(8, fill),
        names=", ".join([*_PLACE, *names]),
        copy_back=joined(8, back),
        next_packed="packed_at = packed_at + (count + 1) // 2" if packed else "",
    )
    return [line for line in text.splitlines() if line.strip()]


def indented(lines: Sequence[str]) -> list[str]:
    """The lines of an inner block."""
    return ["    " + line for line in lines]


def joined(indent: int, lines: Sequence[str]) -> str:
    """Lines that follow one that is indented already."""
    return ("\n" + " " * indent).join(lines)
