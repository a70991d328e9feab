"""What the state of a rule says of a step: where its signal, its denominator and its largest step are."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Gauge"]


class Gauge(NamedTuple):
    r"""How to read the state of a rule after step t; None where it has no such thing.

    Attributes:
        mean: the slot of a running mean m of the gradients.
        mean_factor: m̂ / m, the correction of its bias.
        root: the slot v whose root divides the step, or u, which divides it itself.
        root_factor: v̂ / v.
        rooted: whether it is divided by the root of the slot.
        even: whether all gradients so far are the same part of v̂ while they are few. Otherwise v̂ is not
            compared with the gradient.
        eps: the value of √v̂ (or u) below which ε is more of the denominator than it.
        bound: the length of step that a gradient which never changes leads to, in the unit of the parameter:
            the stepsize α for Adam (Kingma & Ba 2014, section 2.1).
    """

    mean: str | None = None
    mean_factor: float = 1.0
    root: str | None = None
    root_factor: float = 1.0
    rooted: bool = True
    even: bool = True
    eps: float = 0.0
    bound: float | None = None

    def hidden_below(self) -> float:
        """The value of the slot `root` below which ε outweighs its root."""
        return (self.eps**2 if self.rooted else self.eps) / self.root_factor
