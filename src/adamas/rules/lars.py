"""LARS (You, Gitman & Ginsburg 2017, "Large Batch Training of Convolutional Networks"), equation 6."""

from dataclasses import dataclass

from ._base import SIGNED, NonNegative, Rule, Scalars, xp
from ._gauge import Gauge


@dataclass(frozen=True)
class LARS(Rule):
    r"""LARS: momentum with a rate for each tensor, in proportion to its norm over that of its gradient.

    .. math::
        b_t = \mu b_{t-1} + \alpha \frac{\eta \lVert \theta_{t-1} \rVert}
        {\lVert g_t \rVert + \lambda \lVert \theta_{t-1} \rVert + \epsilon}
        (g_t + \lambda \theta_{t-1}), \quad \theta_t = \theta_{t-1} - b_t

    The denominator is the paper's; optax divides by the norm of g + λθ instead, which is the same at λ = 0.
    The factor of α is 1 where one of the norms is 0, as it is there.

    Args:
        lr: the stepsize α, part of what momentum adds up, as in the paper.
        momentum: μ.
        trust: the coefficient η.
        eps: ε, beside the norms; the paper has none.
        weight_decay: λ, added to the gradient as λ θ.
    """

    lr: NonNegative = 0.1
    momentum: NonNegative = 0.9
    trust: NonNegative = 1e-3
    eps: NonNegative = 0.0
    weight_decay: NonNegative = 0.0

    slots = {"b": SIGNED}
    counts_steps = False

    def scalars(self, t: int) -> Scalars:
        return self.lr, self.momentum, self.trust, self.eps, self.weight_decay

    def gauge(self, t: int) -> Gauge:
        return Gauge("b")

    @staticmethod
    def measure(p, g, b, lr, momentum, trust, eps, decay):
        return p * p, g * g

    @staticmethod
    def factors(pp, gg, lr, momentum, trust, eps, decay):
        none = (pp == 0) | (gg == 0)
        norms = xp.sqrt(gg) + decay * xp.sqrt(pp) + eps
        return (lr * xp.where(none, 1.0, trust * xp.sqrt(pp) / xp.where(none, 1.0, norms)),)

    @staticmethod
    def update(p, g, b, lr, momentum, trust, eps, decay, rate):
        b = momentum * b + rate * (g + decay * p)
        return p - b, b
