"""What all backends share: the envelope around every rule, and the error of what cannot be compiled."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Envelope", "RuleSourceError"]


class Envelope(NamedTuple):
    """What happens to every parameter and gradient around the rule, in the same pass.

    g = scale * g + coupled_decay * p       scale: maximize, clipping and loss scale in one
    p = decay_factor * p                    decoupled decay
    mean = mean + average * (p - mean)      after the rule, where a running mean of p is kept
    """

    scale: float = 1.0
    coupled_decay: float = 0.0
    decay_factor: float = 1.0
    average: float = 0.0


class RuleSourceError(ValueError):
    """An update that may run on whole arrays but cannot become a kernel; the message says what to write."""
