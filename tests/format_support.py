"""What the tests of storage formats share: stored arrays between guards, and kernels over them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from adamas import formats
from adamas.backends import Envelope, host_carry, host_scalars
from adamas.backends.numba import Job, ThreadPool, compile_rule
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
    """An array in a storage format, between guards."""

    def __init__(self, format: Format, values: Values) -> None:
        self.format, self.n = format, values.size
        self.codes_at = -(-self.n // 4) * 4 if format.scaled else self.n * format.stored.itemsize
        self.size = self.codes_at + (4 * math.ceil(self.n / BLOCK) if format.scaled else 0)
        self.memory = np.full(self.size + 2 * GUARD, _GUARD)
        self.data[:] = 0
        self.write(values)

    def write(self, values: Values) -> None:
        """Store values, each as one of the two beside it: a float16 towards zero, others to nearest."""
        if self.format.scaled:
            self.codes[:], self.scales[:] = encode_blocks(self.format, values, np.uint32(1 << 31))
        else:
            half = 0 if self.format.name == "float16" else 1 << 31
            self.codes[:] = encode(self.format, values, np.uint32(half))

    @property
    def data(self) -> Values:
        return self.memory[GUARD : GUARD + self.size]

    @property
    def address(self) -> int:
        return int(self.data.ctypes.data) if self.size else int(self.memory.ctypes.data) + GUARD

    @property
    def codes(self) -> Values:
        return self.data[: self.n * self.format.stored.itemsize].view(self.format.stored)

    @property
    def scales(self) -> Values:
        return self.data[self.codes_at :].view(np.float32)

    @property
    def values(self) -> Values:
        """Decoded, as the compiled step sees them."""
        x = self.codes if self.format.decode is None else self.format.decode(self.codes)
        return x * self.spread if self.format.scaled else x

    @property
    def spread(self) -> Values:
        """The scale of each element."""
        return np.repeat(self.scales, BLOCK)[: self.n]

    def guards_hold(self) -> bool:
        padding = self.data[self.n : self.codes_at] if self.format.scaled else self.data[:0]
        outside = np.delete(self.memory, slice(GUARD, GUARD + self.size))
        return bool((outside == _GUARD).all() and (padding == 0).all())


def encode(format: Format, values: Values, random: Any) -> Values:
    """Values to codes of an unscaled format, in NumPy."""
    values = np.asarray(values, format.compute)
    with np.errstate(over="ignore", invalid="ignore"):  # a half that is too large, a signalling NaN
        return values if format.encode is None else format.encode(values, random)


def encode_blocks(format: Format, values: Values, random: Any) -> tuple[Values, Values]:
    """Codes and scales of a scaled format, in NumPy, by the arithmetic that kernels use."""
    n, padded = values.size, np.zeros(-(-values.size // BLOCK) * BLOCK, np.float32)
    padded[:n] = values
    top = np.abs(padded.reshape(-1, BLOCK)).max(axis=1)
    scales = np.maximum(top * np.float32(format.scale_factor), np.float32(TINY))
    flushed = (np.abs(padded) < 2 * TINY) & np.repeat(scales < 2.0**32 * TINY, BLOCK)
    padded[flushed] = 0
    with np.errstate(invalid="ignore"):
        x = (padded.reshape(-1, BLOCK) * (np.float32(1) / scales)[:, None]).ravel()[:n]
    assert format.encode is not None
    return format.encode(x, random), scales


class Driver:
    """A kernel over arrays in storage formats, through the public seam alone.

    Args:
        rule: the update rule.
        params: the initial values of each parameter.
        p, g: the formats of the parameters and of the gradients, the same unless given.
        slots: the format of every slot, or of each by name.
        average: whether averages are kept.
        seed: of the rounding.
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
        **job_options: Any,
    ) -> None:
        form = rule.form()
        chosen = dict.fromkeys(form.slots, slots) if isinstance(slots, str) else slots
        self.kernel = compile_rule(rule, p, g=g, slots=chosen, average=average)
        self.rule, self.seed, self.pool, self.t = rule, seed, ThreadPool(threads), 0
        self.params = [Stored(self.kernel.formats["p"], x) for x in params]
        self.slots = [
            [Stored(self.kernel.formats[s], np.full(x.size, slot.initial)) for s, slot in form.slots.items()]
            for x in params
        ]
        average_format = formats.get(self.kernel.dtype.name)
        self.averages = [[Stored(average_format, x)] if average else [] for x in params]
        self.job = Job(self.kernel, [x.size for x in params], [0] * len(params), **job_options)
        self.carried = tuple(rule.carried.values())

    def step(self, *grads: Values, envelope: Envelope = Envelope()) -> None:
        """One step with gradients that their format can hold."""
        self.t += 1
        self.carried = host_carry(self.rule, self.t, *self.carried)
        self.job.write_scalars(0, *envelope, *host_scalars(self.rule, self.t, *self.carried))
        self.job.write_key(0, key(self.seed, self.t))
        stored = [Stored(self.kernel.formats["g"], g) for g in grads]
        rows = zip(self.params, stored, self.slots, self.averages, strict=True)
        rows = [(p, g, *slots, *average) for p, g, slots, average in rows]
        self.job.write_table([array.address for row in rows for array in row])
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


def words(key: int, ordinal: int, n: int) -> Values:
    """The random bits of the first rounded array of a tensor in a step: what kernels compute, in NumPy."""
    with np.errstate(over="ignore"):
        mixed = np.uint64(key) + np.uint64(ordinal) * np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed ^= mixed >> np.uint64(31)
        counter = np.arange(n, dtype=np.uint32) * np.uint32(0x9E3779B9) + np.uint32(mixed >> np.uint64(32))
        folded = counter ^ (counter >> np.uint32(17)) ^ np.uint32(mixed & np.uint64(0xFFFFFFFF))
        return folded * np.uint32(MULTIPLIERS[0])
