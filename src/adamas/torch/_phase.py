"""What a step does beyond the rule: clip, skip, average, and store in fewer bits."""

from __future__ import annotations

import functools
import math
import numbers
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from ._storage import StateFormat, check_state_format

__all__ = ["AVERAGE", "LastStep", "Phase"]

# The key in `state[p]` of the running average of a parameter.
AVERAGE = "average"


class LastStep(NamedTuple):
    """What the last step found.

    Attributes:
        grad_norm: the global 2-norm of the gradients, unscaled and before clipping; None where neither
            clipping nor skipping needs it.
        clip_factor: what the gradients were multiplied by to bring their norm under `clip_norm`.
        skipped: whether nothing was changed, because a gradient was not finite.
    """

    grad_norm: float | None
    clip_factor: float
    skipped: bool


@dataclass(frozen=True)
class Phase:
    """The keyword arguments that every optimizer of this package takes beyond torch's.

    What they mean stands in `adamas.torch.Optimizer`.

    Raises:
        ValueError: an argument is out of its range.
    """

    backend: str = "auto"
    state_format: StateFormat | None = None
    clip_norm: float | None = None
    skip_nonfinite: bool = False
    average: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.backend not in ("auto", "numba", "reference"):
            raise ValueError(f"backend must be 'auto', 'numba' or 'reference', got {self.backend!r}")
        check_state_format(self.state_format)
        self._check("clip_norm", "(0, inf]", lambda x: x > 0)
        self._check("average", "[0, 1)", lambda x: 0 <= x < 1)
        skip: Any = self.skip_nonfinite
        if not isinstance(skip, bool):
            raise ValueError(f"skip_nonfinite must be True or False, got {skip!r}")
        seed: Any = self.seed
        if isinstance(seed, bool) or not isinstance(seed, numbers.Integral):
            raise ValueError(f"seed must be an integer, got {seed!r}")
        object.__setattr__(self, "seed", int(seed))

    def _check(self, name: str, interval: str, contains: Callable[[float], bool]) -> None:
        value = getattr(self, name)
        if value is None:
            return
        if isinstance(value, bool) or not isinstance(value, numbers.Real) or not contains(float(value)):
            raise ValueError(f"{name} must lie in {interval}, got {value!r}")
        # A NumPy float32 would make all that is computed from it float32.
        object.__setattr__(self, name, float(value))

    @functools.cached_property
    def measures(self) -> bool:
        """Whether a step needs the norm of the gradients."""
        return self.clip_norm is not None or self.skip_nonfinite

    def average_weight(self, t: int) -> float:
        """The weight of step t in the average, (1 - β) / (1 - β^t): the bias correction of section 3."""
        return 0.0 if self.average is None else (1 - self.average) / (1 - math.pow(self.average, t))

    def key(self, t: int) -> int:
        """The key of the random bits of step t, 63 bits."""
        # Other factors than that of a tensor's number, lest one seed round a tensor as another does the next.
        return (self.seed * 0xA3EC647659359ACD + t * 0xD1B54A32D192ED03) & 0x7FFFFFFFFFFFFFFF
