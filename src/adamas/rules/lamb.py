"""LAMB (You et al. 2020, "Large Batch Optimization for Deep Learning"), Algorithm 2, with φ(z) = z."""

from dataclasses import dataclass

from ._base import NONNEGATIVE, SIGNED, Decay, NonNegative, Rule, Scalars, xp
from ._gauge import Gauge


@dataclass(frozen=True)
class LAMB(Rule):
    r"""LAMB: Adam's step, for each tensor as long as α times the tensor's own norm.

    .. math::
        r_t = \hat m_t / (\sqrt{\hat v_t} + \epsilon) + \lambda \theta_{t-1}, \quad
        \theta_t = \theta_{t-1} - \alpha \, \frac{\lVert \theta_{t-1} \rVert}{\lVert r_t \rVert} \, r_t

    The ratio of the norms is 1 where one of them is 0, as in the authors' code.

    Args:
        lr: the stepsize α, the part of a tensor's norm by which it moves.
        beta1: decay of the first moment m.
        beta2: decay of the second raw moment v.
        eps: ε, outside the root.
        weight_decay: λ, part of the step whose norm is taken.
    """

    lr: NonNegative = 1e-3
    beta1: Decay = 0.9
    beta2: Decay = 0.999
    eps: NonNegative = 1e-6
    weight_decay: NonNegative = 0.01

    slots = {"m": SIGNED, "v": NONNEGATIVE}

    def scalars(self, t: int) -> Scalars:
        correction1, root = 1 - self.beta1**t, (1 - self.beta2**t) ** 0.5
        step, eps = root / correction1, self.eps * root
        return (
            self.beta1, 1 - self.beta1, self.beta2, 1 - self.beta2, step, eps, self.weight_decay, self.lr
        )  # fmt: skip

    def gauge(self, t: int) -> Gauge:
        correction1, correction2 = 1 - self.beta1**t, 1 - self.beta2**t
        return Gauge("m", 1 / correction1, "v", 1 / correction2, eps=self.eps)

    @staticmethod
    def measure(p, g, m, v, beta1, one_minus_beta1, beta2, one_minus_beta2, step, eps, decay, lr):
        m = beta1 * m + one_minus_beta1 * g
        v = beta2 * v + one_minus_beta2 * g * g
        r = step * m / (xp.sqrt(v) + eps) + decay * p
        return p * p, r * r

    @staticmethod
    def factors(pp, rr, beta1, one_minus_beta1, beta2, one_minus_beta2, step, eps, decay, lr):
        none = (pp == 0) | (rr == 0)
        return (lr * xp.where(none, 1.0, xp.sqrt(pp / xp.where(none, 1.0, rr))),)

    @staticmethod
    def update(p, g, m, v, beta1, one_minus_beta1, beta2, one_minus_beta2, step, eps, decay, lr, rate):
        m = beta1 * m + one_minus_beta1 * g
        v = beta2 * v + one_minus_beta2 * g * g
        return p - rate * (step * m / (xp.sqrt(v) + eps) + decay * p), m, v
