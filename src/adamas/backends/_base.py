"""What all backends share: the envelope around every rule, and the error of what cannot be compiled."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Envelope", "RuleSourceError"]


class Envelope(NamedTuple):
    """What happens to every parameter and gradient around the rule, in the same pass.

    g = scale * g + coupled_decay * p       scale: maximize, clipping and loss scale in one
    p = decay_factor * p                    decoupled decay
    p = p - cautious_decay * p              after the rule, where its step and the p before it agree in sign
    mean = mean + average * (p - mean)      after that, where a running mean of p is kept

    The last number is one of kernels with cautious decay alone: see `_cautious`.
    """

    scale: float = 1.0
    coupled_decay: float = 0.0
    decay_factor: float = 1.0
    average: float = 0.0
    cautious_decay: float = 0.0


class RuleSourceError(ValueError):
    """An update that may run on whole arrays but cannot become a kernel; the message says what to write."""
