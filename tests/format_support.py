"""What the tests of storage formats share: stored arrays between guards, and kernels over them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from gpu_support import BACKENDS

from adamas import formats
from adamas.backends import Envelope, host_carry, host_scalars
from adamas.backends.numba import ThreadPool
from adamas.backends.numba.randomness import MULTIPLIERS
from adamas.formats import BLOCK, Format
from adamas.rules import NONNEGATIVE, SIGNED, Rule, xp

EPS = float(np.finfo(np.float32).eps)
TINY = float(np.finfo(np.float32).tiny)
GUARD = 40  # bytes on either side; the address stays a multiple of eight
_GUARD = np.uint8(0xA5)
Values = npt.NDArray[Any]


@dataclass(frozen=True)
class SwapSigned(Rule):
    """Hands out what is stored and stores what is given: a kernel that decodes and encodes, no more."""

    slots = {"x": SIGNED}

    def scalars(self, t):
        return ()

    @staticmethod
    def update(p, g, x):
        return x, g


@dataclass(frozen=True)
class SwapNonnegative(SwapSigned):
    """The same for a slot that is never negative, and an ε that hides subnormal numbers."""

    eps: float = 1.0
    slots = {"x": NONNEGATIVE}

    @staticmethod
    def update(p, g, x):
        return x, xp.abs(g)


def swap(signed: bool) -> Rule:
    return SwapSigned() if signed else SwapNonnegative()


class Stored:
    """An array in a storage format, codes and scales between guards of their own.

    Args:
        format: the format.
        values: what it holds at first, each as one of the two codes beside it.
        length: the elements of a row, from each of which blocks begin; one row unless given.
        guard: the bytes of a guard, and with them whether addresses are multiples of 16.
    """

    def __init__(self, format: Format, values: Values, length: int | None = None, guard: int = GUARD) -> None:
        self.format, self.n, self.guard = format, values.size, guard
        self.length = max(1, self.n) if length is None else length
        # Where each element's scale and code lie.
        row, column = np.divmod(np.arange(self.n), self.length)
        self.scale_of = row * math.ceil(self.length / BLOCK) + column // BLOCK
        half = math.ceil(self.length / format.packs)
        self.code_of, self.place_of = row * half + column // format.packs, column % format.packs
        count = int(self.code_of[-1]) + 1 if self.n else 0
        self.memory = _guarded(count * format.stored.itemsize, guard)
        scales = int(self.scale_of[-1]) + 1 if self.n and format.scaled else 0
        self.scale_memory = _guarded(4 * scales, guard)
        self.write(values)

    def write(self, values: Values) -> None:
        """Store values, each as one of the two beside it: a float16 towards zero, others to nearest."""
        half = 0 if self.format.name == "float16" else 1 << 31
        if self.format.scaled:
            self.codes, self.scales[:] = encode_blocks(self.format, values, np.uint32(half), self.scale_of)
        else:
            self.codes = encode(self.format, values, np.uint32(half))

    @property
    def data(self) -> Values:
        """The bytes of the codes and of the scales."""
        return np.concatenate([_inside(self.memory, self.guard), _inside(self.scale_memory, self.guard)])

    @property
    def addresses(self) -> list[int]:
        """Of the codes, and of the scales where there are any."""
        parts = [self.memory, self.scale_memory] if self.format.scaled else [self.memory]
        return [int(part.ctypes.data) + self.guard for part in parts]

    @property
    def stored(self) -> Values:
        """The stored elements, each of one code or several."""
        return _inside(self.memory, self.guard).view(self.format.stored)

    @property
    def codes(self) -> Values:
        """A code an element, unpacked; writes go through `codes = ...`."""
        if self.format.packs == 1:
            return self.stored
        return (self.stored[self.code_of] >> (4 * self.place_of).astype(np.uint8)) & np.uint8(15)

    @codes.setter
    def codes(self, codes: Values) -> None:
        if self.format.packs == 1:
            self.stored[:] = codes
            return
        self.stored[:] = 0
        np.bitwise_or.at(self.stored, self.code_of, codes << (4 * self.place_of).astype(np.uint8))

    @property
    def scales(self) -> Values:
        return _inside(self.scale_memory, self.guard).view(np.float32)

    @property
    def values(self) -> Values:
        """Decoded, as the compiled step sees them."""
        if self.format.decode is None:
            return self.codes
        with np.errstate(invalid="ignore"):  # infinity less infinity
            return self.format.decode(self.codes, *([self.spread] if self.format.scaled else []))

    @property
    def spread(self) -> Values:
        """The scale of each element."""
        return self.scales[self.scale_of]

    def guards_hold(self) -> bool:
        return all(
            bool((part[: self.guard] == _GUARD).all() and (part[len(part) - self.guard :] == _GUARD).all())
            for part in (self.memory, self.scale_memory)
        )


def _guarded(size: int, guard: int) -> Values:
    memory = np.full(size + 2 * guard, _GUARD)
    _inside(memory, guard)[:] = 0
    return memory


def _inside(memory: Values, guard: int) -> Values:
    return memory[guard : len(memory) - guard]


def encode(format: Format, values: Values, random: Any) -> Values:
    """Values to codes, in NumPy, of a scaled format at a scale of one."""
    values = np.asarray(values, format.compute)
    one = [np.float32(1)] if format.scaled else []
    with np.errstate(over="ignore", invalid="ignore"):  # a half that is too large, a signalling NaN
        return values if format.encode is None else format.encode(values, *one, random)


def encode_blocks(format: Format, values: Values, random: Any, scale_of: Values) -> tuple[Values, Values]:
    """Codes and scales of a scaled format, in NumPy, by the arithmetic that kernels use."""
    values = np.asarray(values, np.float32)
    top = np.zeros(int(scale_of[-1]) + 1 if scale_of.size else 0, np.float32)
    np.maximum.at(top, scale_of, np.abs(values))
    largest = np.inf if format.largest is None else format.largest
    limit = np.float32(min(largest, float(np.finfo(np.float32).max) * (1 - 2.0**-18)))
    clipped = top > limit
    top[clipped] = limit
    with np.errstate(over="ignore", invalid="ignore"):
        scales = np.maximum(top * np.float32(format.scale_factor), np.float32(TINY))
        x = np.where(clipped[scale_of], np.clip(values, -limit, limit), values)
        x[(np.abs(x) < 2 * TINY) & (scales < 2.0**35 * TINY)[scale_of]] = 0
        assert format.encode is not None
        codes = format.encode(x, (np.float32(1) / scales)[scale_of], random)
        # A block whose smallest number would be subnormal holds zeros.
        zero = float(format.decode(np.uint8(0), np.float32(1))) * format.scale_factor if format.decode else 0
        least = np.float32(TINY) * np.float32(1 / zero if zero else 2)
        return codes, np.where(top < least, np.float32(0), scales)


class Driver:
    """A kernel over arrays in storage formats, through the public seam alone.

    Args:
        rule: the update rule.
        params: the initial values of each parameter.
        p, g: the formats of the parameters and of the gradients, the same unless given.
        slots: the format of every slot, or of each by name.
        average: whether averages are kept.
        seed: of the rounding.
        lengths: the elements of a row of each parameter.
        backend: what compiles and runs it, a name in `BACKENDS`.
        guard: as of `Stored`.
        cautious: whether its decay is cautious.
    """

    def __init__(
        self,
        rule: Rule,
        params: Sequence[Values],
        p: str = "float32",
        slots: str | Mapping[str, str] = "float32",
        *,
        g: str | None = None,
        average: bool = False,
        seed: int = 0,
        threads: int = 1,
        lengths: Sequence[int] | None = None,
        backend: str = "numba",
        guard: int = GUARD,
        cautious: bool = False,
        **job_options: Any,
    ) -> None:
        compile_rule, job = BACKENDS[backend]
        form, self.guard = rule.form(), guard
        chosen = dict.fromkeys(form.slots, slots) if isinstance(slots, str) else slots
        self.kernel = compile_rule(rule, p, g=g, slots=chosen, average=average, cautious=cautious)
        self._around = slice(None if cautious else -1)
        self.rule, self.seed, self.pool, self.t = rule, seed, ThreadPool(threads), 0
        self.params = [Stored(self.kernel.formats["p"], x, guard=guard) for x in params]
        self.slots = [
            [
                Stored(self.kernel.formats[s], np.full(x.size, slot.initial), lengths and lengths[k], guard)
                for s, slot in form.slots.items()
            ]
            for k, x in enumerate(params)
        ]
        average_format = formats.get(self.kernel.dtype.name)
        self.averages = [[Stored(average_format, x, guard=guard)] if average else [] for x in params]
        self.job = job(
            self.kernel, [x.size for x in params], [0] * len(params), lengths=lengths, **job_options
        )
        self.carried = tuple(rule.carried.values())

    def step(self, *grads: Values, envelope: Envelope = Envelope()) -> None:
        """One step with gradients that their format can hold."""
        self.t += 1
        self.carried = host_carry(self.rule, self.t, *self.carried)
        self.job.write_scalars(0, *envelope[self._around], *host_scalars(self.rule, self.t, *self.carried))
        self.job.write_key(0, key(self.seed, self.t))
        stored = [Stored(self.kernel.formats["g"], g, guard=self.guard) for g in grads]
        rows = zip(self.params, stored, self.slots, self.averages, strict=True)
        rows = [(p, g, *slots, *average) for p, g, slots, average in rows]
        self.job.write_table([address for row in rows for array in row for address in array.addresses])
        self.job.run(self.pool)
        assert all(array.guards_hold() for row in rows for array in row), "a kernel wrote beside its arrays"

    @property
    def arrays(self) -> list[Stored]:
        """All that a step changes."""
        rows = zip(self.params, self.slots, self.averages, strict=True)
        return [array for p, slots, average in rows for array in (p, *slots, *average)]


def key(seed: int, t: int) -> int:
    """Any 63 bits that tell seeds and steps apart."""
    return (seed * 0x2545F4914F6CDD1D + t * 0x9E3779B97F4A7C55) & (2**63 - 1)


def bits_of(arrays: Iterable[Stored]) -> list[bytes]:
    return [array.data.tobytes() for array in arrays]


def representable(format: str, values: Values) -> Values:
    """The nearest numbers, or those beside them, that the format can hold."""
    return Stored(formats.get(format), values).values.astype(np.float64)


def hashed(key: Any, ordinal: Any) -> Values:
    """The key of a tensor in a step, or of a block of it."""
    with np.errstate(over="ignore"):
        mixed = np.asarray(key, np.uint64) + np.asarray(ordinal, np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return np.asarray(mixed ^ (mixed >> np.uint64(31)))


def words(key: int, ordinal: int, n: int) -> Values:
    """The random bits of the first rounded array of a tensor in a step: what kernels compute, in NumPy."""
    mixed = hashed(key, ordinal)
    counter = np.arange(n, dtype=np.uint32) * np.uint32(0x9E3779B9) + (mixed >> np.uint64(32)).astype(
        np.uint32
    )
    folded = counter ^ (counter >> np.uint32(17)) ^ mixed.astype(np.uint32)
    return folded * np.uint32(MULTIPLIERS[0])


def block_words(key: int, ordinal: int, n: int, product: int = 0) -> Values:
    """The same where a kernel computes in blocks, of a tensor of one row.

    `product` 0 is of the first and second array, 1 of the third and fourth; of two, the second takes the
    lower 20 bits.
    """
    first = np.arange(n) // BLOCK * BLOCK
    weyl = (np.arange(n) % BLOCK).astype(np.uint32) * np.uint32(0x9E3779B9)
    place = weyl ^ (weyl >> np.uint32(15) & np.uint32(0xFFFFFFFF - BLOCK + 1))
    blocks = hashed(hashed(key, ordinal), np.arange(0, n, BLOCK))[first // BLOCK]
    multiplier = hashed(blocks, product).astype(np.uint32) | np.uint32(1)
    return (place ^ (blocks >> np.uint64(32)).astype(np.uint32)) * multiplier
