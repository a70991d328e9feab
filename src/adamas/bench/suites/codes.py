"""Noise and range of codes for momentum: those of our formats, beside others that were not chosen.

The momentum of made-up gradients is kept in each code, in blocks of 128, and beside it in float64; workloads
do not matter, and nothing is timed. Each of the `rounds` is 25 steps.

Names: sign, exponent and mantissa of floats; with + o of |x| + o, so that they end gradually, as ours do.

- noise: the error of the stationary momentum, of gradients without a mean, over the momentum, both root mean
  squares over the deviation of each; those of a block differ as a lognormal distribution does.
- drift: the mean error of momentum .999, over the mean, of gradients that deviate by ten times their mean.
- beside: the error of momentum .9, over its mean, of elements beside one that is so many times larger.
- spike: the steps until momentum .9 is right within 5 % again, after one gradient so much larger beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adamas import formats
from adamas.formats import BLOCK, Format

from ..machine import machine
from ..pairs import Bench

WORKLOADS = ("rl-mlp",)
_BLOCKS = 8
_RATIOS = (3, 4, 6)  # powers of ten
_SPIKES = (3, 20)

Blocks = NDArray[np.float64]


@dataclass(frozen=True)
class Code:
    """A way to keep blocks of numbers: `keep` returns them as they are read again."""

    name: str
    keep: Callable[[Blocks, np.random.Generator], Blocks]


def of_format(format: Format) -> Code:
    """Return the code of a scaled format."""
    assert format.encode is not None
    assert format.decode is not None
    encode, decode = format.encode, format.decode

    def keep(x: Blocks, chance: np.random.Generator) -> Blocks:
        random = chance.integers(0, 1 << 32, x.shape, np.uint32)
        largest = np.abs(x).max(1, keepdims=True)
        scale = np.asarray(np.where(largest == 0, 1, largest) * format.scale_factor, np.float32)
        return np.asarray(decode(encode(np.float32(x), 1 / scale, random), scale), np.float64)

    return Code(format.name, keep)


def of_levels(name: str, levels: NDArray[np.float64], nearest: bool = False) -> Code:
    """Return the code of these magnitudes, the first of which is 0, over the largest of a block."""
    levels = levels / levels[-1]

    def keep(x: Blocks, chance: np.random.Generator) -> Blocks:
        scale = np.abs(x).max(1, keepdims=True)
        magnitude = np.abs(x) / np.where(scale == 0, 1, scale)
        above = np.clip(np.searchsorted(levels, magnitude), 1, len(levels) - 1)
        low, high = levels[above - 1], levels[above]
        up = (magnitude - low) / (high - low) > (0.5 if nearest else chance.random(x.shape))
        return np.asarray(np.sign(x) * np.where(up, high, low) * scale)

    return Code(name + (", nearest" if nearest else ""), keep)


def _floats(exponent: int, mantissa: int, gradual: bool = True) -> NDArray[np.float64]:
    """Return the magnitudes of small floats: less the smallest, or with it as zero."""
    code = np.arange(1 << (exponent + mantissa))
    floats = (1 + code % (1 << mantissa) / (1 << mantissa)) * 2.0 ** (code >> mantissa)
    return floats - 1 if gradual else np.where(code == 0, 0, floats)


def _dynamic() -> NDArray[np.float64]:
    """Return a tree of decades, each with half as many magnitudes as that above (Dettmers et al. 2022)."""
    parts = [10.0 ** (i - 6) * (np.arange(2**i) + 0.5) * 0.9 / 2**i + 10.0 ** (i - 7) for i in range(7)]
    return np.unique(np.concatenate([[0.0, 1.0], *parts]))


def _others() -> list[Code]:
    dynamic, line = _dynamic(), np.linspace(0, 1, 128)
    # Four bits of mantissa in the upper half of the codes, three in the lower.
    wide = _floats(4, 3)[:65] + 1
    split = np.concatenate([wide[:-1], wide[-1] * (_floats(3, 4)[:64] + 1)]) - 1
    return [
        of_levels("s1e4m3", _floats(4, 3, gradual=False), nearest=True),
        of_levels("s1e3m4", _floats(3, 4, gradual=False)),
        of_levels("s1e3m4 + o", _floats(3, 4)),
        of_levels("s1e2m5 + o", _floats(2, 5)),
        of_levels("3 and 4 bits", split),
        of_levels("dynamic", dynamic, nearest=True),
        of_levels("dynamic", dynamic),
        of_levels("softsign", line / (2 - line)),  # x / (1 + |x|), in equal steps
        of_levels("linear", line),
    ]


def run(workloads: Sequence[str], rounds: int, peers: bool) -> Bench:
    """Measure every code."""
    ours = [formats.get(name) for name in formats.names()]
    codes = [of_format(format) for format in ours if format.scaled] + _others()
    return Bench("Codes for momentum", [_row(code, 25 * rounds) for code in codes], machine(), [])


def _row(code: Code, steps: int) -> dict[str, Any]:
    row: dict[str, Any] = {"code": code.name}
    row |= {f"noise {beta:g}": round(noise(code, beta, steps), 3) for beta in (0.9, 0.99)}
    row["drift"] = round(drift(code, steps), 3)
    row |= {f"beside 1e{power}": round(beside(code, 10.0**power, steps), 2) for power in _RATIOS}
    return row | {f"spike 1e{power}": spike(code, 10.0**power) for power in _SPIKES}


class Momentum:
    """Momentum in a code, and beside it exactly, from the same start."""

    def __init__(self, code: Code, beta: float, start: Blocks) -> None:
        self.code, self.beta, self.chance = code, beta, np.random.default_rng(0)
        self.kept, self.exact = start, start

    def step(self, g: Blocks) -> Blocks:
        """Take a gradient in; return the error."""
        kept = self.beta * self.kept + (1 - self.beta) * g
        self.kept = self.code.keep(kept, self.chance)
        self.exact = self.beta * self.exact + (1 - self.beta) * g
        return self.kept - self.exact


def noise(code: Code, beta: float, steps: int) -> float:
    """Measure the noise (see above), after as many steps as momentum remembers."""
    chance = np.random.default_rng(1)
    deviation = np.exp(chance.standard_normal((_BLOCKS, BLOCK)))
    momentum = Momentum(code, beta, np.zeros_like(deviation))
    wait, errors, sizes = round(3 / (1 - beta)), 0.0, 0.0
    for t in range(wait + steps):
        error = momentum.step(deviation * chance.standard_normal(deviation.shape))
        if t >= wait:
            errors += float(((error / deviation) ** 2).sum())
            sizes += float(((momentum.exact / deviation) ** 2).sum())
    return float(np.sqrt(errors / sizes))


def drift(code: Code, steps: int) -> float:
    """Measure the drift (see above)."""
    chance = np.random.default_rng(2)
    mean = 0.1 * np.exp(chance.standard_normal((_BLOCKS, BLOCK)))
    momentum, total = Momentum(code, 0.999, mean), np.zeros_like(mean)
    for t in range(1000 + steps):
        error = momentum.step(mean + 10 * mean * chance.standard_normal(mean.shape))
        total += error if t >= 1000 else 0
    return float((total / steps / mean).mean())


def beside(code: Code, ratio: float, steps: int) -> float:
    """Measure the error beside a large element."""
    g = _small()
    g[:, 0] = ratio
    momentum, errors = Momentum(code, 0.9, g), np.zeros_like(g)
    for _ in range(steps):
        errors += momentum.step(g) ** 2
    return float(np.sqrt((errors / steps / g**2)[:, 1:].mean()))


def spike(code: Code, ratio: float, steps: int = 600) -> int:
    """Count the steps until the elements beside a spike are right again."""
    g = _small()
    momentum, last = Momentum(code, 0.9, g), 0
    for t in range(steps):
        spiked = g.copy()
        spiked[:, 0] = ratio if t == 0 else g[:, 0]
        error = momentum.step(spiked) / g
        if np.sqrt((error[:, 1:] ** 2).mean()) > 0.05:
            last = t + 1
    return last


def _small() -> Blocks:
    """Return elements that differ by a factor of three."""
    blocks: Blocks = 3 ** -np.random.default_rng(3).random((_BLOCKS, BLOCK))
    return blocks
