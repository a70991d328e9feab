"""The lines of a kernel that measure the step it takes, in the loop that takes it.

They read what an element was and is, and change nothing; sums of float32 are those of a piece of a chunk, and
are added up in float64.
"""

from __future__ import annotations

from collections.abc import Mapping

from ...formats import Format
from .._columns import real_of

__all__ = ["LIMITS", "MEASURES", "PIECE", "USED", "Measuring"]

# What is measured of a tensor, float64 each: sums of squares of the gradient, of the parameter and of its
# change Δ; the sum of the slot that is divided by; how many elements have a gradient that is not
# finite, a gradient of zero, a gradient and Δ = 0, |Δ| of a limit or more, that slot below a limit; and the
# largest |Δ|.
MEASURES = (
    "squared_gradient",
    "squared_parameter",
    "squared_update",
    "root",
    "nonfinite",
    "zeros",
    "unmoved",
    "far",
    "hidden",
    "largest_update",
)
# The variables of these.
_TOTALS = ("gg", "pp", "dd", "vv", "odd", "zeros", "still", "far", "faint")

# What a measuring kernel is told of a tensor: the limits of |Δ| and of the slot that is divided by.
LIMITS = ("reach", "hidden")

# The import of what the lines use.
USED = "from adamas.backends.numba.measuring import *"

# Elements of a piece: few enough for sums in float32, each of which is of 256 vectors at most.
PIECE = 1 << 12


class Measuring:
    """The lines for one kernel.

    Args:
        formats: the format of each array.
        root: the slot that is divided by; "" for none.
        gradient: the text of element k of the gradient.
        blocks: whether the elements are those of a block, of which the last may be copies.
    """

    # What the lines read of a tensor: where its chunk's numbers are, and `LIMITS`.
    arguments = ("sums", *LIMITS)

    def __init__(self, formats: Mapping[str, Format], root: str, gradient: str, blocks: bool) -> None:
        self._root, self._gradient, self._blocks = root, gradient, blocks
        self._word = "numpy.uint64" if real_of(formats) == "float64" else "numpy.uint32"
        self.head = [
            "largest = numpy.finfo(real).max",
            f'limit_at, _ = access("limits", "limits", numba.{real_of(formats)})',
        ]

    @property
    def of_chunk(self) -> list[str]:
        """Before the elements of a chunk."""
        return [
            f"sums = int_at(job, 8) + {8 * len(MEASURES)} * chunk",
            *(
                f"{name} = limit_at(int_at(job, 9), {len(LIMITS)} * tensor + {k})"
                for k, name in enumerate(LIMITS)
            ),
        ]

    @property
    def first(self) -> list[str]:
        """Before the elements of a piece."""
        return [
            "gg, pp, dd, vv = real(0), real(0), 0.0, real(0)",
            "odd, zeros, still, far, faint = NONE, NONE, NONE, NONE, NONE",
            f"top = {self._word}(0)",
        ]

    @property
    def each(self) -> list[str]:
        """After an element has changed; a new parameter is read as it is stored."""
        live = "(k - first < count) & " if self._blocks else ""
        sums = {
            "gg": "raw_g * raw_g",
            "pp": "stored_p * stored_p",
            "dd": "numpy.float64(d) * numpy.float64(d)",
        }
        counts = {
            "zeros": "(raw_g == 0)",
            "still": "(d == 0) & (raw_g != 0)",
            "far": "(abs(d) >= reach)",
        }
        if self._root:
            sums["vv"] = f"new_{self._root}"
            counts["faint"] = f"(new_{self._root} < hidden)"
        if live:
            sums = {
                name: f"where(k - first < count, {x}, {'0.0' if name == 'dd' else 'real(0)'})"
                for name, x in sums.items()
            }
        bits = "float_bits(d) & MAGNITUDE" if "64" in self._word else "xp.bits(d) & numpy.uint32(0x7FFFFFFF)"
        return [
            "d = stored_p - old_p",
            *(f"{name} = plus({name}, {x})" for name, x in sums.items()),
            *(f"{name} = tally({name}, {live}{x})" for name, x in counts.items()),
            # Bits are compared: their maximum is that of magnitudes, keeps a NaN, and becomes vectors.
            f"magnitude = {self._word}({bits})",
            "top = where(magnitude > top, magnitude, top)",
        ]

    @property
    def last(self) -> list[str]:
        """After the elements of a piece."""
        largest = "from_float_bits(top)" if "64" in self._word else "xp.from_bits(top)"
        elements = "range(first, first + count)" if self._blocks else "range(start, stop)"
        return [
            # A square of a number that is not finite is not: where the sum is, there is none to count.
            "if not gg <= largest:",
            f"    for k in {elements}:",
            f"        odd = tally(odd, not abs({self._gradient}) <= largest)",
            *(f"add_to(sums, {k}, {total})" for k, total in enumerate(_TOTALS)),
            f"raise_to(sums, {len(_TOTALS)}, {largest})",
        ]
