"""The text by which each array of a kernel draws its random bits."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import cycle

from ..formats import Format

__all__ = ["MULTIPLIERS", "draws", "in_blocks"]

# One for each array. Found by search: for elements up to 2^17 apart, and for two arrays of one element, the
# upper four bits coincide about as rarely as those of true random numbers.
MULTIPLIERS = (0x2618B891, 0x75970953, 0xF0E5709F, 0x99D7AFD3, 0x583A215F)


def draws(formats: Mapping[str, Format], word: str = "numpy.uint32(0x{:X})") -> dict[str, str]:
    """The random bits of each stored array of an element, from its `bits`; `word` spells a number."""
    rounded = [name for name, format in formats.items() if format.rounds and name != "g"]
    if in_blocks(formats):
        # Those of blocks first: two of one loop then share a product.
        rounded.sort(key=lambda name: not formats[name].scaled)
        drawn = {}
        for n, name in enumerate(rounded):
            product = f"draw(bits, multiplier_of(block_key, {n // 2}))"
            drawn[name] = f"lower_bits({product})" if n % 2 else product
    else:
        multipliers = dict(zip(rounded, cycle(MULTIPLIERS), strict=False))
        drawn = {name: f"draw(bits, {word.format(x)})" for name, x in multipliers.items()}
    return {name: drawn.get(name, "bits") for name in formats}


def in_blocks(formats: Mapping[str, Format]) -> bool:
    """Whether a kernel goes over its elements in blocks."""
    return any(format.scaled for format in formats.values())
